"""Attempts to connect to servers: which worker makes them, to which servers, and that nothing is left of them."""

import asyncio
import contextlib
import time
from collections import Counter

import pytest

from harness.clients.api import Api, location
from harness.clients.crowds import ask_all, seats
from harness.clients.http import send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.nginx import GONE, KILLED, UNREACHABLE
from harness.patience import until
from harness.ports import connecting_to, free_ports
from harness.servers.faults import black_hole
from harness.servers.replica import Replica, replicas

ALLOWED = [
    r"connect\(\) (to unix:\S+ )?failed|temporarily disabled|no live upstreams|upstream timed out|reset by peer",
    UNREACHABLE,
    GONE,
]
HIT = (200, "HIT")
REJECT = f"{LEARN} unavailable=reject"


def told(answers) -> set[tuple[int, str]]:
    return {(answer.status, answer.sticky) for answer in answers}


def front(port: int, name: str = "mcp") -> str:
    return listen(port, name, STREAMING + "proxy_connect_timeout 500ms;" + location())


async def shown(port: int, replica: Replica, name: str = "mcp") -> str:
    return (await Api(port).get(f"upstreams/{name}/servers/{replica.address}", "server"))["state"]


async def is_up(port: int, replica: Replica) -> bool:
    return await shown(port, replica) == "up"


async def becomes_unreachable(port: int, replica: Replica, ids: list[bytes]) -> None:
    replica.stop()
    assert told(await ask_all(port, ids[:1])) == {(503, "UNAVAILABLE")}
    assert await shown(port, replica) == "unreachable"


async def test_another_worker_goes_on_when_the_one_that_makes_the_attempts_is_killed(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [*ALLOWED, KILLED]
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{REJECT} gone_after=60s;") + front(port), workers=4)
        ids = (await seats(port, servers, 5))[servers[0].name]
        took = []
        for _ in range(4):
            await becomes_unreachable(port, servers[0], ids)
            nginx.kill_worker(nginx.workers[0])
            await servers[0].start()
            back = time.monotonic()
            await until(lambda: is_up(port, servers[0]))
            took.append(time.monotonic() - back)
            assert told(await ask_all(port, ids)) == {HIT}
    report(f"back after {', '.join(f'{t:.1f}' for t in took)} s")
    # Three intervals of one second, one more until the next timer, and time for a busy machine.
    assert max(took) < 6


async def test_quitting_during_attempts_leaves_nothing(nginx):
    (port,) = free_ports(1)
    nginx.allowed += ALLOWED
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{REJECT} gone_after=60s;") + front(port), workers=4)
        ids = (await seats(port, servers, 2))[servers[0].name]
        servers[0].stop()
        with black_hole((servers[0].host, servers[0].port)):
            await ask_all(port, ids)
            await asyncio.sleep(1.5)
            for _ in range(3):
                await asyncio.to_thread(nginx.reload)
                await asyncio.sleep(0.5)
                assert told(await ask_all(port, ids)) == {(503, "UNAVAILABLE")}
        await servers[0].start()
        await until(lambda: is_up(port, servers[0]))
        assert told(await ask_all(port, ids)) == {HIT}
        servers[0].stop()
        with black_hole((servers[0].host, servers[0].port)):
            await ask_all(port, ids)
            await asyncio.sleep(1.2)
            nginx.signal_quit()
            await until(lambda: not nginx.is_running)
    assert not [line for line in nginx.errors() if "open socket" in line or "exited on signal" in line]


async def test_a_server_that_one_upstream_has_down_is_still_tried_for_another(nginx):
    """Both share a zone."""
    port, other = free_ports(2)
    nginx.allowed += ALLOWED
    async with replicas(2) as servers:
        marked = upstream("other", servers, f"{REJECT};").replace(servers[0].address, f"{servers[0].address} down")
        nginx.start(upstream("mcp", servers, f"{REJECT};") + front(port) + marked + front(other, "other"))
        ids = (await seats(port, servers, 2))[servers[0].name]
        await becomes_unreachable(port, servers[0], ids)
        await servers[0].start()
        await until(lambda: is_up(port, servers[0]))
        after = await ask_all(port, ids)
    assert told(after) == {HIT}


async def test_upstreams_that_share_a_zone_have_their_own_gone_after(nginx):
    port, other = free_ports(2)
    nginx.allowed += ALLOWED
    async with replicas(2) as servers:
        nginx.start(
            upstream("mcp", servers, f"{REJECT} gone_after=1s;")
            + front(port)
            + upstream("other", servers, f"{REJECT} gone_after=60s;")
            + front(other, "other")
        )
        first, second, third, fourth = (await seats(port, servers, 4))[servers[0].name]
        await becomes_unreachable(port, servers[0], [first])

        async def is_gone() -> bool:
            return await shown(port, servers[0]) == "gone"

        await until(is_gone)
        patient = await ask_all(other, [second])
        impatient = await ask_all(port, [third])
        await servers[0].start()
        await until(lambda: is_up(port, servers[0]))
        after = await ask_all(port, [fourth])
    assert told(patient) == {(503, "UNAVAILABLE")}
    assert told(impatient) == {(404, "GONE")}
    assert told(after) == {HIT}


async def test_a_short_gone_after_of_one_zone_does_not_hurry_the_attempts_of_another(nginx, report):
    """They would be too short for a server that is far away."""
    port, other = free_ports(2)
    nginx.allowed += ALLOWED
    async with replicas(3) as servers:
        nginx.start(
            upstream("mcp", servers[:2], f"{REJECT} gone_after=60s;")
            + front(port)
            + upstream("other", servers, f"{REJECT.replace('sessions', 'others')} gone_after=1s;")
            + front(other, "other"),
            workers=1,
        )
        home = servers[0]
        ids = (await seats(port, servers[:2], 1))[home.name]
        home.stop()
        with black_hole((home.host, home.port)):
            filling = connecting_to(home.port)
            await ask_all(port, ids)
            tries: set[str] = set()
            began = time.monotonic()
            while time.monotonic() < began + 3:
                tries |= connecting_to(home.port) - filling
                await asyncio.sleep(0.02)
        await home.start()
        await until(lambda: is_up(port, home))
    report(f"{len(tries)} attempts in 3 s")
    assert 1 <= len(tries) <= 5


@pytest.mark.parametrize("shared", [True, False])
async def test_backup_servers_and_their_sessions(nginx, shared):
    (port,) = free_ports(1)
    nginx.allowed += ALLOWED
    async with replicas(3) as servers:
        conf = upstream("mcp", servers, f"{REJECT} gone_after=60s;", "max_fails=0", shared=shared)
        nginx.start(conf.replace(f"{servers[2].address}", f"{servers[2].address} backup") + front(port))
        ids = await seats(port, servers[:2], 3)
        for replica in servers[:2]:
            replica.stop()
        await ask_all(port, ids["amber"] + ids["birch"])
        fresh = [await send(port) for _ in range(3)]
        own = await ask_all(port, [response.id for response in fresh])
        servers[2].stop()
        lost = await ask_all(port, [response.id for response in fresh])
        for replica in servers:
            await replica.start()
        for replica in servers:
            await until(lambda: is_up(port, replica))
        after = await ask_all(port, [*ids["amber"], *ids["birch"], *(response.id for response in fresh)])
    assert {(response.status, response.replica) for response in fresh} == {(200, "cedar")}
    assert told(own) == {HIT}
    assert told(lost) == {(503, "UNAVAILABLE")}
    assert told(after) == {HIT}


async def test_a_unix_socket_that_vanishes_and_returns(nginx):
    port, one, two = free_ports(3)
    nginx.allowed += [*ALLOWED, r"\[crit\] .* connect\(\) to unix:"]
    path = nginx.home / "server.sock"
    backends = "".join(
        f"""server {{ listen 127.0.0.1:{listening}; add_header X-Replica {name};
            add_header Mcp-Session-Id $opened; location / {{ return 200 '{{}}'; }} }}"""
        for listening, name in ((one, "amber"), (two, "birch"))
    )
    async with copied(path, one):
        nginx.start(
            f"""map "$http_mcp_session_id" $opened {{ "" $request_id; default ""; }}
            {backends}
            upstream mcp {{ {REJECT} gone_after=60s; server unix:{path}; server 127.0.0.1:{two}; }}"""
            + front(port)
        )
        ids = await seats(port, [Replica("amber"), Replica("birch")], 3)
        before = await ask_all(port, ids["amber"])
    path.unlink(missing_ok=True)
    away = await ask_all(port, ids["amber"])
    stays = await ask_all(port, ids["birch"])
    async with copied(path, one):

        async def is_back() -> bool:
            return told(await ask_all(port, ids["amber"])) == {HIT}

        await until(is_back)
    assert told(before) == told(stays) == {HIT}
    assert told(away) == {(503, "UNAVAILABLE")}


@contextlib.asynccontextmanager
async def copied(path, port: int):
    """A Unix socket for what listens at a port."""
    writers = []

    async def copy(reader, writer) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def handle(reader, writer) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([writer, back_writer])
        await asyncio.gather(copy(reader, back_writer), copy(back_reader, writer))

    server = await asyncio.start_unix_server(handle, path)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_a_short_gone_after(nginx, report):
    """A blip is outlived, a death is not."""
    (port,) = free_ports(1)
    nginx.allowed += ALLOWED
    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{REJECT} gone_after=1s;") + front(port), workers=4)
        ids = (await seats(port, servers, 3))[servers[0].name]
        blips = []
        for _ in range(5):
            servers[0].stop()
            began = time.monotonic()
            blips += await ask_all(port, ids)
            await asyncio.sleep(0.6)
            blips += await ask_all(port, ids)
            await servers[0].start()
            was_in_time = time.monotonic() - began < 0.95
            await until(lambda: is_up(port, servers[0]))
            if not was_in_time:
                pytest.skip("this machine is too busy to end a blip in time")
        blips += await ask_all(port, ids)
        servers[0].stop()
        died = time.monotonic()
        while (last := await ask_all(port, ids[:1]))[0].status != 404:
            await asyncio.sleep(0.05)
        report(f"gone after {time.monotonic() - died:.2f} s")
    assert {answer.status for answer in blips} <= {200, 503}
    assert told(last) == {(404, "GONE")}


async def test_300_servers_of_which_100_are_dead(nginx, report):
    port, common = free_ports(2)
    nginx.allowed += ALLOWED
    hosts = [f"127.2.{n // 250}.{n % 250 + 1}" for n in range(300)]
    nginx.start(conf_of(port, common, hosts, hosts), workers=2)
    ids: dict[str, bytes] = {}
    while len(ids) < 300:
        first = await send(port)
        ids[first.replica] = first.id
    dead, alive = hosts[:100], hosts[100:]
    await asyncio.to_thread(nginx.reload, conf_of(port, common, hosts, alive))
    began = time.monotonic()
    first = await ask_all(port, [ids[host] for host in dead])
    others, fresh = [], []

    async def are_gone() -> bool:
        nonlocal others, fresh
        others += await ask_all(port, [ids[host] for host in alive[:20]])
        fresh += await ask_all(port, [b""] * 3)
        servers = (await Api(port).get("upstreams/mcp", "upstream"))["servers"].values()
        return Counter(server["state"] for server in servers) == {"gone": 100, "up": 200}

    await until(are_gone)
    passed = time.monotonic() - began
    last = await ask_all(port, [ids[host] for host in dead])
    slowest = max(answer.took for answer in others + fresh)
    report(f"gone after {passed:.1f} s, gone_after=3s; slowest other request {slowest:.3f} s")
    assert told(first) == {(503, "UNAVAILABLE")}
    assert told(others) == {HIT}
    assert told(fresh) == {(200, "NEW")}
    assert told(last) == {(404, "GONE")}


def conf_of(port: int, common: int, hosts: list[str], listening: list[str]) -> str:
    return f"""
    upstream mcp {{
        zone mcp 1m;
        {REJECT} gone_after=3s;
        {"".join(f"server {host}:{common};" for host in hosts)}
    }}
    map "$http_mcp_session_id" $opened {{ "" $request_id; default ""; }}
    server {{
        {"".join(f"listen {host}:{common};" for host in listening)}
        add_header X-Replica $server_addr;
        add_header Mcp-Session-Id $opened;
        location / {{ return 200 ""; }}
    }}
    """ + front(port)
