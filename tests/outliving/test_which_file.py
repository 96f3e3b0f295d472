"""Which file a zone gets, when there are several, or one has several names."""

import asyncio
import os

import pytest

from harness.clients.http import send
from harness.conf import LEARN, listen, upstream
from harness.ports import free_ports
from harness.servers.replica import replicas
from harness.site import Site, refused


async def test_what_runs_is_newer_than_a_file(nginx):
    """The file was used before: what was learned without it since then is not lost."""
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin()
        await asyncio.to_thread(nginx.reload, site.http(file=None))
        await site.begin()
        await asyncio.to_thread(nginx.reload, site.http())
        await site.all_are_known()
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known()


async def test_what_runs_replaces_a_damaged_file(nginx):
    text = "is damaged or of another format, the sessions of the running zone replace it; the old file is"
    nginx.allowed.append(text)
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await asyncio.to_thread(nginx.stop)
        site.file.flip(70)
        damaged = site.file.path.read_bytes()
        site.start(file=None)
        await site.begin(20)
        await asyncio.to_thread(nginx.reload, site.http())
        await site.all_are_known()
        assert site.said(text) == 1 and site.shown()["began"] == "imported"
        assert site.file.path.with_name("sessions.damaged").read_bytes() == damaged


async def test_what_the_old_binary_has_is_newer_than_a_file(nginx):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        await asyncio.to_thread(nginx.stop)
        site.firsts.clear()
        site.start(file=None, daemon=True)
        await site.begin()
        nginx.configure(site.http())
        old = await asyncio.to_thread(nginx.upgrade)
        await site.all_are_known()
        await asyncio.to_thread(nginx.end, old)
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known()


@pytest.mark.parametrize("by", ["reload", "upgrade"])
async def test_two_zones_change_their_files(nginx, by):
    async with replicas(3) as servers:
        one = Site(nginx, servers, "store/one")
        two = Site(nginx, servers, "store/two")

        def http() -> str:
            other = two.http(name="second")
            for word in ("upstream ", "zone ", "http://"):
                other = other.replace(f"{word}mcp", f"{word}other")
            return one.http(name="first") + other

        nginx.start(http(), daemon=by == "upgrade")
        await one.begin()
        await two.begin()
        one.path, two.path = two.path, one.path
        nginx.configure(http())
        if by == "reload":
            await asyncio.to_thread(nginx.reload)
        else:
            await asyncio.to_thread(nginx.end, await asyncio.to_thread(nginx.upgrade))
        for _ in range(2):
            await one.all_are_known()
            await two.all_are_known()
            await asyncio.to_thread(nginx.kill_all)
            nginx.start_again()


@pytest.mark.parametrize("how", ["folder", "hard_link"])
async def test_one_file_by_two_names(nginx, how):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await asyncio.to_thread(nginx.stop)
        if how == "folder":
            (nginx.home / "alias").symlink_to(site.file.path.parent)
            other = "alias/sessions"
        else:
            other = "store/other"
            os.link(site.file.path, nginx.home / other)
        (port,) = free_ports(1)
        learn = LEARN.replace("sessions:", "aliased:")
        more = upstream("others", servers, f"{learn} file={other};") + listen(port, "others")
        http = site.http
        site.http = lambda **conf: http(**conf) + more
        await refused(site, 'zones "sessions" and "aliased" have the same file')
        status, said = nginx.run("-t")
        assert status != 0 and "have the same file" in said


async def test_new_file_of_a_killed_nginx(nginx):
    """It was killed between two steps: the file had its name, and its first name still."""
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        temporary = site.file.path.with_name("sessions.new")
        os.link(site.file.path, temporary)
        await asyncio.to_thread(nginx.kill_all)
        nginx.configure(site.http("2m"))
        nginx.start_again()
        await site.all_are_known()
        assert not temporary.exists()


async def test_new_file_that_is_not_ours(nginx):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        temporary = site.file.path.with_name("sessions.new")
        temporary.parent.mkdir(mode=0o700)
        temporary.write_text("of somebody else\n")
        await refused(site, '.new" is no file of sticky_learn')
        assert temporary.read_text() == "of somebody else\n"
        # What an nginx has left that was killed while it wrote the file.
        temporary.write_bytes(bytes(4096))
        site.start()
        assert (await send(site.port)).status == 200


async def test_new_binary_without_zones_has_no_memory_of_the_old_one(nginx):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True, file=None)
        await site.begin(20)
        assert nginx.memories(nginx.master) == 1
        nginx.configure(upstream("mcp", servers, "") + listen(site.port, "mcp"))
        old = await asyncio.to_thread(nginx.upgrade)
        assert nginx.memories(nginx.master) == 0
        await asyncio.to_thread(nginx.end, old)
