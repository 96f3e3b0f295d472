"""A client of MCP that shows each HTTP answer, which the SDKs do not."""

import asyncio
import json
from dataclasses import dataclass, field

from harness.clients.http import Headers, Response, send
from harness.patience import PATIENCE

VERSION = "2025-06-18"
INITIALIZE = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def message(response: Response) -> dict:
    """The JSON-RPC message of an answer; the last one of a stream."""
    text = response.body
    if response.headers.get("transfer-encoding") == b"chunked":
        text, rest = b"", text
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    if response.text("content-type").startswith("text/event-stream"):
        datas = [line[5:].strip() for line in text.split(b"\n") if line.startswith(b"data:")]
        text = [data for data in datas if data][-1]
    return json.loads(text)


@dataclass
class Session:
    port: int
    headers: Headers = ()
    path: str = "/mcp"
    id: bytes = b""
    number: int = 0
    answers: list[Response] = field(default_factory=list)
    capabilities: dict = field(default_factory=dict)
    home: str = ""  # the name of the server that has opened it, if that says it

    async def open(self) -> "Session":
        response = await self.post("initialize", INITIALIZE | {"capabilities": self.capabilities})
        assert response.status == 200, response
        self.home = message(response)["result"].get("serverInfo", {}).get("name", "")
        self.id = response.id
        assert (await self.notify("notifications/initialized")).status == 202
        return self

    async def post(self, method: str, params: dict | None = None, **more) -> Response:
        self.number += 1
        return await self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params or {}}, **more)

    async def notify(self, method: str) -> Response:
        return await self.send({"jsonrpc": "2.0", "method": method})

    async def send(
        self, body: object, *, method: str = "POST", headers: Headers | None = None, timeout: float = PATIENCE
    ) -> Response:
        own = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", VERSION),
        ]
        text = json.dumps(body).encode() if body is not None else b""
        lines = [*own, *(self.headers if headers is None else headers)]
        response = await send(self.port, self.id, method=method, path=self.path, headers=lines, body=text, timeout=timeout)
        self.answers.append(response)
        return response

    async def call(self, tool: str, arguments: dict | None = None, **more) -> Response:
        return await self.post("tools/call", {"name": tool, "arguments": arguments or {}}, **more)

    async def count(self) -> dict:
        """Which replica answers, and how many calls it has had in this session."""
        response = await self.call("count")
        assert response.status == 200, (response.status, response.body)
        return message(response)["result"]["structuredContent"]

    async def delete(self, headers: Headers | None = None) -> Response:
        return await self.send(None, method="DELETE", headers=headers)


async def sessions(port: int, count: int, headers: Headers = ()) -> list[Session]:
    return await asyncio.gather(*(Session(port, headers).open() for _ in range(count)))
