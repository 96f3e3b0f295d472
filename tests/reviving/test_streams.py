"""Streams of sessions whose server dies: clients open them again, and get them."""

import asyncio

import pytest

from harness.clients.http import send, stream
from harness.clients.mcp import Session
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, revived, start
from harness.servers.bytes import STREAM, VERSION, Bytes, Got, chunk, error, plain

HEADERS = [*ALICE, ("Accept", "text/event-stream"), ("MCP-Protocol-Version", VERSION)]


@pytest.fixture
def two() -> tuple[Bytes, Bytes]:
    return tuple(Bytes(port) for port in free_ports(2))


async def begin(nginx, two) -> tuple[list[asyncio.Server], Session, Bytes]:
    """The session's server is the third."""
    serving = [await server.serve() for server in two]
    session = await Session(start(nginx, two), ALICE).open()
    (home,) = (server for server in two if session.id.decode() in server.sessions)
    return serving, session, home


def streams(two) -> list[Got]:
    return [got for server in two for got in server.got if got.method == "GET"]


async def open_stream(session: Session, *more: tuple[str, str], first_event: bool = False):
    return await stream(session.port, session.id, path="/mcp", headers=[*HEADERS, *more], first_event=first_event)


async def test_an_event_of_the_lost_session_is_not_resumed_after(nginx, two):
    serving, session, home = await begin(nginx, two)
    streaming = [STREAM, chunk(b"id: new\ndata: {}\n\n"), Bytes.OPEN]
    known = lambda got: any(got.session in server.sessions for server in two)  # noqa: E731
    for server in two:
        server.say = lambda got: streaming if got.method == "GET" and known(got) else None
    home.sessions.clear()
    # It is not known to be lost: the server may have the event.
    opened = await open_stream(session, ("Last-Event-ID", "old"), first_event=True)
    assert opened.response.sticky == "REVIVED"
    first, second = streams(two)
    assert (first.header("last-event-id"), second.header("last-event-id")) == ("old", None)
    assert first.header("authorization") == second.header("authorization") == "Bearer alice"
    opened.close()
    for presented, sent in [("old", None), ("new", "new"), ("newer", None)]:
        opened = await open_stream(session, ("Last-Event-ID", presented), first_event=True)
        assert streams(two)[-1].header("last-event-id") == sent
        opened.close()
    assert revived(nginx) == 1
    [server.close() for server in serving]


@pytest.mark.parametrize("buffering", ["off", "on"])
async def test_a_stream_whose_server_dies_ends(nginx, two, buffering):
    """The end is that of a body: the SDK for Python opens a stream that was broken off only twice again."""
    serving = [await server.serve() for server in two]
    location = f"location = /buffered {{ proxy_pass http://mcp; proxy_buffering {buffering}; }}"
    session = await Session(start(nginx, two, more=location), ALICE, path="/buffered").open()
    (home,) = (server for server in two if session.id.decode() in server.sessions)
    home.say = lambda got: [STREAM, chunk(b"data: {}\n\n"), Bytes.OPEN] if got.method == "GET" else None
    opened = await stream(session.port, session.id, path="/buffered", headers=HEADERS)
    home.open[-1].transport.abort()
    rest = await opened.end()
    assert rest.endswith(b"0\r\n\r\n")
    opened.close()
    [server.close() for server in serving]


async def test_a_call_whose_server_dies_is_broken_off(nginx, two):
    """And the stream of a stranger."""
    serving, session, home = await begin(nginx, two)
    home.say = lambda got: [STREAM, chunk(b"data: {}\n\n"), Bytes.OPEN] if got.method in ("x", "GET") else None
    port, id = session.port, session.id
    message = b'{"jsonrpc":"2.0","id":9,"method":"x"}'
    for method, headers, body in [("POST", HEADERS, message), ("GET", HEADERS[1:], b"")]:
        before = len(home.open)
        call = asyncio.create_task(send(port, id, method=method, path="/mcp", headers=headers, body=body))
        await until(lambda: len(home.open) > before)
        home.open[-1].transport.abort()
        assert not (await call).body.endswith(b"0\r\n\r\n")
    [server.close() for server in serving]


async def test_a_stream_that_is_refused_in_plain_text(nginx, two):
    """As supergateway does: the ping is refused by an error of JSON-RPC."""
    serving, session, home = await begin(nginx, two)
    home.say = lambda got: [plain(404, "Session not found")] if got.method == "GET" and not home.sessions else None
    home.sessions.clear()
    opened = await open_stream(session)
    assert opened.response.sticky == "REVIVED"
    opened.close()
    assert revived(nginx) == 1
    [server.close() for server in serving]


async def test_a_server_without_streams_and_pings(nginx, two):
    serving, session, home = await begin(nginx, two)
    home.say = lambda got: {"GET": [plain(404, "no such page")], "ping": [error(404, -32601)]}.get(got.method)
    response = await session.send(None, method="GET")
    assert (response.status, response.body) == (404, b"no such page")
    assert home.count("ping") == 1 and sum(server.count("initialize") for server in two) == 1
    assert revived(nginx) == 0
    [server.close() for server in serving]
