"""A store that is away, cut off, empty or used with another secret: nobody waits for it, and no session is lost by it."""

import asyncio
import os

from harness.clients.http import Response, crowd
from harness.fleet import Machine, fleet, hears, is_same, start
from harness.patience import until
from harness.servers.replica import replicas
from harness.servers.store import paused, store, way

SESSIONS = 10_000 if os.environ.get("STICKY_LONG") else 300


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
        learn = "sticky_learn zone=sessions:1m gone_after=1s warnings=off"
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

        async def is_known() -> bool:
            # At a worker of A that has the secret, its use makes it known.
            assert is_same(first, await a.send(first.id))
            return is_same(first, await b.send(first.id))

        await until(is_known)


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


async def test_changes_on_both_sides_of_a_cut(new_nginx, tmp_path, secret):
    """Ends and new sessions at a machine that is cut off, and at one that is not: afterwards both know the same."""
    async with replicas(3) as servers, store(tmp_path / "store") as kept, way(kept) as cut:
        share = f"secret={secret}"
        a = await start(new_nginx, servers, kept.url, share=share)
        b = await start(new_nginx, servers, cut.url, share=share)
        await until(lambda: hears(kept, 2))
        known = [await a.send() for _ in range(30)]
        for first in known:
            assert is_same(first, await b.send(first.id))
        cut.is_cut = True
        # The first ones before B has noticed.
        ended_here, ended_there = known[:10], known[10:20]
        for here, there in zip(ended_here, ended_there, strict=True):
            assert (await a.send(here.id, method="DELETE")).status == 200
            assert (await b.send(there.id, method="DELETE")).status == 200
        begun = [await b.send() for _ in range(10)]
        for first in known[20:]:
            assert is_same(first, await b.send(first.id))
        await until(lambda: any("timed out" in line for line in b.nginx.errors()))
        cut.is_cut = False
        cut.reset()
        await until(lambda: a.live == 10 and b.live == 20)
        for machine in (a, b):
            for first in ended_here + ended_there:
                assert (await machine.send(first.id)).status == 404
            for first in known[20:] + begun:

                async def is_found(first=first, machine=machine) -> bool:
                    answer = await machine.send(first.id)
                    assert answer.status in (200, 503)
                    return is_same(first, answer)

                await until(is_found)
