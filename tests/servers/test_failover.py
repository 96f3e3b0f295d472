"""Each policy, for a session whose server is unavailable, and for an unknown id."""

import asyncio
import re
import time
from collections.abc import Iterable

import pytest

from harness.clients.http import Response, send, stream
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.nginx import BINARY, GONE, OWN_STICKY, UNREACHABLE, version
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

GONE_AFTER = 3  # seconds
TICK = 0.1  # seconds; the module's clock is no finer
FAIL_TIMEOUT = 1  # nginx tries a failed server again after this, counted in whole seconds

REFUSED = r"connect\(\) failed \(111: Connection refused\)"
RESET = r"Connection reset by peer"
DISABLED = r"upstream server temporarily disabled"


def conf(port: int, servers: Iterable[Replica], policy: str, server: str = f"fail_timeout={FAIL_TIMEOUT}s") -> str:
    return upstream("mcp", servers, f"{LEARN} {policy};", server) + listen(port, "mcp")


def shared(servers: list[Replica], id: bytes) -> None:
    """A session that every replica can serve, as with a store that they share."""
    for replica in servers:
        replica.sessions.add(id)


async def begin(port: int, servers: list[Replica]) -> tuple[Response, Replica, list[Replica]]:
    """A session, the replica that issued it, and the others."""
    first = await send(port, patient=True)
    assert first.sticky == "NEW"
    home = next(replica for replica in servers if replica.name == first.replica)
    return first, home, [replica for replica in servers if replica is not home]


def told(response: Response) -> tuple[int, str]:
    return response.status, response.sticky


def assert_rejected(response: Response, status: int, sticky: str) -> None:
    assert told(response) == (status, sticky)
    assert response.replica == ""
    assert (response.text("retry-after").isdigit()) == (status == 503)


# unavailable=


async def test_reject_until_the_server_is_back(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE]
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, f"unavailable=reject gone_after={10 * GONE_AFTER}s"))
        first, home, others = await begin(port, servers)
        home.stop()
        answers = [await send(port, first.id) for _ in range(10)]
        served_elsewhere = sum(replica.requests for replica in others)
        await home.start()
        await asyncio.sleep(FAIL_TIMEOUT + 1.2)
        back = await send(port, first.id)
    report(
        f"stopped: {[told(a) for a in answers[:2]]}, Retry-After {answers[0].text('retry-after')}; back: {told(back)}"
    )
    for answer in answers:
        assert_rejected(answer, 503, "UNAVAILABLE")
    assert served_elsewhere == 0
    assert told(back) == (200, "HIT") and back.replica == first.replica
    assert not [line for line in nginx.errors() if "no live upstreams" in line]


async def test_reject_until_the_server_is_gone(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE, GONE]
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, f"unavailable=reject gone_after={GONE_AFTER}s"))
        first, home, _ = await begin(port, servers)
        home.stop()
        stopped = time.monotonic()
        answers = [await send(port, first.id)]
        while answers[-1].status == 503:
            await asyncio.sleep(0.2)
            answers.append(await send(port, first.id))
        passed = time.monotonic() - stopped
        forgotten = await send(port, first.id)
    *unavailable, gone = answers
    report(f"gone_after={GONE_AFTER}s: {len(unavailable)} times 503, {told(gone)} after {passed:.1f} s")
    for answer in unavailable:
        assert_rejected(answer, 503, "UNAVAILABLE")
    assert_rejected(gone, 404, "GONE")
    assert passed > GONE_AFTER - TICK
    assert forgotten.sticky == "UNKNOWN"
    assert not [line for line in nginx.errors() if "no live upstreams" in line]


async def test_a_server_that_came_back_is_not_gone_at_its_next_failure(nginx):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE]
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, f"unavailable=reject gone_after={GONE_AFTER}s"))
        first, home, _ = await begin(port, servers)
        home.stop()
        early = await send(port, first.id)
        await home.start()
        await asyncio.sleep(FAIL_TIMEOUT + 1.2)
        second = await send(port)
        while second.replica != home.name:
            second = await send(port)
        await asyncio.sleep(GONE_AFTER)
        home.stop()
        again = await send(port, second.id)
    assert_rejected(early, 503, "UNAVAILABLE")
    assert_rejected(again, 503, "UNAVAILABLE")


async def test_a_server_that_answers_404_has_not_failed(nginx):
    """The configuration asks another server upon 404; the session stays, and so does its server."""
    (port,) = free_ports(1)
    asks_on = STREAMING + "proxy_next_upstream error http_404 non_idempotent;"
    async with replicas(2) as servers:
        policy = f"{LEARN} unavailable=reject gone_after=1s;"
        nginx.start(upstream("mcp", servers, policy) + listen(port, "mcp", asks_on))
        first, home, _ = await begin(port, servers)
        home.sessions.discard(first.id)
        answers = []
        for _ in range(3):
            answers.append(await send(port, first.id))
            await asyncio.sleep(0.8)
        home.sessions.add(first.id)
        found = await send(port, first.id)
    assert [answer.status for answer in answers] == [404] * 3
    assert told(found) == (200, "HIT") and found.replica == home.name


async def test_a_directive_that_wraps_keepalive_once_more(nginx):
    """nginx's own `sticky` does, behind `keepalive`: ours stays beneath both."""
    if version(BINARY) < OWN_STICKY:
        pytest.skip("nginx has no sticky of its own")
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        directives = f"{LEARN};"
        wrapped = upstream("mcp", servers, directives).replace("\n}\n", "\n    keepalive 8;\n    sticky cookie c;\n}\n")
        nginx.start(wrapped + listen(port, "mcp"))
        first, home, _ = await begin(port, servers)
        follow_ups = [await send(port, first.id) for _ in range(6)]
    for answer in follow_ups:
        assert told(answer) == (200, "HIT") and answer.replica == home.name


async def test_reject_when_every_server_is_down(nginx):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE]
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, "unavailable=reject"))
        first, *_ = await begin(port, servers)
        for replica in servers:
            replica.stop()
        answers = [await send(port, first.id) for _ in range(6)]
    for answer in answers:
        assert_rejected(answer, 503, "UNAVAILABLE")
    assert not [line for line in nginx.errors() if "no live upstreams" in line]


async def test_reject_when_marked_down_and_when_removed(nginx, report):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, f"unavailable=reject gone_after={GONE_AFTER}s"))
        first, home, others = await begin(port, servers)
        second = await send(port)
        while second.replica != home.name:
            second = await send(port)

        marked = conf(port, servers, f"unavailable=reject gone_after={GONE_AFTER}s").replace(
            f"server {home.address} ", f"server {home.address} down "
        )
        await asyncio.to_thread(nginx.reload, marked)
        down = await send(port, first.id)
        await asyncio.sleep(GONE_AFTER + 1)
        down_for_long = await send(port, first.id)

        await asyncio.to_thread(nginx.reload, conf(port, others, f"unavailable=reject gone_after={GONE_AFTER}s"))
        removed = await send(port, second.id)
        forgotten = await send(port, second.id)
    report(f"down: {told(down)}, for long: {told(down_for_long)}; removed: {told(removed)}, again: {told(forgotten)}")
    assert_rejected(down, 503, "UNAVAILABLE")
    assert_rejected(down_for_long, 404, "GONE")
    assert_rejected(removed, 404, "GONE")
    assert forgotten.sticky == "UNKNOWN"


async def test_reject_when_full(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, "unavailable=reject", "max_conns=1"))
        first, home, _ = await begin(port, servers)
        opened = await stream(port, first.id)
        full = await send(port, first.id)
        opened.close()
        await until(lambda: not home.streams)
        free = await send(port, first.id)
    assert_rejected(full, 503, "UNAVAILABLE")
    assert told(free) == (200, "HIT") and free.replica == home.name


async def test_rebind_to_the_server_that_answers(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE]
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, "unavailable=rebind"))
        first, home, _ = await begin(port, servers)
        shared(servers, first.id)
        home.stop()
        moved = await send(port, first.id)
        after = [await send(port, first.id) for _ in range(5)]
        await home.start()
        await asyncio.sleep(FAIL_TIMEOUT + 1.2)
        still = await send(port, first.id)
    report(f"stopped: {told(moved)}, then {told(after[0])}, old server back: {told(still)}")
    assert told(moved) == (200, "REBOUND") and moved.replica != home.name
    for answer in (*after, still):
        assert told(answer) == (200, "HIT") and answer.replica == moved.replica


async def test_rebind_not_to_a_server_that_knows_nothing_of_it(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE]
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, "unavailable=rebind"))
        first, home, _ = await begin(port, servers)
        home.stop()
        refused = [await send(port, first.id) for _ in range(5)]
        await home.start()
        await asyncio.sleep(FAIL_TIMEOUT + 1.2)
        back = await send(port, first.id)
    report(f"others answer {refused[0].status}; back: {told(back)}")
    assert {answer.status for answer in refused} == {404}
    assert told(back) == (200, "HIT") and back.replica == home.name


async def test_balance_keeps_the_session(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [REFUSED, RESET, DISABLED, UNREACHABLE]
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, "unavailable=balance"))
        first, home, _ = await begin(port, servers)
        shared(servers, first.id)
        home.stop()
        meanwhile = [await send(port, first.id) for _ in range(5)]
        await home.start()
        await asyncio.sleep(FAIL_TIMEOUT + 1.2)
        back = await send(port, first.id)
    report(f"stopped: {told(meanwhile[0])}, back: {told(back)}")
    for answer in meanwhile:
        assert told(answer) == (200, "UNAVAILABLE") and answer.replica != home.name
    assert told(back) == (200, "HIT") and back.replica == home.name


@pytest.mark.parametrize(("policy", "sticky"), [("balance", "GONE"), ("rebind", "REBOUND")])
async def test_removed_server(nginx, report, policy, sticky):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, f"unavailable={policy}"))
        first, home, others = await begin(port, servers)
        shared(servers, first.id)
        await asyncio.to_thread(nginx.reload, conf(port, others, f"unavailable={policy}"))
        response = await send(port, first.id)
    report(told(response))
    assert told(response) == (200, sticky) and response.replica != home.name


# unknown=


@pytest.mark.parametrize("policy", ["balance", "reject"])
async def test_unknown(nginx, report, policy):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, f"unknown={policy}"))
        stranger = await send(port, b"never-seen")
        requests = sum(replica.requests for replica in servers)
        none = await send(port, headers=[("X-Status", "500")])
    report(told(stranger))
    assert told(stranger) == (404, "UNKNOWN")
    assert requests == (1 if policy == "balance" else 0)
    assert none.status == 500
    assert not [line for line in nginx.errors() if re.search("no live upstreams", line)]


# bind=


async def test_somebody_elses_id_is_unknown(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, "bind=$http_x_user unknown=reject"))
        first = await send(port, headers=[("X-User", "alice")])
        own = await send(port, first.id, headers=[("X-User", "alice")])
        others = await send(port, first.id, headers=[("X-User", "bob")])
        nobodys = await send(port, first.id)
    assert told(own) == (200, "HIT")
    assert told(others) == (404, "UNKNOWN")
    assert told(nobodys) == (404, "UNKNOWN")
