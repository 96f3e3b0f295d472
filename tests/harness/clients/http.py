"""A client that does little and does it fast: one connection per request, so that any worker may get it.

By hand: ids of every byte that nginx lets through travel in its headers, and h11 refuses control characters.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from harness.patience import PATIENCE

Headers = Iterable[tuple[str, str | bytes]]


@dataclass
class Response:
    status: int
    headers: dict[str, bytes]
    body: bytes = b""

    @property
    def id(self) -> bytes:
        """The session id that this response issues."""
        return self.headers.get("x-issued") or self.headers.get("mcp-session-id", b"")

    @property
    def replica(self) -> str:
        return self.text("x-replica")

    @property
    def worker(self) -> str:
        return self.text("x-worker")

    @property
    def sticky(self) -> str:
        return self.text("x-sticky")

    def text(self, name: str) -> str:
        return self.headers.get(name, b"").decode("latin-1")


def _request(method: str, path: str, id: bytes, headers: Headers, body: bytes) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Connection: close",
        b"Content-Length: %d" % len(body),
    ]
    if id:
        lines.append(b"Mcp-Session-Id: " + id)
    for name, value in headers:
        lines.append(name.encode() + b": " + (value.encode() if isinstance(value, str) else value))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def parse(head: bytes) -> Response:
    status, *lines = head.split(b"\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").lower()] = value.strip(b" \t")
    return Response(int(status.split(b" ", 2)[1]), headers)


async def send(
    port: int,
    id: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/mcp/",
    headers: Headers = (),
    body: bytes = b"{}",
    patient: bool = False,
    tls: ssl.SSLContext | None = None,
    timeout: float = PATIENCE,
) -> Response:
    """One request on a connection of its own, answered in full; `patient` waits until nginx has done with it, too."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection("localhost" if tls else "127.0.0.1", port, ssl=tls)
        try:
            writer.write(_request(method, path, id, headers, body))
            response = parse((await reader.readuntil(b"\r\n\r\n"))[:-4])
            # Returns with the last byte, even if nginx has not finished the request yet.
            length = response.headers.get("content-length")
            response.body = await (reader.read(-1) if length is None else reader.readexactly(int(length)))
            if patient:
                await reader.read(-1)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("closed in the middle of an answer") from error
        finally:
            writer.close()
    return response


class Stream:
    """A response that is still being sent: its headers and first event have been read."""

    def __init__(self, response: Response, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.response = response
        self._reader = reader
        self._writer = writer

    async def event(self, timeout: float = PATIENCE) -> bytes:
        async with asyncio.timeout(timeout):
            return await self._reader.readuntil(b"\n\n")

    async def end(self, timeout: float = PATIENCE) -> bytes:
        """The rest of the response, when the server has ended it."""
        async with asyncio.timeout(timeout):
            return await self._reader.read(-1)

    def close(self) -> None:
        self._writer.close()


async def stream(
    port: int,
    id: bytes = b"",
    *,
    method: str = "GET",
    path: str = "/mcp/",
    headers: Headers = (),
    first_event: bool = True,
    timeout: float = PATIENCE,
) -> Stream:
    """Opens a stream and reads as far as its first event, or only its headers."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_request(method, path, id, headers, b""))
            head = await reader.readuntil(b"\r\n\r\n")
            response = parse(head[:-4])
            if response.status != 200:
                raise AssertionError(f"no stream but {response.status}")
            if first_event:
                await reader.readuntil(b"\n\n")
        except BaseException:
            writer.close()
            raise
    return Stream(response, reader, writer)


@dataclass
class Tally:
    """The results of the later requests of many sessions."""

    sessions: int = 0
    requests: int = 0
    misrouted: int = 0
    broken: int = 0  # connection lost
    crossed: int = 0  # met another worker than the one that learned
    workers: dict[str, int] = field(default_factory=dict)
    hurt: set[bytes] = field(default_factory=set)  # sessions with a request misrouted

    def follow_up(self, first: Response, response: Response) -> bool:
        """Counts it; false if it was misrouted."""
        self.requests += 1
        self.workers[response.worker] = self.workers.get(response.worker, 0) + 1
        self.crossed += response.worker != first.worker
        found = response.status == 200 and response.replica == first.replica
        if not found:
            self.misrouted += 1
            self.hurt.add(first.id)
        return found

    def __str__(self) -> str:
        text = f"{self.sessions:,} sessions, {self.misrouted:,} of {self.requests:,} requests misrouted"
        if self.hurt:
            text += f" in {len(self.hurt):,} sessions"
        if self.crossed:
            text += f", {self.crossed:,} on another worker than the first"
        if self.broken:
            text += f", {self.broken:,} connections lost"
        return text


async def crowd(jobs: int, clients: int, job: Callable[[int], Awaitable[None]]) -> None:
    """Runs a number of jobs with a number of concurrent clients."""
    numbers = iter(range(jobs))

    async def client() -> None:
        for number in numbers:
            await job(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
