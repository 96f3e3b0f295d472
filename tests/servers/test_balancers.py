"""Each balancer of nginx chooses for new sessions, existing sessions stay, and no count is left over."""

import uuid

import pytest

from harness.clients.http import Tally, crowd, send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

BALANCERS = {
    "round_robin": "",
    "least_conn": "least_conn;",
    "ip_hash": "ip_hash;",
    "hash": "hash $http_x_key;",
    "consistent_hash": "hash $http_x_key consistent;",
    "random": "random;",
    "random_two": "random two least_conn;",
}

# For the hashing balancers each request has another client address or key.
REAL_IP = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;"


async def visit(port: int, servers: list[Replica]) -> tuple[Tally, set[str]]:
    tally, met = Tally(), set()
    numbers = iter(range(1, 1_000_000))

    def other_client() -> list[tuple[str, str]]:
        number = next(numbers)
        address = f"10.{number % 250}.{number // 250 % 250}.7"
        return [("X-Key", uuid.uuid4().hex), ("X-Forwarded-For", address)]

    async def session(_: int) -> None:
        first = await send(port, headers=other_client())
        assert first.status == 200
        met.add(first.replica)
        tally.sessions += 1
        for _ in range(5):
            response = await send(port, first.id, headers=other_client())
            assert response.sticky == "HIT"
            tally.follow_up(first, response)

    await crowd(200, 10, session)
    return tally, met


@pytest.mark.parametrize("keepalive", ["before", "after"])
@pytest.mark.parametrize("balancer", BALANCERS)
async def test_with(nginx, report, balancer, keepalive):
    (port,) = free_ports(1)
    choose = BALANCERS[balancer]
    directives = {
        "before": f"{choose} keepalive 16; {LEARN};",
        "after": f"{choose} {LEARN}; keepalive 16;",
    }[keepalive]
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, directives) + listen(port, "mcp", STREAMING + REAL_IP))
        tally, met = await visit(port, servers)
        connections = sum(replica.accepted for replica in servers)
    report(f"{tally}; {connections} connections for {tally.sessions + tally.requests:,} requests")
    assert tally.misrouted == 0
    assert met == {replica.name for replica in servers}
    assert connections < (tally.sessions + tally.requests) / 2  # keepalive keeps them


async def test_upstream_named_by_a_variable(nginx):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start("map $uri $name { default mcp; }" + upstream("mcp", servers, f"{LEARN};") + listen(port, "$name"))
        tally, _ = await visit(port, servers)
    assert tally.misrouted == 0


async def test_connections_are_given_back(nginx, report):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        # Ten clients at once, each slightly ahead of nginx. Connections that stay counted would reach the limit.
        nginx.start(
            upstream("mcp", servers, f"{LEARN} unavailable=reject;", "max_conns=31") + listen(port, "mcp"), workers=2
        )
        tally, _ = await visit(port, servers)
        for replica in servers:
            replica.status = 500
        failing = [(await send(port)).status for _ in range(30)]
        for replica in servers:
            replica.status = 200
        again, _ = await visit(port, servers)
    report(f"max_conns=31, 10 clients: {again}")
    assert tally.misrouted == again.misrouted == 0
    assert set(failing) == {500}
