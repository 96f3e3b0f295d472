"""A file that its path leads to no more, while nginx uses it: removed, replaced, or after an upgrade that is rolled back."""

import asyncio
import os
import shutil
import signal

import pytest

from harness.patience import until
from harness.servers.replica import replicas
from harness.site import Site

# nginx itself says that the new binary was killed.
NEW_KILLED = r"\[alert\] .* new binary process \d+ exited on signal 9"
AGAIN = "was removed or replaced while nginx used it, it is written again"
BACK = "is the file of the old binary again, since the upgrade is rolled back"


def lose(site: Site, how: str) -> None:
    path = site.file.path
    copy = path.with_name("copy")
    match how:
        case "removed":
            path.unlink()
        case "replaced":
            copy.write_bytes(path.read_bytes())
            copy.rename(path)
        case "moved":
            path.rename(copy)
        case "with_its_folder":
            shutil.rmtree(path.parent)


@pytest.mark.parametrize("by", ["reload", "stop", "quit"])
@pytest.mark.parametrize("how", ["removed", "replaced", "moved", "with_its_folder"])
async def test_file_that_lost_its_name_gets_it_again(nginx, how, by):
    nginx.allowed.append(AGAIN)
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        assert site.shown()["linked"]
        lose(site, how)
        await site.begin()
        assert not site.shown()["linked"]
        if by == "reload":
            await asyncio.to_thread(nginx.reload)
            await site.all_are_known()
            assert site.shown()["linked"]
            await asyncio.to_thread(nginx.kill_all)
        else:
            await asyncio.to_thread({"stop": nginx.stop, "quit": nginx.quit}[by])
        assert site.said(AGAIN) == 1
        assert oct(site.file.path.stat().st_mode)[-3:] == "600"
        nginx.start_again()
        assert site.shown()["began"] == "attached"
        await site.all_are_known()
    assert not list(nginx.home.glob("store/*.new"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("how", ["removed", "replaced", "moved"])
async def test_workers_without_access_to_the_folder_see_whether_the_file_has_a_name(nginx, how):
    nginx.allowed.append(AGAIN)
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await asyncio.to_thread(nginx.stop)
        conf = nginx.home / "nginx.conf"
        conf.write_text(conf.read_text().replace("user root;", "user nobody nogroup;"))
        nginx.start_again()
        assert oct(site.file.path.parent.stat().st_mode)[-3:] == "700"
        await site.begin(20)
        assert site.shown()["linked"]
        lose(site, how)
        # It cannot be seen that the name is another one.
        assert site.shown()["linked"] == (how == "moved")
        await asyncio.to_thread(nginx.stop)
        nginx.start_again()
        await site.all_are_known()


async def test_file_of_somebody_else_is_not_replaced_at_the_stop(nginx):
    nginx.allowed.append("is no file of sticky_learn")
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        site.file.path.unlink()
        site.file.path.write_text("of somebody else\n")
        await asyncio.to_thread(nginx.stop)
        assert site.file.path.read_text() == "of somebody else\n"
    assert site.said('[error]') == 1 and site.said("is no file of sticky_learn") == 1


async def test_file_of_another_nginx_is_not_replaced_at_the_stop(nginx, new_nginx):
    second = new_nginx()
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        site.file.path.unlink()
        other = Site(second, servers, str(site.file.path))
        other.start()
        await other.begin()
        await asyncio.to_thread(nginx.stop)
        await asyncio.to_thread(second.kill_all)
        second.start_again()
        await other.all_are_known()


def second_name(site: Site) -> bool:
    return site.file.path.with_name("sessions.oldbin").exists()


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("new_ends", ["quits", "is_killed"])
async def test_upgrade_to_another_size_that_is_rolled_back(nginx, new_ends, end):
    """What the old binary has learned since the upgrade began is not lost, however both end."""
    nginx.allowed += [BACK, NEW_KILLED]
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True)
        await site.begin()
        nginx.configure(site.http("2m"))
        old = await asyncio.to_thread(nginx.upgrade)
        nginx.configure(site.http())
        if new_ends == "quits":
            await asyncio.to_thread(nginx.roll_back, old)
        else:
            await asyncio.to_thread(nginx.kill_all)
            nginx.take(old)
            # The master reads its signals one after the other.
            await until(lambda: not (nginx.home / "nginx.pid.oldbin").exists())
        await site.begin()
        if end == "kill" and new_ends == "is_killed":
            # Only a reload or a stop of the old binary sees that the new one has gone.
            await asyncio.to_thread(nginx.reload)
        if end == "kill":
            await asyncio.to_thread(nginx.kill_all)
        else:
            await asyncio.to_thread(nginx.stop)
        assert site.said(BACK) == 1 and not second_name(site)
        nginx.start_again()
        await site.all_are_known()
        assert site.shown()["began"] == "attached"


@pytest.mark.parametrize("old_ends", ["quits", "is_killed"])
async def test_second_name_goes_with_the_old_binary(nginx, old_ends):
    nginx.allowed.append("exited on signal 9")
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True)
        await site.begin()
        nginx.configure(site.http("2m"))
        old = await asyncio.to_thread(nginx.upgrade)
        assert second_name(site)
        if old_ends == "quits":
            await asyncio.to_thread(nginx.end, old)
            assert not second_name(site)
        else:
            workers = nginx.workers_of(old)
            for pid in (old.pid, *workers):
                os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(old.wait)
        await site.begin(20)
        await asyncio.to_thread(nginx.stop)
        assert not second_name(site)
        nginx.start_again()
        await site.all_are_known()
    assert site.said(BACK) == site.said(AGAIN) == 0
