"""A replica dies while many clients call. Its own clients recover by themselves; the others notice nothing."""

import asyncio
from collections import Counter
from statistics import median

import pytest

from harness.conf import listen, upstream
from harness.nginx import GONE, UNREACHABLE
from harness.patience import until
from harness.ports import free_ports
from harness.sdk import FRONT, Server, Steady, servers

CLIENTS = 50
PAUSE = 0.3  # seconds between a client's calls
# Short, for a short test: how long a failed server is not chosen, and after how long it is gone.
FAIL_TIMEOUT, GONE_AFTER = 1, 2  # seconds


def conf(port: int, replicas: list[Server], parameters: str = "") -> str:
    sticky = f"sticky_learn zone=sessions:1m {parameters};"
    return upstream("mcp", replicas, sticky, f"fail_timeout={FAIL_TIMEOUT}s") + listen(port, "mcp", FRONT)


def all_served(steady: Steady, since: float = 0, times: int = 2) -> bool:
    served = Counter(answer.client for answer in steady.since(since) if answer.status == 200)
    return all(served[client] >= times for client in steady.clients)


def check(steady: Steady, gone: Server, since: float, report) -> None:
    before = {client: None for client in steady.clients}
    after = {client: [] for client in steady.clients}
    for answer in steady.answers:
        if answer.at <= since:
            before[answer.client] = answer
        else:
            after[answer.client].append(answer)
    on_it = [client for client in steady.clients if before[client].replica == gone.name]
    others = [client for client in steady.clients if client not in on_it]

    # Other clients: each answer from the same session and replica, and no call lost.
    for client in others:
        for number, answer in enumerate(after[client], before[client].count + 1):
            assert (answer.status, answer.session, answer.replica) == (200, 1, before[client].replica), answer
            assert answer.count == number

    # Clients of that replica: refused until 404, then in a second session that lasts.
    told, away = Counter(), []
    for client in on_it:
        failed = [answer for answer in after[client] if answer.status != 200]
        told.update(answer.status for answer in failed)
        assert [answer.status for answer in failed].count(404) == 1
        assert failed[-1].status == 404
        served = [answer for answer in after[client] if answer.session == 2]
        assert [answer.count for answer in served] == list(range(1, len(served) + 1))
        assert len({answer.replica for answer in served}) == 1
        away.append(served[0].at - since)
    slowest = max(answer.took for client in others for answer in after[client])
    report(
        f"{len(others)} clients elsewhere: {sum(len(after[client]) for client in others)} calls, 0 errors, "
        f"slowest {slowest:.3f} s"
    )
    report(
        f"{len(on_it)} clients on it: answers {dict(told)}, a new session after {min(away):.1f} to {max(away):.1f} s "
        f"(median {median(away):.1f})"
    )
    assert on_it and others
    assert set(told) <= {404, 502, 503}


@pytest.fixture
def nginx_that_loses_servers(nginx):
    nginx.allowed += [r"\[(error|warn)\] .*(connect\(\) failed|prematurely closed|reset by peer|temporarily disabled)"]
    nginx.allowed += [UNREACHABLE, GONE]
    return nginx


async def test_killed(nginx_that_loses_servers, report):
    nginx = nginx_that_loses_servers
    (port,) = free_ports(1)
    with servers("typescript") as replicas:
        nginx.start(conf(port, replicas, f"gone_after={GONE_AFTER}s"))
        async with Steady(port, CLIENTS, PAUSE) as steady:
            await until(lambda: all_served(steady))
            since = steady.now
            replicas[0].kill()
            await asyncio.sleep(GONE_AFTER)
            final = steady.now
            await until(lambda: all_served(steady, final))
    check(steady, replicas[0], since, report)


async def test_restarted_empty(nginx_that_loses_servers, report):
    nginx = nginx_that_loses_servers
    (port,) = free_ports(1)
    with servers("typescript") as replicas:
        nginx.start(conf(port, replicas))
        async with Steady(port, CLIENTS, PAUSE) as steady:
            await until(lambda: all_served(steady))
            since = steady.now
            replicas[0].kill()
            replicas[0].start()
            await asyncio.to_thread(replicas[0].wait)
            await asyncio.sleep(FAIL_TIMEOUT)
            final = steady.now
            await until(lambda: all_served(steady, final))
    check(steady, replicas[0], since, report)


async def test_removed_by_reload(nginx, report):
    (port,) = free_ports(1)
    with servers("typescript") as replicas:
        nginx.start(conf(port, replicas))
        async with Steady(port, CLIENTS, PAUSE) as steady:
            await until(lambda: all_served(steady))
            since = steady.now
            await asyncio.to_thread(nginx.reload, conf(port, replicas[1:]))
            final = steady.now
            await until(lambda: all_served(steady, final))
    check(steady, replicas[0], since, report)
