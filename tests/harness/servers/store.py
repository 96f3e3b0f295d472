"""A store of shared sessions, a real redis-server; what it is told, and a way to it that delays or is cut."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from harness.patience import until
from harness.ports import free_ports


class Store:
    def __init__(self, home: Path, *options: str):
        self.home = home
        self.options = options
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen | None = None
        home.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.home)]
        command += ["--save", "", "--appendonly", "no", *self.options]
        with open(self.home / "redis.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        await until(self._is_up)

    async def _is_up(self) -> bool:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            return await self.command("PING") in (b"PONG", None) or True
        return False

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends at once; what it knows is lost."""
        if self._process:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def command(self, *words: str | bytes) -> bytes | int | list | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(encode(*words))
            return await read(reader)
        finally:
            writer.close()

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator["Monitor"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(encode("MONITOR"))
        assert await read(reader) == b"OK"
        monitor = Monitor(self)
        task = asyncio.create_task(monitor.run(reader))
        try:
            yield monitor
        finally:
            task.cancel()
            writer.close()


class Monitor:
    """The commands that a store gets from clients on connections, as MONITOR shows them."""

    def __init__(self, store: Store):
        self.store = store
        self.lines: list[bytes] = []

    async def run(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.lines.append(line)

    async def settled(self) -> None:
        """Returns when all commands up to now are shown."""
        mark = os.urandom(8).hex()
        await self.store.command("ECHO", mark)
        await until(lambda: any(mark.encode() in line for line in self.lines))

    def commands(self, name: str) -> list[bytes]:
        return [line for line in self.lines if f'"{name}"'.encode() in line.partition(b"] ")[2].split(b" ", 1)[0]]


def encode(*words: str | bytes) -> bytes:
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)


async def read(reader: asyncio.StreamReader) -> bytes | int | list | None:
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    match kind:
        case b"+" | b"-":
            return rest
        case b":":
            return int(rest)
        case b"$":
            return None if rest == b"-1" else (await reader.readexactly(int(rest) + 2))[:-2]
        case b"*":
            return [await read(reader) for _ in range(int(rest))]
    raise AssertionError(line)


@asynccontextmanager
async def store(home: Path, *options: str) -> AsyncIterator[Store]:
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server")
    made = Store(home, *options)
    try:
        await made.start()
        yield made
    finally:
        made.kill()


class Way:
    """A proxy before a store."""

    def __init__(self, store: Store):
        self.store = store
        (self.port,) = free_ports(1)
        self.delay = 0.0  # seconds, of what goes to the store
        self.is_cut = False  # nothing passes, and nobody is told
        self._tasks: set[asyncio.Task] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.store.port)
        except OSError:
            writer.close()
            return
        self._writers += [writer, to_writer]
        await asyncio.gather(self._pass(reader, to_writer, True), self._pass(to_reader, writer, False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delays: bool) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.is_cut:
                    continue
                # In order: equal delays are timers in order.
                loop.call_later(self.delay if delays else 0, writer.write, data)
        loop.call_later(self.delay, writer.close)

    def reset(self) -> None:
        """Closes all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@asynccontextmanager
async def way(store: Store) -> AsyncIterator[Way]:
    made = Way(store)
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    try:
        yield made
    finally:
        server.close()
        made.reset()


@contextmanager
def paused(store: Store) -> Iterator[None]:
    store.pause()
    try:
        yield
    finally:
        store.go_on()
