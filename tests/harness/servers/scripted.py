"""A server whose first answer to each path is one of a list, byte for byte. The next one tells what it has got."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HEAD = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nX-Of: server\r\n"
BODY = b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}'
LONG = b"x" * 65536


def length(body: bytes, head: bytes = HEAD) -> list[bytes]:
    return [head + b"Content-Length: %d\r\n\r\n" % len(body) + body]


def chunked(*parts: bytes) -> list[bytes]:
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    return [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]


# The segments of each answer; after one in CLOSED the connection is closed.
ANSWERS = {
    "whole": length(BODY),
    "two-segments": [length(BODY)[0][:-20], BODY[-20:]],
    "empty": length(b""),
    "limit": length(b"y" * 16384),
    "beyond": length(b"y" * 16385),
    "chunked": chunked(BODY[:10], BODY[10:30], BODY[30:]),
    "chunked-empty": chunked(),
    "until-close": [HEAD + b"Connection: close\r\n\r\n", BODY[:9], BODY[9:]],
    "long": length(LONG),
    "long-chunked": chunked(*[LONG[:10000]] * 7),
    "long-until-close": [HEAD + b"\r\n", LONG],
    "400": length(BODY, HEAD.replace(b"404 Not Found", b"400 Bad Request")),
    "500": length(BODY, HEAD.replace(b"404 Not Found", b"500 Oops")),
    "broken": [length(BODY)[0][:-20]],
    "broken-chunked": chunked(BODY[:10], BODY[10:30])[:-1],
}
CLOSED = {"until-close", "long-until-close", "broken", "broken-chunked"}


class Scripted:
    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()  # by path
        self.open = 0  # connections

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            # uvloop raises the last one if nginx has closed the connection before.
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.strip().split("\r\n")
        method, path, _ = request.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests[path] += 1
        name = path.split("/")[1]
        if self.requests[path] > 1 or name not in ANSWERS:
            told = {"method": method, "path": path, "length": len(body), "md5": hashlib.md5(body).hexdigest()}
            told["id"] = headers.get("mcp-session-id", "")
            text = json.dumps(told).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text))
            writer.write(b"" if method == "HEAD" else text)
            return True
        segments = ANSWERS[name]
        if method == "HEAD":
            segments = [segments[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"]
        for segment in segments:
            writer.write(segment)
            await writer.drain()
            await asyncio.sleep(0.001)
        return name not in CLOSED


@asynccontextmanager
async def scripted(port: int) -> AsyncIterator[Scripted]:
    made = Scripted()
    server = await asyncio.start_server(made.handle, "127.0.0.1", port)
    try:
        yield made
    finally:
        server.close()
