"""server-everything answers 400 to an unknown session, and after a 400 a client starts no new session.

With the module, a client whose server is gone gets 404 instead. After a 404 it starts a new session.
"""

import asyncio
from collections import Counter

from harness.conf import listen, upstream
from harness.patience import until
from harness.ports import free_ports
from harness.sdk import FRONT, Steady, servers

CLIENTS = 20
PAUSE = 0.2  # seconds between a client's calls
TOOL = "get-env"


def served(steady: Steady, since: float = 0) -> set[int]:
    return {answer.client for answer in steady.since(since) if answer.status == 200}


def refused(steady: Steady, since: float = 0) -> set[int]:
    return {answer.client for answer in steady.since(since) if answer.status == 400}


def moved(steady: Steady) -> set[int]:
    """Who is served in a second session."""
    return {answer.client for answer in steady.answers if (answer.status, answer.session) == (200, 2)}


async def test_behind_the_module_clients_recover(nginx, report):
    (port,) = free_ports(1)
    with servers("everything") as replicas:

        def conf(left) -> str:
            return upstream("mcp", left, "sticky_learn zone=sessions:1m;") + listen(port, "mcp", FRONT)

        nginx.start(conf(replicas))
        async with Steady(port, CLIENTS, PAUSE, TOOL) as steady:
            await until(lambda: len(served(steady)) == CLIENTS)
            homeless = {client for client in steady.clients if steady.last(client).replica == replicas[0].name}
            begin = steady.now
            await asyncio.to_thread(nginx.reload, conf(replicas[1:]))
            since = steady.now
            await until(lambda: len(served(steady, since)) == CLIENTS and moved(steady) == homeless)
    told = Counter(answer.status for answer in steady.since(begin) if answer.status != 200)
    report(f"its server gone: {len(homeless)} clients told {dict(told)}, all {CLIENTS} served again")
    assert homeless and moved(steady) == homeless
    assert told == {404: len(homeless)}


async def test_alone_after_a_restart_no_client_recovers(report):
    with servers("everything", 1) as (server,):
        async with Steady(server.port, CLIENTS, PAUSE, TOOL) as steady:
            await until(lambda: len(served(steady)) == CLIENTS)
            server.kill()
            server.start()
            await asyncio.to_thread(server.wait)
            # Before its first refusal a client may still get an earlier answer.
            once_more = steady.now
            await until(lambda: len(refused(steady, once_more)) == CLIENTS)
            since = steady.now
            for _ in range(2):  # not the second time, nor the third
                once_more = steady.now
                await until(lambda: len(refused(steady, once_more)) == CLIENTS)
    told = Counter(answer.status for answer in steady.since(since))
    report(f"restarted: {len(served(steady, since))} of {CLIENTS} clients served again, told {dict(told)}")
    assert not served(steady, since)


async def test_by_round_robin_no_client_lasts(nginx, report):
    (port,) = free_ports(1)
    with servers("everything") as replicas:
        nginx.start(upstream("mcp", replicas, "") + listen(port, "mcp", FRONT))
        async with Steady(port, CLIENTS, PAUSE, TOOL) as steady:
            await until(lambda: len(refused(steady)) == CLIENTS)
    told = Counter(answer.status for answer in steady.answers)
    report(f"round robin: each of {CLIENTS} clients hurt, answers {dict(told)}")
