"""The configuration of NGINX Plus, and the one that we recommend: each request reaches its session's server."""

import pytest

from harness.clients.http import Tally, crowd, send
from harness.conf import listen, sample, upstream
from harness.ports import free_ports
from harness.servers.replica import replicas

SESSIONS, CLIENTS, FOLLOW_UPS = 1_000, 50, 10


async def visit(port: int, sessions: int = SESSIONS, clients: int = CLIENTS) -> Tally:
    """Sessions of clients that go on the moment they have their answer, each request on a new connection."""
    tally = Tally()

    async def session(_: int) -> None:
        first = await send(port)
        assert first.status == 200 and first.id
        tally.sessions += 1
        for _ in range(FOLLOW_UPS):
            tally.follow_up(first, await send(port, first.id))

    await crowd(sessions, clients, session)
    return tally


@pytest.mark.plus_syntax
@pytest.mark.parametrize("workers", [2, 4])
async def test_plus_configuration_to_the_letter(nginx, workers, report):
    sticky, plain = free_ports(2)
    async with replicas(2) as servers:
        nginx.start(
            sample("mcp-plus.conf", sticky, servers) + upstream("plain", servers, "") + listen(plain, "plain", ""),
            workers=workers,
        )
        tally = await visit(sticky)
        report(tally)
        # A single client gets the servers in turn. Several clients may by chance stay in step with them.
        beside = await visit(plain, 100, 1)
        report(f"round robin beside it: {beside}")

    assert tally.misrouted == 0
    assert len(tally.workers) == workers and tally.crossed > 0
    assert len(beside.hurt) == beside.sessions


@pytest.mark.parametrize("workers", [2, 4])
async def test_recommended_configuration(nginx, workers, report):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(sample("mcp.conf", port, servers), workers=workers)
        tally = await visit(port)
    report(tally)
    assert tally.misrouted == 0
    assert len(tally.workers) == workers and tally.crossed > 0


async def test_two_upstreams_share_a_zone(nginx, report):
    (port,) = free_ports(1)
    tally = Tally()

    async def session(_: int) -> None:
        first = await send(port)
        tally.sessions += 1
        for _ in range(FOLLOW_UPS):
            tally.follow_up(first, await send(port, first.id, path="/files/report"))

    async with replicas(2) as servers:
        nginx.start(sample("shared-zone.conf", port, servers))
        await crowd(200, 20, session)
    report(tally)
    assert tally.misrouted == 0
