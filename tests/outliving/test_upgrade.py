"""Upgrades of nginx's binary (USR2): what the old binary has learned, the new one knows, without any configuration."""

import asyncio
import os
import signal

import pytest

from harness.clients.api import report_of
from harness.clients.http import Response, send, stream
from harness.clients.storm import Storm
from harness.conf import LEARN, listen, upstream
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas

SESSIONS = 200


def http(port: int, servers, learn: str = LEARN) -> str:
    return upstream("mcp", servers, f"{learn};") + listen(port, "mcp")


async def begin(port: int, count: int = SESSIONS) -> list[Response]:
    firsts = [await send(port) for _ in range(count)]
    assert {first.status for first in firsts} == {200}
    return firsts


async def all_are_known(port: int, firsts: list[Response]) -> None:
    said = [await send(port, first.id) for first in firsts]
    assert {response.sticky for response in said} == {"HIT"}
    assert [response.replica for response in said] == [first.replica for first in firsts]


async def test_sessions_of_the_old_binary(nginx):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(http(port, servers), daemon=True)
        firsts = await begin(port)
        old = await asyncio.to_thread(nginx.upgrade)
        # Both binaries accept connections, and use one table.
        firsts += await begin(port)
        await all_are_known(port, firsts)
        await asyncio.to_thread(nginx.end, old)
        await all_are_known(port, firsts)
        assert report_of(nginx)["zones"]["sessions"]["live"] == len(firsts)
    assert sum("keeps its memory over the upgrade, with 200 sessions" in line for line in nginx.errors()) == 1


async def test_stream_of_the_old_binary_and_its_end(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(http(port, servers, "sticky_learn zone=sessions:1m"), daemon=True)
        opened = await stream(port, method="POST", headers=[("X-Stream", "1")])
        waiting = asyncio.ensure_future(send(port, headers=[("X-Wait", "1")]))
        await until(lambda: sum(len(replica.waiting) for replica in servers) == 1)
        old = await asyncio.to_thread(nginx.upgrade)
        old.send_signal(signal.SIGQUIT)
        # Learned by the old binary while it quits, ended in the new one.
        for replica in servers:
            replica.answer_now.set()
        late = await waiting
        assert late.status == 200
        await until(lambda: not nginx.accepts(old))
        assert (await send(port, late.id)).replica == late.replica
        assert (await send(port, opened.response.id)).replica == opened.response.replica
        assert (await send(port, late.id, method="DELETE")).status == 200
        assert (await send(port, late.id)).status == 404
        opened.close()


async def test_rollback(nginx):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(http(port, servers), daemon=True)
        firsts = await begin(port)
        old = await asyncio.to_thread(nginx.upgrade)
        firsts += await begin(port)
        await asyncio.to_thread(nginx.roll_back, old)
        await all_are_known(port, firsts)
        # The old binary can still be upgraded, and reloaded.
        await asyncio.to_thread(nginx.reload)
        firsts += await begin(port)
        old = await asyncio.to_thread(nginx.upgrade)
        await asyncio.to_thread(nginx.end, old)
        await all_are_known(port, firsts)


@pytest.mark.parametrize("size", ["2m", "512k"])
async def test_other_size_in_the_new_binary(nginx, size):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(http(port, servers), daemon=True)
        firsts = await begin(port)
        nginx.configure(http(port, servers, LEARN.replace("1m", size)))
        old = await asyncio.to_thread(nginx.upgrade)
        os.kill(old.pid, signal.SIGWINCH)
        await until(lambda: not nginx.accepts(old))
        await all_are_known(port, firsts)
        await asyncio.to_thread(nginx.end, old)
        await all_are_known(port, firsts)


async def test_zone_that_the_new_binary_does_not_have(nginx):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(http(port, servers), daemon=True)
        await begin(port, 20)
        nginx.configure(http(port, servers, LEARN.replace("sessions", "renamed")))
        old = await asyncio.to_thread(nginx.upgrade)
        await asyncio.to_thread(nginx.end, old)
        # A later configuration does not get it either, and no descriptor of it is open.
        await asyncio.to_thread(nginx.reload, http(port, servers))
        await all_are_known(port, await begin(port, 20))
        assert nginx.memories(nginx.master) == 1
        # nginx says that a worker has started before that closes what it does not need.
        await until(lambda: [nginx.memories(pid) for pid in nginx.workers] == [0, 0])


async def test_upgrades_and_reloads_under_traffic(nginx, report):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(http(port, servers), daemon=True)
        async with Storm(port).blowing() as storm:
            for _ in range(4):
                old = await asyncio.to_thread(nginx.upgrade)
                await storm.goes_on()
                await asyncio.to_thread(nginx.end, old)
                await asyncio.to_thread(nginx.reload)
                await storm.goes_on()
        await storm.every_session_is_known()
    report(f"4 upgrades with reloads between: {storm}")
    assert (storm.lost, storm.moved) == (0, 0)
