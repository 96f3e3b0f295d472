"""Answers that do not say that a session is lost: never a revival, and the client gets what the server has sent."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.clients.http import parse
from harness.clients.mcp import Session
from harness.patience import PATIENCE
from harness.ports import free_ports
from harness.reviving import ALICE, REVIVE, lines, revived, start
from harness.sdk import Server, servers
from harness.servers.bytes import VERSION, Bytes, chunk, error

OWN = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": VERSION,
}
# What nginx says of its own, or by itself.
OF_NGINX = {"server", "date", "connection", "keep-alive", "x-worker", "x-sticky", "transfer-encoding", "content-length"}


@dataclass
class Answer:
    status: int
    lines: list[tuple[bytes, bytes]]  # those of the server; nginx writes some names itself, and in its own order
    body: bytes  # however it was sent


async def ask(port: int, session: Session, method: str, headers: dict[str, str], path: str = "/mcp") -> Answer:
    """As `Host` is checked by some servers, it is that of nginx also without nginx."""
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}
    body = json.dumps(message) if method == "POST" else ""
    own = {"Host": "localhost:1", "Connection": "close", "Content-Length": str(len(body))}
    own |= {"Mcp-Session-Id": session.id.decode()} | dict(ALICE) | headers
    sent = "".join(f"{name}: {value}\r\n" for name, value in own.items())
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\n{sent}\r\n{body}".encode())
            head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
            response = parse(head)
            length = response.headers.get("content-length")
            response.body = await (reader.read(-1) if length is None else reader.readexactly(int(length)))
        finally:
            writer.close()
    lines = [line.partition(b":")[::2] for line in head.split(b"\r\n")[1:]]
    of_server = sorted((name.lower(), value) for name, value in lines if name.decode().lower() not in OF_NGINX)
    is_chunked = response.headers.get("transfer-encoding") == b"chunked"
    return Answer(response.status, of_server, unchunked(response.body) if is_chunked else response.body)


def unchunked(rest: bytes) -> bytes:
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


@pytest.fixture(scope="module", params=["python-1", "typescript", "everything", "post-only-1"])
def shared(request) -> Iterator[list[Server]]:
    with servers(request.param, 2) as made:
        yield made


# What the client of a living session does wrong.
FAULTS = {
    "version": ("POST", OWN | {"MCP-Protocol-Version": "1999-01-01"}),
    "version of a stream": ("GET", {"Accept": "text/event-stream", "MCP-Protocol-Version": "1999-01-01"}),
    "content type": ("POST", OWN | {"Content-Type": "text/plain"}),
    "accept": ("POST", OWN | {"Accept": "text/html"}),
    "accept of a stream": ("GET", {"Accept": "text/html", "MCP-Protocol-Version": VERSION}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_client(nginx, shared, fault):
    """With servers of the SDKs, which the same request reaches by nginx and without it."""
    port = start(nginx, shared)
    session = await Session(port, ALICE).open()
    method, headers = FAULTS[fault]
    through = await ask(port, session, method, headers)
    (server,) = (server for server in shared if server.address in nginx.access()[-1])
    direct = await ask(server.port, session, method, headers)
    assert 400 <= through.status < 500
    assert through == direct
    # The session is as before.
    response = await session.post("tools/list")
    assert (response.status, response.sticky) == (200, "HIT")
    assert revived(nginx) == 0 and lines(nginx, "could not be revived|refuses a ping") == 0


HEAD = b"HTTP/1.1 404 Nothing Here\r\nContent-Type: application/json\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
BODY = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32001,"message":"Session not found"}}'
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)
LONG = b'{"error":"' + b"x" * (64 * 1024 - 12) + b'"}'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SEGMENTS = {
    "whole": [LENGTH + BODY],
    "two segments": [LENGTH + BODY[:20], BODY[20:]],
    "the head cut": [LENGTH[:30], LENGTH[30:] + BODY[:1], BODY[1:]],
    "chunked": [CHUNKED, chunk(BODY[:20]) + chunk(BODY[20:])[:4], chunk(BODY[20:])[4:], b"0\r\n\r\n"],
    "64 KiB": [HEAD + b"Content-Length: %d\r\n\r\n" % len(LONG), LONG[:40_000], LONG[40_000:]],
    "64 KiB chunked": [CHUNKED, chunk(LONG[:10_000]), chunk(LONG[10_000:50_000]), chunk(LONG[50_000:]), b"0\r\n\r\n"],
    "empty": [HEAD + b"Content-Length: 0\r\n\r\n"],
    "until close": [HEAD + b"Connection: close\r\n\r\n", BODY[:30], BODY[30:], Bytes.CUT],
}


@pytest.fixture
def two() -> tuple[Bytes, Bytes]:
    return tuple(Bytes(port) for port in free_ports(2))


async def begin(nginx, two, path: str = "/mcp", more: str = "") -> tuple[list[asyncio.Server], Session, Bytes, Bytes]:
    """The session, its server and the other one."""
    serving = [await server.serve() for server in two]
    session = await Session(start(nginx, two, more=more), ALICE, path=path).open()
    home, other = sorted(two, key=lambda server: session.id.decode() not in server.sessions)
    return serving, session, home, other


@pytest.mark.parametrize("status", [400, 404, 410, 422])
@pytest.mark.parametrize("case", SEGMENTS)
async def test_an_answer_in_any_segments(nginx, two, case, status):
    serving, session, home, other = await begin(nginx, two)
    segments = [part.replace(b" 404 ", b" %d " % status) if part is not Bytes.CUT else part for part in SEGMENTS[case]]
    home.say = lambda got: segments if got.method == "tools/list" else None
    through = await ask(session.port, session, "POST", OWN)
    direct = await ask(home.port, session, "POST", OWN)
    assert through.status == status
    assert through == direct
    # Too long to be held: it is passed on as it comes, and nobody asks.
    assert home.count("ping") == (0 if "64 KiB" in case else 1)
    assert other.got == [] and home.count("initialize") == 1
    assert (await session.post("x")).sticky == "HIT"
    assert revived(nginx) == 0
    [server.close() for server in serving]


@pytest.mark.parametrize("case", SEGMENTS)
async def test_an_answer_that_nginx_may_try_elsewhere(nginx, two, case):
    """A request of a session is not tried elsewhere: the answer is that of the session's server."""
    more = "location /tries { proxy_pass http://mcp; proxy_next_upstream error timeout http_404 non_idempotent; }"
    serving, session, home, other = await begin(nginx, two, "/tries", more)
    home.say = lambda got: SEGMENTS[case] if got.method == "tools/list" else None
    through = await ask(session.port, session, "POST", OWN, path="/tries")
    direct = await ask(home.port, session, "POST", OWN)
    assert through == direct
    assert other.got == [] and home.count("initialize") == 1
    assert (await session.post("x")).sticky == "HIT"
    assert revived(nginx) == 0
    [server.close() for server in serving]


async def test_a_server_that_wants_a_header_of_its_own(nginx, two):
    """nginx asks with the headers of the request, which lack it as well."""
    serving, session, home, other = await begin(nginx, two)
    refusal = error(400, -32000, "X-Key is missing")
    for server in two:
        server.say = lambda got: None if got.header("x-key") else [refusal]
    for _ in range(2):
        through = await ask(session.port, session, "POST", OWN)
        direct = await ask(home.port, session, "POST", OWN)
        assert through == direct and through.status == 400
    response = await session.post("tools/list", headers=[*ALICE, ("X-Key", "1")])
    assert (response.status, response.sticky) == (200, "HIT")
    assert revived(nginx) == 0 and session.id.decode() in home.sessions
    [server.close() for server in serving]
