"""Real clients and real servers of the official SDKs: behind nginx a session is what it is with a single server."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from harness.conf import listen, sample, upstream
from harness.ports import free_ports
from harness.sdk import FRONT, NAMES, Server, live, poll, servers

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
]


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


@pytest.mark.parametrize(("client", "transport", "server"), PAIRS)
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


async def test_with_the_sample(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(sample("mcp.conf", port, replicas("typescript")))
    lives = await live("typescript", "http", port, CLIENTS)
    report(lives)
    assert lives.failures == []
    assert len(lives.transcripts) == 1


async def test_by_round_robin_sessions_break(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", replicas("typescript"), "") + listen(port, "mcp", FRONT))
    lives = await live("typescript", "http", port, CLIENTS)
    report(lives)
    assert lives.transcripts == {}
