"""A client for HTTP/2 and HTTP/3: many requests over one connection, each with as much of its body as a test wants."""

import asyncio
import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection, H3Stream
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StopSendingReceived, StreamReset

from harness.clients.http import Headers, Response
from harness.patience import PATIENCE, until

HOST = "localhost"
PART = 16_000  # bytes of a body that are sent at once

Fields = list[tuple[bytes, bytes]]


class Exchange:
    """A request on a connection, and what has come of it."""

    def __init__(self, client: "Client", stream: int):
        self.response: Response | None = None
        self.refused = False  # the server wants no more of the request's body
        self._client = client
        self._stream = stream
        self._ended = False
        self._lost = ""
        self._news = asyncio.Event()

    def send(self, data: bytes, *, end: bool) -> None:
        """More of the request's body."""
        self._client.send(self._stream, data, end)

    def cancel(self) -> None:
        """Resets the stream: the client wants no answer."""
        self._client.cancel(self._stream)

    async def send_all(self, data: bytes, *, end: bool) -> None:
        """The same, as fast as flow control allows."""
        for at in range(0, len(data), PART):
            part = data[at : at + PART]
            await until(lambda: self._client.room(self._stream) >= len(part))
            self.send(part, end=end and at + PART >= len(data))

    async def head(self) -> Response:
        """The answer as far as it has come, its headers at least."""
        await self._until(lambda: self.response is not None)
        return self.response

    async def event(self) -> bytes:
        """The first event of a stream."""
        head = await self.head()
        await self._until(lambda: b"\n\n" in head.body)
        return head.body.partition(b"\n\n")[0]

    async def whole(self) -> Response:
        await self._until(lambda: self._ended)
        return self.response

    async def _until(self, done) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                if self._lost:
                    raise ConnectionResetError(self._lost)
                self._news.clear()
                await self._news.wait()

    # The output of the client.

    def got_head(self, fields: Fields) -> None:
        headers = {name.decode(): value for name, value in fields}
        self.response = Response(int(headers.pop(":status")), headers)
        self._news.set()

    def got_data(self, data: bytes) -> None:
        self.response.body += data
        self._news.set()

    def got_end(self) -> None:
        self._ended = True
        self._news.set()

    def got_lost(self, why: str) -> None:
        self._lost = why
        self._news.set()


class Client(ABC):
    def __init__(self):
        self.exchanges: dict[int, Exchange] = {}

    def request(
        self, method: str, path: str, id: bytes = b"", *, headers: Headers = (), body: bytes = b"", end: bool = True
    ) -> Exchange:
        """Sends a request; `end=False` if more of its body is to come."""
        fields = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", HOST.encode())]
        fields.append((b":path", path.encode()))
        if id:
            fields.append((b"mcp-session-id", id))
        for name, value in headers:
            fields.append((name.lower().encode(), value.encode() if isinstance(value, str) else value))
        stream = self.begin(fields, end and not body)
        exchange = self.exchanges[stream] = Exchange(self, stream)
        if body:
            self.send(stream, body, end)
        return exchange

    async def send_whole(self, method: str, path: str, id: bytes = b"", **more) -> Response:
        return await self.request(method, path, id, **more).whole()

    def lose_all(self, why: str) -> None:
        for exchange in self.exchanges.values():
            exchange.got_lost(why)

    @abstractmethod
    def begin(self, fields: Fields, end: bool) -> int:
        """Sends the head of a request, and returns its stream."""

    def room(self, stream: int) -> float:
        """How many bytes of a body may be sent."""
        return math.inf

    @abstractmethod
    def send(self, stream: int, data: bytes, end: bool) -> None:
        """Sends a part of its body."""

    @abstractmethod
    def cancel(self, stream: int) -> None:
        """Resets the stream of a request that was sent as a whole."""


class Http2(Client, asyncio.Protocol):
    def __init__(self):
        super().__init__()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.lose_all("connection closed")

    def begin(self, fields: Fields, end: bool) -> int:
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, fields, end_stream=end)
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, end: bool) -> None:
        self._h2.send_data(stream, data, end_stream=end)
        self._flush()

    def cancel(self, stream: int) -> None:
        self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def room(self, stream: int) -> float:
        return self._h2.local_flow_control_window(stream)

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                self.lose_all("GOAWAY")
                continue
            exchange = self.exchanges.get(getattr(event, "stream_id", 0))
            if exchange is None:
                continue
            match event:
                case h2.events.ResponseReceived():
                    exchange.got_head(event.headers)
                case h2.events.DataReceived():
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    exchange.got_data(event.data)
                case h2.events.StreamEnded():
                    exchange.got_end()
                case h2.events.StreamReset(error_code=0):
                    exchange.refused = True
                case h2.events.StreamReset():
                    exchange.got_lost(f"stream reset, {event.error_code}")
        self._flush()

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())


class Headed(H3Connection):
    """aioquic's own expects a body of the answer to a HEAD, too."""

    def __init__(self, quic: QuicConnection):
        super().__init__(quic)
        self.heads: set[int] = set()

    def _check_content_length(self, stream: H3Stream) -> None:
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)


class Http3(Client, QuicConnectionProtocol):
    def __init__(self, quic: QuicConnection):
        Client.__init__(self)
        QuicConnectionProtocol.__init__(self, quic)
        self._h3 = Headed(quic)

    def begin(self, fields: Fields, end: bool) -> int:
        stream = self._quic.get_next_available_stream_id()
        if (b":method", b"HEAD") in fields:
            self._h3.heads.add(stream)
        self._h3.send_headers(stream, fields, end)
        self.transmit()
        return stream

    def send(self, stream: int, data: bytes, end: bool) -> None:
        self._h3.send_data(stream, data, end)
        self.transmit()

    def cancel(self, stream: int) -> None:
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.lose_all(f"connection closed, {event.error_code} {event.reason_phrase}")
            return
        exchange = self.exchanges.get(getattr(event, "stream_id", -1))
        if exchange is None:
            self._h3.handle_event(event)
            return
        match event:
            case StopSendingReceived():
                exchange.refused = True
            case StreamReset():
                exchange.got_lost(f"stream reset, {event.error_code}")
        for got in self._h3.handle_event(event):
            match got:
                case HeadersReceived():
                    exchange.got_head(got.headers)
                case DataReceived():
                    exchange.got_data(got.data)
            if got.stream_ended:
                exchange.got_end()


@asynccontextmanager
async def http2(port: int, authority: Path) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2"])
    transport, client = await asyncio.get_running_loop().create_connection(
        Http2, "127.0.0.1", port, ssl=context, server_hostname=HOST
    )
    try:
        yield client
    finally:
        transport.close()


@asynccontextmanager
async def http3(port: int, authority: Path) -> AsyncIterator[Client]:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=HOST)
    configuration.load_verify_locations(str(authority))
    # Not aioquic's connect(): it binds all addresses of the machine.
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Http3(QuicConnection(configuration=configuration)), local_addr=("127.0.0.1", 0)
    )
    try:
        async with asyncio.timeout(PATIENCE):
            client.connect(("127.0.0.1", port))
            await client.wait_connected()
        yield client
        client.close()
        async with asyncio.timeout(PATIENCE):
            await client.wait_closed()
    finally:
        transport.close()
