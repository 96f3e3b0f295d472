"""Servers with faults."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


@contextmanager
def black_hole(address: tuple[str, int]) -> Iterator[None]:
    """Listens, with a queue that is full: the kernel drops whatever else wants to connect."""
    with contextlib.ExitStack() as sockets:
        listening = sockets.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(0)
        for _ in range(3):
            client = sockets.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield


def reset(writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


# handshake_failure, fatal
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"

# The server name of the client selects the fault: alert.bad, close.bad, reset.bad, stall.bad.
FAULTS = ["alert", "close", "reset", "stall"]


@asynccontextmanager
async def picky_about_names(address: tuple[str, int], behind: int) -> AsyncIterator[None]:
    """Listens at an address for a TLS server on the port `behind`, and breaks the handshakes that name a fault."""
    tasks = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        hello = await reader.read(65536)
        match next((fault for fault in FAULTS if f"{fault}.bad".encode() in hello), None):
            case "alert":
                writer.write(ALERT)
                writer.close()
            case "close":
                writer.close()
            case "reset":
                reset(writer)
            case "stall":
                await reader.read(-1)
                writer.close()
            case None:
                back_reader, back_writer = await asyncio.open_connection("127.0.0.1", behind)
                back_writer.write(hello)
                await asyncio.gather(copy(reader, back_writer), copy(back_reader, writer))

    server = await asyncio.start_server(handle, *address, backlog=1024)
    try:
        yield
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
