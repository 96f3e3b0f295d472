"""A server of MCP whose answers can be given byte for byte."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

VERSION = "2025-06-18"


@dataclass(frozen=True)
class Got:
    """A request that the server has got."""

    head: str
    message: dict

    @property
    def method(self) -> str:
        """Of the message; without one, of HTTP."""
        return self.message.get("method", "answer") if self.message else self.head.partition(" ")[0]

    def header(self, name: str) -> str | None:
        line = re.search(rf"(?im)^{name}: *(.*)\r$", self.head)
        return line[1] if line else None

    @property
    def session(self) -> str:
        return self.header("mcp-session-id") or ""


def json_answer(status: int, answer: object, headers: str = "") -> bytes:
    text = json.dumps(answer).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n{headers}\r\n"
    return head.encode() + text


def error(status: int, code: int, message: str = "x") -> bytes:
    return json_answer(status, {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}})


def plain(status: int, text: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


LOST = error(404, -32001, "Session not found")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


class Bytes:
    """`say` gives the segments of an answer, or none for the usual one. After `CUT` the connection is closed, after
    `OPEN` nothing follows."""

    CUT = b"cut"
    OPEN = b"open"

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.name = str(port)
        self.sessions: set[str] = set()
        self.got: list[Got] = []
        self.say: Callable[[Got], list[bytes] | None] = lambda _: None
        self.open: list[asyncio.StreamWriter] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._handle, "127.0.0.1", self.port)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = re.search(r"(?i)^content-length: (\d+)", head, re.M)
                body = await reader.readexactly(int(size[1])) if size else b""
                got = Got(head, json.loads(body) if body else {})
                self.got.append(got)
                said = self.say(got)
                for segment in self._usual(got) if said is None else said:
                    if segment is self.CUT:
                        return
                    if segment is self.OPEN:
                        self.open.append(writer)
                        await reader.read()
                        return
                    writer.write(segment)
                    await writer.drain()
                    await asyncio.sleep(0)
                if got.header("connection") == "close":
                    return
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            pass
        finally:
            writer.close()

    def _usual(self, got: Got) -> list[bytes]:
        id = got.message.get("id")
        if got.method == "initialize":
            session = f"s{self.port}-{len(self.got)}"
            self.sessions.add(session)
            result = {"protocolVersion": VERSION, "capabilities": {"tools": {}}, "serverInfo": {}}
            return [json_answer(200, {"jsonrpc": "2.0", "id": id, "result": result}, f"Mcp-Session-Id: {session}\r\n")]
        if got.session not in self.sessions:
            return [LOST]
        if got.method == "GET":
            return [STREAM, self.OPEN]
        if got.method == "DELETE":
            self.sessions.discard(got.session)
            return [plain(200)]
        return [json_answer(200, {"jsonrpc": "2.0", "id": id, "result": {"server": self.port}})] if id else [plain(202)]

    def count(self, method: str) -> int:
        return sum(got.method == method for got in self.got)
