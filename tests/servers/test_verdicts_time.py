"""Two days of a cluster in short: servers come and go, and no session ends if its server comes back in time.

Hours are seconds here: `gone_after` is short, and interruptions last up to nine tenths of it. With STICKY_LONG=1 the
test lasts ten minutes.
"""

import asyncio
import os
import random
import time

from harness.clients.api import Api, location
from harness.clients.crowds import ask_all, seats, traffic
from harness.clients.http import send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.nginx import GONE, SLOW, UNREACHABLE, Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.servers.faults import black_hole
from harness.servers.replica import Replica, replicas

LONG = bool(os.environ.get("STICKY_LONG"))
GONE_AFTER = 3  # seconds
ATTEMPT = GONE_AFTER / 12
TICK = 0.1  # the module's clock is no finer
BLIP = (0.1 * GONE_AFTER, 0.9 * GONE_AFTER)
PAUSE = (0.3 * GONE_AFTER, 0.6 * GONE_AFTER)

ALLOWED = [
    r"upstream timed out|upstream prematurely closed|temporarily disabled|no live upstreams",
    r"connect\(\) failed|reset by peer",
    SLOW,
    UNREACHABLE,
]
HIT = (200, "HIT")


def start(nginx: Nginx, port: int, servers: list[Replica], workers: int = 2) -> None:
    nginx.allowed += ALLOWED
    conf = upstream("mcp", servers, f"{LEARN} unavailable=reject gone_after={GONE_AFTER}s;")
    timeouts = STREAMING.replace("60s", "500ms") + "proxy_connect_timeout 300ms;"
    patient = f"location /patient {{ {STREAMING} proxy_pass http://mcp; }}"
    nginx.start(conf + listen(port, "mcp", timeouts + location() + patient), workers=workers)


# A temporary fault of a server.


async def refuses(replica: Replica, time: float) -> None:
    replica.stop()
    await asyncio.sleep(time)
    await replica.start()


async def is_restarted(replica: Replica, _: float) -> None:
    await refuses(replica, 0)


async def resets(replica: Replica, time: float) -> None:
    for _ in range(5):
        replica.reset()
        await asyncio.sleep(time / 5)


async def is_silent(replica: Replica, time: float) -> None:
    replica.silent = True
    await asyncio.sleep(time)
    replica.silent = False
    replica.reset()


async def swallows_connections(replica: Replica, time: float) -> None:
    replica.stop()
    with black_hole((replica.host, replica.port)):
        await asyncio.sleep(time)
    await replica.start()


BLIPS = [refuses, is_restarted, resets, is_silent, swallows_connections]


async def blips(replica: Replica, until_when: float, seed: int, longest: list[float]) -> None:
    chance = random.Random(seed)
    kinds = []
    while time.monotonic() < until_when:
        kinds = kinds or chance.sample(BLIPS, len(BLIPS))
        began = time.monotonic()
        await kinds.pop()(replica, chance.uniform(*BLIP))
        longest.append(time.monotonic() - began)
        await asyncio.sleep(chance.uniform(*PAUSE))


async def test_blips_end_no_session(nginx, report):
    (port,) = free_ports(1)
    seed, lasts = random.randrange(1 << 16), 600 if LONG else 14
    longest: list[float] = []
    async with replicas(3) as servers:
        start(nginx, port, servers)
        ids = [id for of_it in (await seats(port, servers, 67)).values() for id in of_it]
        async with traffic(port, ids, pause=4) as requests:
            end = time.monotonic() + lasts
            await asyncio.gather(*(blips(replica, end, seed + n, longest) for n, replica in enumerate(servers)))
            # A server that is slow after a silent blip stays slow until it answers.
            await until(lambda: all_are_up(port))
        # All at once, and the servers may be busy.
        after = await ask_all(port, ids, path="/patient")
    statuses = [answer.status for answer in requests.answers]
    report(f"seed {seed}: {len(longest)} blips of up to {max(longest):.1f} s, {len(statuses)} requests")
    report({status: statuses.count(status) for status in set(statuses)})
    # If the machine is too busy to end a blip in time, the test proves nothing.
    if max(longest) < 0.97 * GONE_AFTER:
        assert 404 not in statuses
        assert {(answer.status, answer.sticky) for answer in after} == {HIT}
        assert len(after) == 201


async def states(port: int) -> dict[str, str]:
    shown = await Api(port).get("upstreams/mcp", "upstream")
    return {address: server["state"] for address, server in shown["servers"].items()}


async def all_are_up(port: int) -> bool:
    return set((await states(port)).values()) == {"up"}


async def test_a_server_that_dies_is_found_gone_in_time(nginx, report):
    """Also where only one request has come to it, and none after that."""
    (port,) = free_ports(1)
    nginx.allowed.append(GONE)
    async with replicas(3) as servers:
        start(nginx, port, servers, workers=1)
        ids = await seats(port, servers, 5)
        dead, *alive = servers
        dead.stop()
        first = await send(port, ids[dead.name][0])
        polls = [time.monotonic()]
        while (await states(port))[dead.address] != "gone":
            polls.append(time.monotonic())
            await asyncio.sleep(0.02)
        took = time.monotonic() - polls[0]
        longest_stall = max(later - earlier for earlier, later in zip(polls, [*polls[1:], time.monotonic()]))
        ended = await ask_all(port, ids[dead.name])
        others = await ask_all(port, [id for replica in alive for id in ids[replica.name]], path="/patient")
        await dead.start()
        unknown = await ask_all(port, ids[dead.name])
    report(f"gone {took:.2f} s after the first failure, gone_after={GONE_AFTER}s")
    assert first.status == 503
    assert took > GONE_AFTER - TICK
    # If the machine stalls for a quarter of gone_after, the module restarts the period.
    if longest_stall < ATTEMPT:
        assert took < GONE_AFTER + 2 * ATTEMPT + TICK + longest_stall
    assert {(answer.status, answer.sticky) for answer in ended} == {(404, "GONE")}
    assert {(answer.status, answer.sticky) for answer in others} == {HIT}
    assert {answer.sticky for answer in unknown} == {"UNKNOWN"}


async def test_where_all_servers_die_none_is_gone(nginx):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        start(nginx, port, servers)
        ids = [id for of_it in (await seats(port, servers, 5)).values() for id in of_it]
        for replica in servers:
            replica.stop()
        answers = []
        died = time.monotonic()
        while time.monotonic() < died + 2 * GONE_AFTER:
            answers += await ask_all(port, ids)
            await asyncio.sleep(0.3)
        shown = set((await states(port)).values())
        for replica in servers:
            await replica.start()
        await until(lambda: all_are_up(port))
        after = await ask_all(port, ids, path="/patient")
    assert {(answer.status, answer.sticky) for answer in answers} == {(503, "UNAVAILABLE")}
    assert shown == {"unreachable"}
    assert {(answer.status, answer.sticky) for answer in after} == {HIT}
