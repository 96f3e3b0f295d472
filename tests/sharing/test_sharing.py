"""Two nginx machines that share their sessions by a store: what one has learned, moved or ended, the other knows."""

import asyncio
import os
import random
import re
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.clients.api import JSON, report_of
from harness.clients.http import Response, crowd
from harness.fleet import Machine, fleet, hears, is_same, servers_are_up, start
from harness.nginx import KILLED, UNREACHABLE
from harness.patience import until
from harness.servers.replica import Replica, replicas
from harness.servers.store import Store, store, way

SESSIONS = 10_000 if os.environ.get("STICKY_LONG") else 300


async def test_the_next_request_goes_to_another_machine(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, _):
        missed = []

        async def session(number: int) -> None:
            one, other = (a, b) if number % 2 else (b, a)
            first = await one.send()
            later = await other.send(first.id)
            if not is_same(first, later):
                missed.append((first.status, later.status, later.sticky))

        await crowd(SESSIONS, 20, session)
        assert missed == []
        assert a.live == b.live == SESSIONS


async def test_a_store_that_is_far_from_one_machine(new_nginx, tmp_path, secret, report):
    async with replicas(3) as servers, store(tmp_path / "store") as kept, way(kept) as slow:
        share = f"secret={secret} timeout=2s"
        a = await start(new_nginx, servers, slow.url, share=share)
        b = await start(new_nginx, servers, kept.url, share=share)
        await until(lambda: hears(kept, 2))
        slow.delay = 0.03
        async with kept.monitor() as monitor:

            async def session(_: int) -> None:
                first = await a.send()
                assert is_same(first, await b.send(first.id))

            await crowd(SESSIONS // 3, 5, session)
            await monitor.settled()
        asked: dict[bytes, int] = {}
        for line in monitor.commands("GET"):
            key = line.split(b'"')[3]
            asked[key] = asked.get(key, 0) + 1
        # At once, and again after 5, 15 and 35 ms; later only where the machine is slow.
        report(f"asked {statistics.median(asked.values()):.0f} times, {max(asked.values())} at most, for {len(asked):,} sessions")
        # In two seconds there is no time for more.
        assert len(asked) >= SESSIONS // 3 and max(asked.values()) <= 9, asked


def questions(monitor) -> list[bytes]:
    return [line for line in monitor.commands("GET") if b"drain=" not in line]


async def believes(machine, kept) -> bool:
    """Whether the machine does not ask for a session that it has used a moment ago. It does in the same 64 ms in which it
    has begun to listen."""
    known = await machine.send()
    async with kept.monitor() as monitor:
        await machine.send(known.id)
        await monitor.settled()
    return not questions(monitor)


async def test_many_requests_for_one_unknown_session(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, kept):
        await until(lambda: believes(b, kept))
        first = await a.send()
        async with kept.monitor() as monitor:
            answers = await asyncio.gather(*(b.send(first.id) for _ in range(500)))
            await monitor.settled()
        assert all(is_same(first, answer) for answer in answers)
        asked = questions(monitor)
        assert 1 <= len(asked) <= 2, asked


async def test_a_delete_at_one_machine(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, servers, _):
        first = await a.send()
        assert is_same(first, await b.send(first.id))
        assert (await a.send(first.id, method="DELETE")).status == 200
        # Before a request there.
        await until(lambda: b.live == 0)
        asked = sum(replica.requests for replica in servers)
        assert [(await machine.send(first.id)).status for machine in (b, a)] == [404, 404]
        assert sum(replica.requests for replica in servers) == asked


async def test_a_session_that_two_machines_move_at_once(new_nginx, tmp_path, secret):
    learn = (
        "sticky_learn zone=sessions:1m create=$upstream_http_mcp_session_id lookup=$http_mcp_session_id gone_after=600s"
    )
    async with fleet(new_nginx, tmp_path, secret, learn=learn, count=4) as (a, b, servers, _):
        for machine in (a, b):
            machine.nginx.allowed += [UNREACHABLE, r"\[error\] .* connect\(\) failed", r"\[error\] .*upstream"]
        for number in range(10):
            first = await a.send(headers=[("X-Id", f"session-{number}")])
            assert is_same(first, await b.send(first.id))
            own = next(replica for replica in servers if replica.name == first.replica)
            for replica in servers:
                replica.sessions.add(first.id)
            own.stop()
            moved = await asyncio.gather(a.send(first.id), b.send(first.id))
            assert {answer.status for answer in moved} == {200}, moved
            await own.start()

            async def agree() -> bool:
                at_a, at_b = await a.send(first.id), await b.send(first.id)
                return at_a.replica == at_b.replica and {at_a.sticky, at_b.sticky} == {"HIT"}

            await until(agree)
            # And they stay there.
            assert await agree()
            assert (await a.send(first.id)).replica in {answer.replica for answer in moved}
            await until(lambda: servers_are_up(a, b))


async def test_what_the_store_knows(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, kept):
        async with kept.monitor() as monitor:
            known = [await a.send() for _ in range(50)]
            for response in known:
                assert is_same(response, await b.send(response.id))
            for response in known[:10]:
                await b.send(response.id, method="DELETE")
            await b.send(b"an-id-of-nobody")
            await monitor.settled()
        await kept.command("SAVE")
        said, saved = b"".join(monitor.lines), (kept.home / "dump.rdb").read_bytes()
        for id in [*(response.id for response in known), b"an-id-of-nobody"]:
            assert id not in said and id not in saved
        # The same keys are in both.
        (key, *_) = await kept.command("KEYS", "sticky:sessions:*")
        assert key in said and key in saved


async def test_memory_of_the_store(new_nginx, tmp_path, secret, report):
    count = 4_000
    async with fleet(new_nginx, tmp_path, secret) as (a, _, _, kept):
        empty = await memory(kept)
        await crowd(count, 20, lambda _: a.send())
        used = (await memory(kept) - empty) / count
        report(f"{used:.0f} bytes of the store for a session")
        assert used <= 200


async def memory(kept: Store) -> int:
    text = await kept.command("INFO", "memory")
    return int(re.search(rb"used_memory:(\d+)", text)[1])


async def test_a_flood_of_ids_that_nobody_has(new_nginx, tmp_path, secret):
    flood = 50_000 if os.environ.get("STICKY_LONG") else 2_000
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, _):
        known = [await a.send() for _ in range(20)]
        for response in known:
            assert is_same(response, await b.send(response.id))
        statuses: set[int] = set()

        async def strange(number: int) -> None:
            statuses.add((await b.send(b"strange-%d" % number)).status)

        flooded = asyncio.create_task(crowd(flood, 200, strange))
        while not flooded.done():
            answers = [await b.send(response.id) for response in known]
            assert all(map(is_same, known, answers))
        await flooded
        assert statuses <= {404, 503}
        assert 404 in statuses


async def test_reloads_and_killed_workers(new_nginx, tmp_path, secret):
    """Under load through both machines; the worker that listens is killed as well."""
    times = 20 if os.environ.get("STICKY_LONG") else 4
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, _):
        for machine in (a, b):
            machine.nginx.allowed.append(KILLED)
        load = Load([a, b])
        async with load.running():
            for turn in range(times):
                machine = (a, b)[turn % 2]
                await asyncio.to_thread(machine.nginx.reload)
                workers = machine.nginx.workers[-2:]  # those of before may still quit
                await until(lambda machine=machine, workers=workers: share_of(machine)["listener"] in workers)
                listener = share_of(machine)["listener"]
                victim = listener if turn % 3 == 0 else random.choice(workers)
                await asyncio.to_thread(machine.nginx.kill_worker, victim)
                await until(lambda machine=machine: share_of(machine)["listener"] in machine.nginx.workers)
                await load.goes_on()
        for machine in (a, b):
            await until(lambda machine=machine: len(machine.nginx.workers) == 2)
            descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in machine.nginx.workers]
            assert max(descriptors) < 60, descriptors
        assert load.requests > 100 * times and load.lost == [], load.lost[:5]


def share_of(machine: Machine) -> dict:
    return report_of(machine.nginx)["zones"]["sessions"]["share"]


class Load:
    """Clients that go on with all sessions, at any machine. A request whose connection breaks is repeated."""

    def __init__(self, machines: list[Machine]):
        self.machines = machines
        self.known: list[Response] = []
        self.requests = 0
        self.lost: list[tuple[int, str]] = []
        self._over = False

    async def _send(self, id: bytes = b"") -> Response:
        while True:
            try:
                answer = await random.choice(self.machines).send(id)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.01)
                continue
            self.requests += 1
            return answer

    async def _client(self) -> None:
        while not self._over:
            if not self.known or random.random() < 0.1:
                self.known.append(await self._send())
            else:
                first = random.choice(self.known)
                answer = await self._send(first.id)
                if not is_same(first, answer):
                    self.lost.append((answer.status, answer.sticky))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(self._client())
            try:
                yield
            finally:
                self._over = True

    async def goes_on(self) -> None:
        enough = self.requests + 200
        await until(lambda: self.requests >= enough)


async def test_an_upgrade_of_the_binary(new_nginx, tmp_path, secret):
    async with replicas(3) as servers, store(tmp_path / "store") as kept:
        share = f"secret={secret}"
        a = await start(new_nginx, servers, kept.url, share=share, daemon=True)
        b = await start(new_nginx, servers, kept.url, share=share)
        known = [await a.send() for _ in range(50)]
        old = await asyncio.to_thread(a.nginx.upgrade)
        known += [await a.send() for _ in range(50)]
        await asyncio.to_thread(a.nginx.end, old)
        for first in known:
            for machine in (a, b):
                assert is_same(first, await machine.send(first.id))
        await until(lambda: share_of(a)["listener"] in a.nginx.workers)


async def test_a_drain_at_one_machine(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, servers, kept):
        drained = servers[0]

        def state(machine: Machine) -> str:
            return report_of(machine.nginx)["upstreams"]["mcp"]["servers"][drained.address]["admin"]

        known = [await a.send() for _ in range(6)]
        own = next(first for first in known if first.replica == drained.name)
        assert is_same(own, await b.send(own.id))
        await drain(a, drained, True)
        await until(lambda: state(b) == "draining")
        assert drained.name not in {(await b.send()).replica for _ in range(9)}
        # Its sessions stay.
        assert is_same(own, await b.send(own.id))
        # A machine that joins later knows it.
        c = await start(new_nginx, servers, kept.url, share=f"secret={secret}")
        await until(lambda: state(c) == "draining")
        await drain(b, drained, False)
        await until(lambda: {state(machine) for machine in (a, b, c)} == {"in_service"})


async def drain(machine: Machine, server: Replica, on: bool) -> None:
    path = f"/sticky/upstreams/mcp/servers/{server.address}"
    body = b'{"drain":true}' if on else b'{"drain":false}'
    answer = await machine.send(method="PATCH", path=path, headers=[JSON], body=body)
    assert answer.status == 200, answer.body


async def test_sessions_that_are_forgotten(new_nginx, tmp_path, secret):
    """All of a server, by the administrator of one machine."""
    async with fleet(new_nginx, tmp_path, secret) as (a, b, servers, _):
        known = [await a.send() for _ in range(30)]
        for first in known:
            assert is_same(first, await b.send(first.id))
        gone = servers[0]
        path = f"/sticky/upstreams/mcp/servers/{gone.address}/sessions"
        answer = await a.send(method="DELETE", path=path, headers=[JSON])
        assert answer.status == 200, answer.body
        left = [first for first in known if first.replica != gone.name]
        await until(lambda: b.live == len(left))
        asked = gone.requests
        for machine in (a, b):
            for first in known:
                answer = await machine.send(first.id)
                assert is_same(first, answer) if first in left else answer.status == 404
        assert gone.requests == asked


async def test_idle_time_is_that_of_all_machines(new_nginx, tmp_path, secret):
    learn = "sticky_learn zone=sessions:1m timeout=4s"
    async with fleet(new_nginx, tmp_path, secret, learn=learn) as (a, b, _, kept):
        used, unused = await a.send(), await a.send()
        begun = time.monotonic()
        # A is used again and again, B not until the end: by then the session is older there than its timeout.
        while time.monotonic() < begun + 10:
            assert is_same(used, await a.send(used.id))
            await asyncio.sleep(0.1)
        assert is_same(used, await b.send(used.id))
        assert (await b.send(unused.id)).status == 404
        await until(lambda: is_empty(kept))


async def is_empty(kept: Store) -> bool:
    return await kept.command("KEYS", "sticky:sessions:*") == []
