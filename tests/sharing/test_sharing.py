"""Two nginx machines that share their sessions by a store: what one has learned, moved or ended, the other knows."""

import asyncio
import os
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clients.api import report_of
from harness.clients.http import Response, crowd, send
from harness.conf import listen, upstream
from harness.nginx import UNREACHABLE, Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas
from harness.servers.store import Store, paused, store, way

SESSIONS = 10_000 if os.environ.get("STICKY_LONG") else 300

# The store is away: one line a minute.
AWAY = r'\[warn\] .* sticky_share "mesh": store "\S+" '


@dataclass
class Machine:
    nginx: Nginx
    port: int

    @property
    def live(self) -> int:
        return report_of(self.nginx)["zones"]["sessions"]["live"]

    async def send(self, id: bytes = b"", **more) -> Response:
        return await send(self.port, id, **more)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(os.urandom(48))
    return path


def http(port: int, servers: list[Replica], url: str, *, learn: str = "", share: str = "") -> str:
    learn = learn or "sticky_learn zone=sessions:1m"
    return f"sticky_share mesh {url} {share};\n" + upstream("mcp", servers, f"{learn} share=mesh;", "max_fails=0") + listen(port, "mcp")


async def start(make, servers, url: str, **more) -> Machine:
    (port,) = free_ports(1)
    machine = Machine(make(), port)
    machine.nginx.allowed.append(AWAY)
    await asyncio.to_thread(machine.nginx.start, http(port, servers, url, **more))
    return machine


@asynccontextmanager
async def fleet(new_nginx, tmp_path, secret, *, learn: str = "", count: int = 3):
    """Two machines, their servers and their store."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(replicas(count))
        kept = await stack.enter_async_context(store(tmp_path / "store"))
        share = f"secret={secret}"
        machines = [await start(new_nginx, servers, kept.url, learn=learn, share=share) for _ in range(2)]
        await until(lambda: hears(kept, 2))
        yield *machines, servers, kept


async def hears(kept: Store, count: int) -> bool:
    """Whether so many machines hear the messages of others."""
    return (await kept.command("PUBSUB", "NUMSUB", "sticky:messages"))[1] == count


def is_same(first: Response, later: Response) -> bool:
    return later.status == 200 and later.replica == first.replica


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


async def test_a_store_that_is_far_from_one_machine(new_nginx, tmp_path, secret):
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
        # At once, and again after 5, 15 and 35 ms.
        assert len(asked) >= SESSIONS // 3 and max(asked.values()) <= 5, asked


async def test_many_requests_for_one_unknown_session(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, kept):
        first = await a.send()
        async with kept.monitor() as monitor:
            answers = await asyncio.gather(*(b.send(first.id) for _ in range(500)))
            await monitor.settled()
        assert all(is_same(first, answer) for answer in answers)
        assert 1 <= len(monitor.commands("GET")) <= 2, monitor.commands("GET")


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


async def test_a_delete_while_a_machine_is_cut_off(new_nginx, tmp_path, secret):
    async with replicas(3) as servers, store(tmp_path / "store") as kept, way(kept) as cut:
        share = f"secret={secret}"
        a = await start(new_nginx, servers, kept.url, share=share)
        b = await start(new_nginx, servers, cut.url, share=share)
        first, second = await a.send(), await a.send()
        for response in (first, second):
            assert is_same(response, await b.send(response.id))
        await until(lambda: hears(kept, 2))
        cut.is_cut = True
        assert (await a.send(first.id, method="DELETE")).status == 200
        # What it knows, it goes on with. The server that has the session knows that it has ended.
        assert (await b.send(second.id)).sticky == "HIT"
        await until(lambda: any("timed out" in line for line in b.nginx.errors()))
        cut.is_cut = False
        cut.reset()
        asked = sum(replica.requests for replica in servers)
        await until(lambda: b.live == 1)
        assert (await b.send(first.id)).status == 404
        assert sum(replica.requests for replica in servers) == asked
        assert is_same(second, await b.send(second.id))


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


def servers_are_up(*machines: Machine) -> bool:
    return all(
        server["state"] == "up"
        for machine in machines
        for server in report_of(machine.nginx)["upstreams"]["mcp"]["servers"].values()
    )


async def test_a_store_that_does_not_answer(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, kept):
        known = [await a.send() for _ in range(50)]
        with paused(kept):
            # Known sessions do not ask.
            answers = await asyncio.gather(*(a.send(response.id) for response in known))
            assert all(map(is_same, known, answers))
            unknown = await asyncio.gather(*(b.send(response.id) for response in known))
            assert {answer.status for answer in unknown} == {503}
            assert {answer.text("retry-after") for answer in unknown} == {"1"}
            await until(lambda: any("timed out" in line for line in b.nginx.errors()))
            # New sessions begin.
            begun = await a.send()
            assert begun.status == 200

        async def is_found() -> bool:
            answer = await b.send(begun.id)
            assert answer.status in (200, 503)
            return is_same(begun, answer)

        await until(is_found)
        answers = [await b.send(response.id) for response in known]
        assert all(map(is_same, known, answers))


async def test_a_store_that_lost_everything(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, kept):
        known: list[Response] = []

        async def begin(_: int) -> None:
            known.append(await a.send())

        await crowd(SESSIONS, 20, begin)
        kept.kill()
        await until(lambda: any('store "' in line for line in b.nginx.errors()))
        assert (await b.send(known[0].id)).status == 503
        await kept.start()
        statuses: set[int] = set()

        async def is_found(first: Response) -> bool:
            answer = await b.send(first.id)
            statuses.add(answer.status)
            return is_same(first, answer)

        for first in known:
            await until(lambda first=first: is_found(first))
        assert statuses <= {200, 503}
        # From then on nothing proves that there is none.
        await until(lambda: is_unknown(b))


async def is_unknown(machine: Machine) -> bool:
    return (await machine.send(b"never-heard-of")).status == 404


async def test_no_store_at_the_start(new_nginx, tmp_path, secret):
    async with replicas(2) as servers, store(tmp_path / "store") as kept:
        kept.kill()
        learn = "sticky_learn zone=sessions:1m gone_after=1s"
        a = await start(new_nginx, servers, kept.url, learn=learn, share=f"secret={secret}")
        assert a.nginx.check() == ""
        first = await a.send()
        assert is_same(first, await a.send(first.id))
        # After a while the machine is alone.
        await until(lambda: is_unknown(a))
        await kept.start()
        b = await start(new_nginx, servers, kept.url, learn=learn, share=f"secret={secret}")

        async def is_found() -> bool:
            return is_same(first, await b.send(first.id))

        await until(is_found)


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


async def test_the_secret_is_in_the_store(new_nginx, tmp_path):
    """Machines without a file: the first makes a secret, and the sessions from before it go on."""
    async with replicas(2) as servers, store(tmp_path / "store") as kept:
        a = await start(new_nginx, servers, kept.url)
        first = await a.send()
        await until(lambda: kept.command("EXISTS", "sticky:secret"))
        b = await start(new_nginx, servers, kept.url)

        async def is_shared() -> bool:
            second = await a.send()
            return is_same(second, await b.send(second.id))

        await until(is_shared)
        assert is_same(first, await a.send(first.id))
        # It has been used since.
        assert is_same(first, await b.send(first.id))


async def test_another_secret(new_nginx, tmp_path, secret):
    other = tmp_path / "other"
    other.write_bytes(os.urandom(80))
    async with fleet(new_nginx, tmp_path, secret) as (a, _, servers, kept):
        c = await start(new_nginx, servers, kept.url, share=f"secret={other}")
        await until(lambda: any("another secret" in line for line in c.nginx.errors()))
        first = await a.send()
        assert (await c.send(first.id)).status == 503
        # Who has no secret can move and end nothing.
        assert is_same(first, await a.send(first.id))
        keys = await kept.command("KEYS", "sticky:sessions:*")
        for key in keys:
            await kept.command("SET", key, b"\x13" + bytes(10))
        await kept.command("PUBLISH", "sticky:messages", b"\x01" + bytes(60))
        assert is_same(first, await a.send(first.id))


async def test_reloads_and_killed_workers(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, b, _, _):
        for machine in (a, b):
            machine.nginx.allowed.append(r"\[alert\] .* worker process \d+ exited on signal 9")
        known = [await a.send() for _ in range(50)]
        for turn in range(6):
            machine = (a, b)[turn % 2]
            if turn % 3 == 2:
                await asyncio.to_thread(machine.nginx.kill_worker, machine.nginx.workers[0])
            else:
                await asyncio.to_thread(machine.nginx.reload)
            for response in known:
                for either in (a, b):
                    assert is_same(response, await either.send(response.id))
            first = await machine.send()
            assert is_same(first, await (b if machine is a else a).send(first.id))
