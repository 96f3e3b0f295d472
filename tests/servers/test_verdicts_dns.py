"""An address that is missing in DNS keeps its sessions for `gone_after`. Then it loses them, even if it answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from harness.clients.api import Api, location
from harness.clients.crowds import Answer, ask_all, seats
from harness.clients.http import send
from harness.conf import LEARN, STREAMING, listen
from harness.nginx import BINARY, Nginx, version
from harness.patience import until
from harness.ports import free_ports
from harness.servers.names import NO_ERROR, NO_SUCH_NAME, SERVER_FAILURE, Names, names
from harness.servers.replica import Replica

pytestmark = pytest.mark.skipif(version(BINARY) < (1, 27, 3), reason="resolve needs nginx 1.27.3")

HOSTS = [f"127.0.0.{n}" for n in (11, 12, 13)]
LATENCY = 2.2  # seconds until nginx has heard another answer, at most: it asks once a second
HIT = (200, "HIT")


@dataclass
class Fleet:
    nginx: Nginx
    port: int
    dns: Names
    servers: list[Replica]
    conf: str

    async def state(self, replica: Replica) -> dict:
        return await Api(self.port).get(f"upstreams/mcp/servers/{replica.address}", "server")

    async def is_missing(self) -> bool:
        """The first server's address has left its name, and nginx knows."""
        return (await self.state(self.servers[0]))["reason"] == "not in DNS"

    async def is_listed(self) -> bool:
        shown = await self.state(self.servers[0])
        return (shown["state"], shown["reason"]) == ("up", None)

    async def ask(self, ids: list[bytes]) -> list[Answer]:
        return await ask_all(self.port, ids)


@pytest.fixture
def fleet(new_nginx: Callable[..., Nginx]) -> Callable:
    """Three servers of one name, each at an address of its own."""

    @asynccontextmanager
    async def make(gone_after: str, workers: int = 2) -> AsyncIterator[Fleet]:
        port, common = free_ports(2)
        servers = [Replica(name) for name in ("amber", "birch", "cedar")]
        async with names(HOSTS) as dns:
            conf = f"""
            {dns.resolver}
            upstream mcp {{
                zone mcp 256k;
                {LEARN} unavailable=reject gone_after={gone_after};
                server replicas.test:{common} resolve;
            }}
            """ + listen(port, "mcp", STREAMING + location())
            for host, replica in zip(HOSTS, servers):
                replica.host, replica.port = host, common
                await replica.start()
            try:
                nginx = new_nginx()
                nginx.start(conf, workers=workers)
                await until(lambda: serves(port))
                nginx.allowed.append(r"no live upstreams")  # until its name is resolved
                yield Fleet(nginx, port, dns, servers, conf)
            finally:
                for replica in servers:
                    replica.stop()

    return make


async def serves(port: int) -> bool:
    return (await send(port)).status == 200


def told(answers: list[Answer]) -> set[tuple[int, str]]:
    return {(answer.status, answer.sticky) for answer in answers}


async def test_an_address_that_is_back_in_time_has_kept_its_sessions(fleet):
    async with fleet("30s", workers=4) as it:
        ids = [id for of_it in (await seats(it.port, it.servers, 10)).values() for id in of_it]
        it.dns.addresses = HOSTS[1:]
        await until(it.is_missing)
        meanwhile = await it.ask(ids)
        fresh = [await send(it.port) for _ in range(8)]
        missing = await it.state(it.servers[0])
        it.dns.addresses = HOSTS
        await until(it.is_listed)
        after = await it.ask(ids)
        await until(lambda: opens_at(it.port, it.servers[0]))
    assert told(meanwhile) == {HIT}
    assert {response.replica for response in fresh} == {"birch", "cedar"}
    assert (missing["state"], missing["reason"]) == ("up", "not in DNS")
    assert told(after) == {HIT}


async def opens_at(port: int, replica: Replica) -> bool:
    return (await send(port)).replica == replica.name


async def test_an_address_that_stays_away_is_gone_even_if_something_answers_there(fleet, report):
    gone_after = 3
    async with fleet(f"{gone_after}s") as it:
        it.nginx.allowed.append(r'\[warn\] .* server ".*" of zone ".*" is gone: not in DNS')
        ids = await seats(it.port, it.servers, 5)
        own, others = ids["amber"], ids["birch"] + ids["cedar"]
        it.dns.addresses = HOSTS[1:]
        left = time.monotonic()
        await until(it.is_missing)
        before = await it.ask(own[:1])

        async def is_gone() -> bool:
            return (await it.state(it.servers[0]))["state"] == "gone"

        await until(is_gone)
        passed = time.monotonic() - left
        seen = it.servers[0].requests
        ended = await it.ask(own)
        rest = await it.ask(others)
        reached = it.servers[0].requests - seen
        it.dns.addresses = HOSTS
        await until(it.is_listed)
        late = await it.ask(own)
    report(f"gone {passed:.1f} s after the last answer with it, gone_after={gone_after}s")
    assert told(before) == {HIT}
    assert told(ended) == {(404, "GONE")}
    assert reached == 0
    assert passed > gone_after - 0.2
    assert told(rest) == {HIT}
    assert {answer.sticky for answer in late} == {"UNKNOWN"}


async def test_little_traffic_and_a_reload_in_the_gap_lose_no_session(fleet):
    """The new workers have never seen the address: they answer 503, never 404."""
    async with fleet("60s", workers=4) as it:
        ids = (await seats(it.port, it.servers, 8))["amber"]
        it.dns.addresses = HOSTS[1:]
        await until(it.is_missing)
        before = await it.ask(ids[:1])
        await asyncio.to_thread(it.nginx.reload)
        gap = []
        for id in ids:
            gap += await it.ask([id])
            await asyncio.sleep(0.3)
        it.dns.addresses = HOSTS
        await until(it.is_listed)
        after = await it.ask(ids)
    assert told(before) == {HIT}
    assert {answer.status for answer in gap} <= {200, 503}
    assert told(after) == {HIT}


NO_ANSWERS = {
    "no such name": (NO_SUCH_NAME, True),
    "no address": (NO_ERROR, True),
    "server failure": (SERVER_FAILURE, True),
    "silence": (NO_ERROR, False),
}


async def test_a_name_without_any_address_takes_no_session_away(fleet):
    """For twice gone_after, whatever is wrong with its name server."""
    gone_after = 1

    async def without_addresses(code: int, answers: bool) -> tuple[list[Answer], list[Answer]]:
        async with fleet(f"{gone_after}s") as it:
            it.nginx.allowed += [r"could not be resolved", r"no live upstreams"]
            ids = [id for of_it in (await seats(it.port, it.servers, 4)).values() for id in of_it]
            it.dns.addresses, it.dns.code, it.dns.answers = [], code, answers
            began = time.monotonic()
            meanwhile = []
            while time.monotonic() < began + LATENCY + 2 * gone_after:
                meanwhile += await it.ask(ids)
                await asyncio.sleep(0.3)
            it.dns.addresses, it.dns.code, it.dns.answers = HOSTS, NO_ERROR, True
            await it.dns.until_heard()
            return meanwhile, await it.ask(ids)

    answers = await asyncio.gather(*(without_addresses(*kind) for kind in NO_ANSWERS.values()))
    for kind, (meanwhile, after) in zip(NO_ANSWERS, answers):
        assert told(meanwhile) == {HIT}, kind
        assert told(after) == {HIT}, kind


async def test_an_address_that_leaves_at_once_after_its_first_session_does_not_end_it(fleet):
    """Before any worker has had a look at the list of servers."""
    async with fleet("60s", workers=4) as it:
        fresh: list[bytes] = []
        answers = []

        async def has_left() -> bool:
            """Its last session is learned a moment before."""
            some = [await send(it.port) for _ in range(3)]
            fresh.extend(first.id for first in some if first.replica == "amber")
            answers.extend(await it.ask(fresh[-5:]))
            return bool(fresh) and all(first.replica != "amber" for first in some)

        it.dns.addresses = HOSTS[1:]
        await until(has_left)
        left = time.monotonic()
        while time.monotonic() < left + 1:
            answers += await it.ask(fresh[-5:])
    assert {answer.status for answer in answers} <= {200, 503}


async def test_a_session_that_begins_at_an_address_which_has_just_left_goes_on_there(fleet):
    """The answer that opens it comes when no session of its server is left."""
    async with fleet("60s", workers=1) as it:
        waiting = [asyncio.ensure_future(send(it.port, headers=[("X-Wait", "1")])) for _ in range(6)]
        await until(lambda: sum(len(replica.waiting) for replica in it.servers) == len(waiting))
        it.dns.addresses = HOSTS[1:]
        await it.dns.until_heard()
        await asyncio.sleep(LATENCY)
        for replica in it.servers:
            replica.answer_now.set()
        firsts = [first for first in await asyncio.gather(*waiting) if first.replica == "amber"]
        answers = await it.ask([first.id for first in firsts])
    assert firsts
    assert told(answers) == {HIT}


async def test_addresses_that_have_left_are_forgotten(fleet):
    async with fleet("1s") as it:
        for number in range(21, 29):
            await it.dns.tell([f"127.0.0.{number}"])
        await it.dns.tell(HOSTS)

        async def are_forgotten() -> bool:
            shown = (await Api(it.port).get("upstreams/mcp", "upstream"))["servers"]
            return set(shown) == {replica.address for replica in it.servers}

        await until(are_forgotten)
