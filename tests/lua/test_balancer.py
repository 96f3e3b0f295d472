"""A fleet that only `balancer_by_lua` knows: no server is in the configuration."""

import pytest

from harness.clients.http import Response, Tally, crowd, send
from harness.conf import STREAMING, listen
from harness.lua import LUA, PATH, needs_lua
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

pytestmark = needs_lua

SESSIONS = 300

# New sessions go to the servers of `fresh` in turn. A session that has no server any more is given to one of these.
UPSTREAM = """
    init_by_lua_block {
        balancer = require "ngx.balancer"
        sticky = require "resty.sticky_learn"
        fresh, turn = { %s }, 0
    }
    upstream mcp {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m %s;
        balancer_by_lua_block {
            if not ngx.ctx.tried then
                ngx.ctx.tried = true
                balancer.set_more_tries(1)
            end
            local server = sticky.session_server()
            if not server then
                turn = turn %% #fresh + 1
                server = fresh[turn]
            end
            assert(balancer.set_current_peer(server))
        }
    }
"""


def http(port: int, servers: list[Replica], more: str = "") -> str:
    names = ", ".join(f'"{server.address}"' for server in servers)
    return PATH + UPSTREAM % (names, more) + listen(port, "mcp", STREAMING)


class Fleet:
    def __init__(self, port: int):
        self.port = port
        self.firsts: list[Response] = []
        self.tally = Tally()

    async def begin(self, _: int) -> None:
        first = await send(self.port)
        assert first.status == 200
        self.firsts.append(first)
        self.tally.sessions += 1

    async def go_on(self) -> None:
        async def one(number: int) -> None:
            first = self.firsts[number]
            self.tally.follow_up(first, await send(self.port, first.id))

        await crowd(len(self.firsts), 20, one)


@pytest.mark.parametrize("order", ["sticky_learn first", "Lua first"])
async def test_sessions_over_reloads(nginx, report, order):
    (port,) = free_ports(1)
    nginx.modules = LUA + nginx.modules if order == "Lua first" else nginx.modules + LUA
    async with replicas(3) as servers:
        fleet = Fleet(port)
        nginx.start(http(port, servers))
        await crowd(SESSIONS, 20, fleet.begin)
        for _ in range(3):
            await fleet.go_on()
            nginx.reload()
        await fleet.go_on()
        assert all(len(server.sessions) >= SESSIONS / 4 for server in servers)
    report(fleet.tally)
    assert (fleet.tally.sessions, fleet.tally.misrouted) == (SESSIONS, 0)


async def test_lua_drains_a_server(nginx):
    """Lua gives it no new sessions, and its own are still sent to it."""
    (port,) = free_ports(1)
    nginx.modules += LUA
    async with replicas(3) as servers:
        fleet = Fleet(port)
        nginx.start(http(port, servers))
        await crowd(SESSIONS, 20, fleet.begin)
        had = len(servers[0].sessions)
        nginx.reload(http(port, servers[1:]))
        await crowd(60, 20, fleet.begin)
        await fleet.go_on()
        assert len(servers[0].sessions) == had
    assert fleet.tally.misrouted == 0


async def test_a_dead_server_takes_only_its_own_sessions_along(nginx):
    (port,) = free_ports(1)
    nginx.modules += LUA
    nginx.allowed.append(r"\[error\] .*connect\(\) failed|\[error\] .*(reset by peer|prematurely closed)")
    async with replicas(3) as servers:
        fleet = Fleet(port)
        nginx.start(http(port, servers))
        await crowd(SESSIONS, 20, fleet.begin)
        servers[0].stop()
        dead = servers[0].name
        statuses = {dead: set(), "others": set()}

        async def one(number: int) -> None:
            first = fleet.firsts[number]
            response = await send(port, first.id)
            statuses[dead if first.replica == dead else "others"].add((response.status, response.sticky))

        await crowd(SESSIONS, 20, one)
        assert statuses == {dead: {(503, "UNAVAILABLE")}, "others": {(200, "HIT")}}
        # It is back: it still has its sessions.
        await servers[0].start()
        await fleet.go_on()
    assert fleet.tally.misrouted == 0


async def test_with_rebind_its_sessions_move(nginx):
    (port,) = free_ports(1)
    nginx.modules += LUA
    nginx.allowed.append(r"\[error\] .*connect\(\) failed|\[error\] .*(reset by peer|prematurely closed)")
    async with replicas(3) as servers:
        fleet = Fleet(port)
        nginx.start(http(port, servers, "unavailable=rebind"))
        await crowd(SESSIONS, 20, fleet.begin)
        dead = servers[0]
        dead.stop()
        for server in servers[1:]:
            server.sessions |= dead.sessions  # they share a store
        nginx.reload(http(port, servers[1:], "unavailable=rebind"))
        moved = [first for first in fleet.firsts if first.replica == dead.name]
        for expected in ("REBOUND", "HIT"):
            said = {(await send(port, first.id)).sticky for first in moved}
            assert said == {expected}
