"""Real clients and servers of the official SDKs: through nginx a session works as with a single server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from harness.clients.http import Response, send
from harness.conf import listen, sample, upstream
from harness.ports import free_ports
from harness.sdk import FRONT, NAMES, Server, call, live, poll, servers

CLIENTS = 50
MIXED = 10  # clients of each kind
STICKY = "sticky_learn zone=sessions:1m;"

PAIRS = [
    ("python-1", "http", "python-1"),
    ("python-2", "http", "python-2"),
    ("typescript", "http", "typescript"),
    ("python-1", "http", "typescript"),
    ("typescript", "http", "python-2"),
    ("python-1", "sse", "python-1"),
    ("python-2", "sse", "typescript"),
    ("typescript", "sse", "typescript"),
    ("typescript", "go", "typescript"),
]


# Tests with servers of the same kind run in the same process, and share them.
shares = pytest.mark.xdist_group


@pytest.fixture(scope="module")
def replicas() -> Iterator[Callable[[str], list[Server]]]:
    """Three servers of a kind; they are kept for the next test that asks for them."""
    made: dict[str, list[Server]] = {}
    with ExitStack() as stack:

        def of(kind: str) -> list[Server]:
            if kind not in made:
                made[kind] = stack.enter_context(servers(kind))
            return made[kind]

        yield of


@pytest.mark.parametrize(("client", "transport", "server"), [pytest.param(*pair, marks=shares(pair[2])) for pair in PAIRS])
async def test_as_with_a_single_server(nginx, report, replicas, client, transport, server):
    three = replicas(server)
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp", FRONT))
    single = await live(client, transport, three[0].port, 2)
    many = await live(client, transport, port, CLIENTS)
    report(many)
    assert single.failures == many.failures == []
    assert single.transcripts.keys() == many.transcripts.keys()
    assert len(single.transcripts) == 1
    assert set(many.met) == set(NAMES)


@shares("python-2")
async def test_all_kinds_at_once(nginx, report, replicas):
    """On servers that speak every revision, and by clients of each."""
    three = replicas("python-2")
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp", FRONT))
    kinds = [("python-2", "http"), ("python-1", "sse"), ("typescript", "http"), ("typescript", "sse")]
    *mixed, tasks = await asyncio.gather(*(live(*kind, port, MIXED) for kind in kinds), poll(port, MIXED))
    for kind, lives in zip(kinds, mixed):
        report(f"{' '.join(kind)}: {lives}")
        assert lives.failures == []
        assert list(lives.transcripts.values()) == [MIXED]
    report(tasks)
    assert not tasks.lost
    assert set(tasks.met) == set(NAMES)


@shares("typescript")
async def test_with_the_sample(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(sample("mcp.conf", port, replicas("typescript")))
    lives = await live("typescript", "http", port, CLIENTS)
    report(lives)
    assert lives.failures == []
    assert len(lives.transcripts) == 1


@shares("typescript")
async def test_by_round_robin_sessions_break(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", replicas("typescript"), "") + listen(port, "mcp", FRONT))
    lives = await live("typescript", "http", port, CLIENTS)
    report(lives)
    assert lives.transcripts == {}


@shares("post-only")
@pytest.mark.parametrize("major", ["1", "2"])
async def test_a_server_that_answers_404_to_get(nginx, report, replicas, major):
    """The client of the SDK asks for a stream by itself, and once more after each call."""
    three = replicas(f"post-only-{major}")
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp", FRONT))
    lives = await call(major, port, CLIENTS)
    report(lives)
    assert lives.failures == []
    assert lives.transcripts == {json.dumps([1, 404, 2, 404, 3, 404, 4, 404, 5, 404], separators=(",", ":")): CLIENTS}
    assert set(lives.met) == set(NAMES)


INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


async def as_user(port: int, user: str, id: bytes = b"", message: dict | None = None, method: str = "POST") -> Response:
    body = json.dumps({"jsonrpc": "2.0"} | message).encode() if message else b""
    headers = [
        ("Authorization", f"Bearer {user}"),
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", INITIALIZE["protocolVersion"]),
    ]
    return await send(port, id, method=method, path="/mcp", headers=headers, body=body)


@shares("principals")
async def test_a_stranger_with_the_id_ends_nothing(nginx, report, replicas):
    """Sessions belong to a user: mallory, who has alice's id, is answered 404 by the server, whatever he asks for."""
    three = replicas("principals")
    (port,) = free_ports(1)
    front = FRONT.replace("$http_host", f"127.0.0.1:{port}")
    nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp", front))
    calls = 0
    for _ in range(len(three)):
        first = await as_user(port, "alice", message={"id": 1, "method": "initialize", "params": INITIALIZE})
        assert (first.status, first.sticky) == (200, "NEW")
        ready = await as_user(port, "alice", first.id, {"method": "notifications/initialized"})
        assert ready.status == 202
        for method in ["GET", "POST", "DELETE"]:
            message = {"id": 2, "method": "tools/list"} if method == "POST" else None
            stolen = await as_user(port, "mallory", first.id, message, method)
            assert (stolen.status, stolen.sticky) == (404, "HIT")
            called = {"id": 3, "method": "tools/call", "params": {"name": "count", "arguments": {}}}
            answer = await as_user(port, "alice", first.id, called)
            assert (answer.status, answer.sticky) == (200, "HIT")
            calls += 1
        ended = await as_user(port, "alice", first.id, method="DELETE")
        assert (ended.status, ended.sticky) == (200, "HIT")
        after = await as_user(port, "alice", first.id, called)
        assert (after.status, after.sticky) == (404, "UNKNOWN")
    report(f"{calls} of {calls} calls answered, each after a 404 to somebody else")
