"""Our own `sticky` with several processes: workers that share no memory, reloads, servers removed one by one."""

import asyncio

import pytest

from harness.clients.http import Response, crowd, send
from harness.conf import listen, upstream
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

pytestmark = pytest.mark.plus_syntax

PLUS = "sticky learn create=$upstream_http_mcp_session_id lookup=$http_mcp_session_id"


def cookie_of(response: Response) -> str:
    return response.text("set-cookie").partition(";")[0]


async def ask(port: int, cookie: str = "") -> Response:
    return await send(port, headers=[("Cookie", cookie)] if cookie else [])


def with_cookie(servers: list[Replica], *drain: Replica) -> str:
    lines = (f"server {server.address} {'drain' if server in drain else ''};" for server in servers)
    return f"upstream app {{ zone app 128k; sticky cookie srv path=/; {' '.join(lines)} }}"


async def test_clients_keep_their_server_on_any_worker(nginx):
    (port,) = free_ports(1)
    workers: set[str] = set()
    async with replicas(3) as servers:
        nginx.start(with_cookie(servers) + listen(port, "app"), workers=4)

        async def client(_: int) -> None:
            first = await ask(port)
            for _ in range(10):
                again = await ask(port, cookie_of(first))
                assert (again.replica, again.sticky, cookie_of(again)) == (first.replica, "HIT", cookie_of(first))
                workers.add(again.worker)

        await crowd(100, 20, client)
    assert len(workers) > 1


async def test_servers_are_taken_out_one_by_one(nginx):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(with_cookie(servers) + listen(port, "app"))
        clients = [await ask(port) for _ in range(30)]
        assert {client.replica for client in clients} == {server.name for server in servers}

        for server in servers:
            await asyncio.to_thread(nginx.reload, with_cookie(servers, server) + listen(port, "app"))
            fresh = {(await ask(port)).replica for _ in range(10)}
            assert server.name not in fresh and len(fresh) == 2
            for client in clients:
                again = await ask(port, cookie_of(client))
                assert (again.replica, again.sticky) == (client.replica, "HIT")


@pytest.mark.parametrize("header", ["", "header"])
async def test_learned_sessions_outlive_a_reload(nginx, header):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        configuration = upstream("app", servers, f"{PLUS} zone=sessions:1m {header};") + listen(port, "app")
        nginx.start(configuration)
        firsts = [await send(port) for _ in range(30)]
        # In another order, with another size, and with one server draining.
        reordered = upstream("app", servers[::-1], f"{PLUS} zone=sessions:2m {header};") + listen(port, "app")
        reordered = reordered.replace(f"{servers[0].address} ;", f"{servers[0].address} drain;")
        assert "drain" in reordered
        for text in (configuration, reordered):
            await asyncio.to_thread(nginx.reload, text)
            for first in firsts:
                again = await send(port, first.id)
                assert (again.status, again.replica, again.sticky) == (200, first.replica, "HIT")
