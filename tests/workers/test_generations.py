"""Reloads and killed workers under continuous traffic; two generations of workers on one zone."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from harness.clients.api import report_of
from harness.clients.http import Response, Stream, Tally, crowd, send, stream
from harness.conf import LEARN, listen, upstream
from harness.nginx import KILLED
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas

CLIENTS = 20
TIMES = 20
TIMEOUT = 4  # seconds; refreshed while a stream is open, four times in it


class Traffic:
    """Clients that go on with their sessions, and now and then begin one, until they are told to stop."""

    def __init__(self, port: int):
        self.port = port
        self.tally = Tally()
        self.firsts: list[Response] = []
        self.streams: list[tuple[Response, Stream]] = []
        self.hung = 0
        self.reload = 0  # the number of the one that is going on
        self.excused = 0  # requests misrouted in the reload that their session began in
        self._begun_in: dict[bytes, int] = {}  # by session: its reload
        self._over = False

    async def begin(self) -> None:
        first = await send(self.port)
        assert first.status == 200
        self.firsts.append(first)
        self._begun_in[first.id] = self.reload
        self.tally.sessions += 1

    async def open_stream(self, first: Response) -> None:
        opened = await stream(self.port, first.id)
        self.tally.follow_up(first, opened.response)
        self.streams.append((first, opened))

    async def _client(self) -> None:
        while not self._over:
            try:
                if random.random() < 0.1:
                    await self.begin()
                else:
                    first, reload = random.choice(self.firsts), self.reload
                    found = self.tally.follow_up(first, await send(self.port, first.id))
                    self.excused += not found and reload > 0 and self._begun_in[first.id] == reload
            except TimeoutError:
                self.hung += 1
            except (OSError, asyncio.IncompleteReadError):
                self.tally.broken += 1

    @asynccontextmanager
    async def flowing(self):
        await crowd(100, 10, lambda _: self.begin())
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())
            try:
                yield self
            finally:
                self._over = True

    async def every_session_is_known(self) -> None:
        async def ask(number: int) -> None:
            first = self.firsts[number]
            response = await send(self.port, first.id)
            self.tally.follow_up(first, response)
            assert response.sticky == "HIT"

        await crowd(len(self.firsts), CLIENTS, ask)


async def test_reloads_under_traffic(nginx, report):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp"))
        async with Traffic(port).flowing() as traffic:
            for number in range(TIMES):
                # Streams of each generation stay open, so its old workers stay.
                for first in traffic.firsts[4 * number : 4 * number + 4]:
                    await traffic.open_stream(first)
                await asyncio.to_thread(nginx.reload)
            generations = len(nginx.workers)
            for replica in servers:
                replica.tell()
            for _, opened in traffic.streams:
                await opened.event()
        await traffic.every_session_is_known()
        for _, opened in traffic.streams:
            opened.close()
    report(f"{TIMES} reloads, {len(traffic.streams)} streams open over {generations} workers: {traffic.tally}")
    assert traffic.tally.misrouted == 0
    assert traffic.hung == 0
    assert traffic.tally.broken == 0
    assert generations > TIMES


async def test_killed_workers_under_traffic(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed.append(KILLED)
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp"))
        async with Traffic(port).flowing() as traffic:
            for number in range(TIMES):
                for first in traffic.firsts[4 * number : 4 * number + 4]:
                    await traffic.open_stream(first)
                await asyncio.sleep(random.uniform(0.02, 0.1))
                await asyncio.to_thread(nginx.kill_worker, random.choice(nginx.workers))
            await asyncio.sleep(0.2)
        await traffic.every_session_is_known()
        for _, opened in traffic.streams:
            opened.close()
    killed = sum("exited on signal 9" in line for line in nginx.errors())
    report(f"{killed} workers killed: {traffic.tally}, {traffic.hung} hung")
    assert killed == TIMES
    assert traffic.tally.misrouted == 0
    assert traffic.hung == 0


# Two generations


SIZES = pytest.mark.parametrize("size", ["1m", "2m", "512k"], ids=["same_zone", "grown_zone", "shrunk_zone"])


@SIZES
async def test_old_worker_learns_and_new_one_knows(nginx, report, size):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp"))
        # The replicas answer, with the ids of the new sessions, only when the test tells them to.
        waiting = [asyncio.ensure_future(send(port, headers=[("X-Wait", "1")])) for _ in range(10)]
        await until(lambda: sum(len(replica.waiting) for replica in servers) == len(waiting))
        await asyncio.to_thread(
            nginx.reload, upstream("mcp", servers, f"{LEARN.replace('1m', size)};") + listen(port, "mcp")
        )
        new_workers = set(map(str, nginx.workers[-2:]))
        for replica in servers:
            replica.answer_now.set()
        tally, said = Tally(), []
        for first in await asyncio.gather(*waiting):
            tally.sessions += 1
            assert first.worker not in new_workers
            response = await send(port, first.id)
            assert response.worker in new_workers
            said.append(response.sticky)
            tally.follow_up(first, response)
    report(f"learned by a worker of the old configuration, zone 1m -> {size}: {tally}")
    assert tally.misrouted == 0
    assert said == ["HIT"] * 10


@SIZES
async def test_stream_of_an_old_worker_keeps_its_session(nginx, report, size):
    (port,) = free_ports(1)
    async with replicas(2) as servers:

        def conf(size: str) -> str:
            return upstream("mcp", servers, f"{LEARN.replace('1m', size)} timeout={TIMEOUT}s;") + listen(port, "mcp")

        nginx.start(conf("1m"))
        opened = await stream(port, method="POST", headers=[("X-Stream", "1")])
        await asyncio.to_thread(nginx.reload, conf(size))
        await asyncio.sleep(2.5 * TIMEOUT)
        during = await send(port, opened.response.id)
        opened.close()
        assert during.worker != opened.response.worker
    report(
        f"timeout {TIMEOUT}s, {2.5 * TIMEOUT}s after a reload, stream open in the old worker, zone 1m -> {size}: "
        f"{during.sticky}"
    )
    assert during.sticky == "HIT"


@SIZES
async def test_session_ended_by_an_old_worker_is_unknown_to_new_ones(nginx, report, size):
    (port,) = free_ports(1)
    firsts: list[Response] = []

    async def begin(_: int) -> None:
        firsts.append(await send(port))

    async with replicas(2) as servers:

        def conf(size: str) -> str:
            return upstream("mcp", servers, f"sticky_learn zone=sessions:{size};") + listen(port, "mcp")

        nginx.start(conf("1m"))
        await crowd(40, CLIENTS, begin)
        # The replicas answer the old workers, and end the sessions, when the test tells them to.
        ends = [
            asyncio.ensure_future(send(port, first.id, method="DELETE", headers=[("X-Wait", "1")]))
            for first in firsts[:20]
        ]
        await until(lambda: sum(len(replica.waiting) for replica in servers) == len(ends))
        await asyncio.to_thread(nginx.reload, conf(size))
        new_workers = set(map(str, nginx.workers[-2:]))
        for replica in servers:
            replica.answer_now.set()
        ended = await asyncio.gather(*ends)
        assert {(end.status, end.sticky) for end in ended} == {(200, "HIT")}
        assert new_workers.isdisjoint(end.worker for end in ended)
        # Half of the sessions are not used.
        after = [await send(port, first.id) for first in firsts[10:]]
        assert new_workers.issuperset(response.worker for response in after)
        await until(lambda: report_of(nginx)["zones"]["sessions"]["live"] == 20)
    said = [(response.status, response.sticky) for response in after]
    report(f"10 of 30 sessions ended by old workers, zone 1m -> {size}: {said.count((404, 'UNKNOWN'))} unknown")
    assert said == [(404, "UNKNOWN")] * 10 + [(200, "HIT")] * 20


@SIZES
async def test_session_moved_by_an_old_worker_has_moved_for_new_ones(nginx, report, size):
    (port,) = free_ports(1)
    ids = [f"session-{number}" for number in range(10)]
    async with replicas(2) as servers:

        def conf(size: str) -> str:
            learn = LEARN.replace("sticky_learn", "sticky learn").replace("1m", size)
            return upstream("mcp", servers, f"{learn};") + listen(port, "mcp")

        nginx.start(conf("1m"))
        firsts = [await send(port, headers=[("X-Id", id)], patient=True) for id in ids]
        # The other server issues the same ids again when the test tells it to.
        await send(port)
        later = []
        for id in ids:
            later.append(asyncio.ensure_future(send(port, headers=[("X-Id", id), ("X-Wait", "1")], patient=True)))
            await until(lambda: sum(len(replica.waiting) for replica in servers) == len(later))
        await asyncio.to_thread(nginx.reload, conf(size))
        new_workers = set(map(str, nginx.workers[-2:]))
        for replica in servers:
            replica.answer_now.set()
        moved = await asyncio.gather(*later)
        assert new_workers.isdisjoint(response.worker for response in moved)
        assert all(first.replica != second.replica for first, second in zip(firsts, moved, strict=True))
        after = [await send(port, id.encode()) for id in ids]
        assert new_workers.issuperset(response.worker for response in after)
    found = [then.replica == now.replica for then, now in zip(moved, after, strict=True)]
    report(f"10 sessions moved by old workers, zone 1m -> {size}: {found.count(True)} found where they went")
    assert [response.sticky for response in after] == ["HIT"] * 10
    assert all(found)


async def known(port: int, firsts: list[Response]) -> tuple[int, Tally]:
    """How many of the sessions are still known, and whether those find their server."""
    tally, hits = Tally(), 0

    async def ask(number: int) -> None:
        nonlocal hits
        response = await send(port, firsts[number].id)
        if response.sticky == "HIT":
            hits += 1
            tally.follow_up(firsts[number], response)

    await crowd(len(firsts), CLIENTS, ask)
    return hits, tally


async def test_zone_resized_and_upstream_renamed(nginx, report):
    (port,) = free_ports(1)
    firsts: list[Response] = []

    async def begin(_: int) -> None:
        firsts.append(await send(port))

    async with replicas(3) as servers:

        def conf(name: str, size: str) -> str:
            return upstream(name, servers, f"{LEARN.replace('1m', size)};") + listen(port, name)

        nginx.start(conf("mcp", "1m"))
        await crowd(500, CLIENTS, begin)
        for name, size in [("mcp", "4m"), ("mcp", "512k"), ("renamed", "512k"), ("again", "1m")]:
            await asyncio.to_thread(nginx.reload, conf(name, size))
            hits, tally = await known(port, firsts)
            report(f"upstream {name}, zone {size}: {hits} of {len(firsts)} known, {tally.misrouted} misrouted")
            assert hits == len(firsts)
            assert tally.misrouted == 0


async def test_zone_resized_under_traffic(nginx, report):
    (port,) = free_ports(1)
    async with replicas(3) as servers:

        def conf(size: str) -> str:
            return upstream("mcp", servers, f"{LEARN.replace('1m', size)};") + listen(port, "mcp")

        nginx.start(conf("1m"))
        async with Traffic(port).flowing() as traffic:
            for turn, size in enumerate(("2m", "512k", "1m"), 1):
                await asyncio.sleep(1)
                traffic.reload = turn
                await asyncio.to_thread(nginx.reload, conf(size))
                traffic.reload = 0
        during = traffic.tally.misrouted
        await traffic.every_session_is_known()
    report(f"3 resizes: {traffic.tally}; {traffic.tally.misrouted - during} lost in the end")
    # For the tenth of a second in which both generations accept, an old worker cannot know what a new one learned.
    assert during == traffic.excused
    assert traffic.tally.misrouted == during
    assert traffic.hung == 0 and traffic.tally.broken == 0


async def test_shrunk_zone_keeps_as_many_as_fit(nginx, report):
    (port,) = free_ports(1)
    firsts: list[Response] = []

    async def begin(_: int) -> None:
        firsts.append(await send(port))

    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp"))
        await crowd(5_000, CLIENTS, begin)
        kept, _ = await known(port, firsts)
        await asyncio.to_thread(
            nginx.reload, upstream("mcp", servers, f"{LEARN.replace('1m', '32k')};") + listen(port, "mcp")
        )
        hits, tally = await known(port, firsts)
    report(f"{len(firsts):,} sessions: {kept:,} in 1m, {hits:,} after a reload with 32k, {tally.misrouted} misrouted")
    assert kept == len(firsts)
    assert hits > 100
    assert tally.misrouted == 0
