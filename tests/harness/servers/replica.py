"""A replica: a server that keeps its sessions in memory and speaks as much MCP over HTTP as routing needs.

A request without an id opens a session and is answered with one; a request with an id that this
replica did not issue is answered 404, as the official SDKs do. A request can ask for more:

    X-Id: ID          the id to issue (default: a random one)
    X-Stream: 1       answer with a stream, as to a GET: its first event comes at once, then it stays open
    X-Status: CODE    answer with this status
    X-Wait: 1         answer only when the replica is told to
    X-Close: 1        close the connection instead of answering

By hand, as harness.clients.http: its ids hold control characters, and it breaks off where a test wants it to.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.patience import until
from harness.ports import free_ports

Head = dict[bytes, bytes]


class Replica:
    def __init__(self, name: str, *, cookie: bool = False):
        self.name = name
        self.cookie = cookie  # ids travel in the cookie "sid"; the header carries a decoy
        self.host = "127.0.0.1"
        self.port = 0
        self.status = 200  # of every answer
        self.requests = 0
        self.closed = 0  # requests that had the connection closed instead of an answer
        self.silent = False  # as if each request had X-Wait
        self.accepted = 0  # connections
        self.sessions: set[bytes] = set()
        self.last_issued = b""
        self.streams: set[_Connection] = set()
        self.waiting: set[_Connection] = set()  # with a request that is not answered yet
        self.answer_now = asyncio.Event()  # what X-Wait waits for
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        """Listens; after a stop, on the same port, and with the sessions it had."""
        self.port = self.port or free_ports(1)[0]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=1024)

    def stop(self) -> None:
        """Dies: every connection is reset, new ones are refused."""
        if self._server:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Resets every connection, and takes new ones."""
        for connection in list(self._connections):
            connection.transport.abort()

    def tell(self, event: bytes = b"data: more\n\n") -> None:
        """Sends an event on every open stream."""
        for connection in self.streams:
            connection.write_event(event)

    def end_streams(self) -> None:
        for connection in list(self.streams):
            connection.end_stream()


@asynccontextmanager
async def replicas(count: int = 3, *, cookie: bool = False) -> AsyncIterator[list[Replica]]:
    made = [Replica(name, cookie=cookie) for name in ("amber", "birch", "cedar", "dogwood")[:count]]
    try:
        for replica in made:
            await replica.start()
        yield made
        # Wait until nginx has noticed that the clients have left. Otherwise it logs errors for them.
        await until(lambda: not any(replica.streams or replica.waiting for replica in made))
    finally:
        for replica in made:
            replica.stop()


class _Connection(asyncio.Protocol):
    def __init__(self, replica: Replica):
        self.replica = replica
        self.buffer = b""
        self.chunked = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.replica.accepted += 1
        self.replica._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.replica._connections.discard(self)
        self.replica.streams.discard(self)
        self.replica.waiting.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            request, *lines = head.split(b"\r\n")
            headers: Head = {}
            for line in lines:
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip(b" \t")
            length = int(headers.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            method, _, version = request.split(b" ", 2)
            persistent = version == b"HTTP/1.1"
            if b"x-close" in headers:
                self.replica.closed += 1
                self.transport.close()
            elif b"x-wait" in headers or self.replica.silent:
                self.replica.waiting.add(self)
                asyncio.ensure_future(self.answer_later(method, headers, persistent))
            else:
                self.answer(method, headers, persistent)

    async def answer_later(self, method: bytes, headers: Head, persistent: bool) -> None:
        await self.replica.answer_now.wait()
        self.replica.waiting.discard(self)
        self.answer(method, headers, persistent)

    def id_of(self, headers: Head) -> bytes:
        if not self.replica.cookie:
            return headers.get(b"mcp-session-id", b"")
        for pair in headers.get(b"cookie", b"").split(b"; "):
            name, _, value = pair.partition(b"=")
            if name == b"sid":
                return value
        return b""

    def answer(self, method: bytes, headers: Head, persistent: bool) -> None:
        replica = self.replica
        replica.requests += 1
        fields = [b"X-Replica: " + replica.name.encode()]
        status = int(headers.get(b"x-status", b"%d" % replica.status))

        id = self.id_of(headers)
        if id:
            if status == 200 and id not in replica.sessions:
                status = 404
            if status == 200 and method == b"DELETE":
                replica.sessions.discard(id)
        else:
            id = headers.get(b"x-id") or uuid.uuid4().hex.encode()
            replica.sessions.add(id)
            replica.last_issued = id
            if replica.cookie:
                fields.append(b"Set-Cookie: sid=" + id + b"; Path=/")
                fields.append(b"X-Issued: " + id)
                id = b"decoy"
            fields.append(b"Mcp-Session-Id: " + id)

        if status == 200 and (b"x-stream" in headers or method == b"GET"):
            self.chunked = persistent
            fields += [b"Content-Type: text/event-stream", b"X-Accel-Buffering: no"]
            fields.append(b"Transfer-Encoding: chunked" if persistent else b"Connection: close")
            self.write_head(status, fields)
            replica.streams.add(self)
            self.write_event(b"data: first\n\n")
            return

        body = b'{"jsonrpc":"2.0","id":1,"result":{}}'
        fields += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
        if not persistent:
            fields.append(b"Connection: close")
        self.write_head(status, fields, body)
        if not persistent:
            self.transport.close()

    def write_head(self, status: int, fields: list[bytes], body: bytes = b"") -> None:
        self.transport.write(b"HTTP/1.1 %d Status\r\n" % status + b"\r\n".join(fields) + b"\r\n\r\n" + body)

    def write_event(self, event: bytes) -> None:
        self.transport.write(b"%x\r\n%s\r\n" % (len(event), event) if self.chunked else event)

    def end_stream(self) -> None:
        self.replica.streams.discard(self)
        if self.chunked:
            self.transport.write(b"0\r\n\r\n")
        else:
            self.transport.close()
