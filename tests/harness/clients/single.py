"""A client for counting instructions: requests without anything that varies, over one connection."""

import asyncio


class Client:
    """Requests one after the other over one connection."""

    async def connect(self, port: int) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, id: bytes = b"") -> bytes:
        line = b"Mcp-Session-Id: " + id + b"\r\n" if id else b""
        self.writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204"), head
        return next((line[16:] for line in head.split(b"\r\n") if line.lower().startswith(b"mcp-session-id: ")), b"")
