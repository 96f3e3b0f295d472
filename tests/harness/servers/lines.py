"""A server that answers lines, and can break off in many ways."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from harness.servers.faults import reset

PING, PONG = b"ping\n", b"pong\n"


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Lines:
    """Calls `answer` when a line has come, and closes the connection when that returns."""

    def __init__(self, answer: Answer):
        self._answer = answer
        self.connections = 0
        self.lines: list[bytes] = []
        self.open = 0

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(OSError):
                if line := await reader.readline():
                    self.lines.append(line)
                    await self._answer(reader, writer)
        finally:
            self.open -= 1
            writer.close()


async def pong(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(PONG)
    await writer.drain()


async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Keeps the connection open until the client closes it."""
    await reader.read(-1)


async def reset_after_a_byte(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(PONG[:1])
    await writer.drain()
    reset(writer)


async def a_byte_now_and_then(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A GB without the end of a line."""
    for _ in range(1024):
        writer.write(b"x" * (1 << 20))
        await writer.drain()


@asynccontextmanager
async def lines(
    at: tuple[str, int] | Path,
    answer: Answer = pong,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Lines]:
    server = Lines(answer)
    if isinstance(at, Path):
        listening = await asyncio.start_unix_server(server._handle, at, ssl=tls)
    else:
        listening = await asyncio.start_server(server._handle, *at, ssl=tls, backlog=4096)
    try:
        yield server
    finally:
        listening.close()
