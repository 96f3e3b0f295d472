"""Zones in a file: what the next nginx knows, however the one before has ended."""

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from harness.clients.api import report_of
from harness.clients.http import send, stream
from harness.clients.storm import Storm
from harness.conf import listen
from harness.nginx import KILLED, ROOT
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas
from harness.site import SESSIONS, Site, refused


@pytest.mark.parametrize("end", ["stop", "quit", "kill"])
async def test_the_next_nginx_knows_all(nginx, end):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin()
        for _ in range(2):
            await asyncio.to_thread({"stop": nginx.stop, "quit": nginx.quit, "kill": nginx.kill_all}[end])
            nginx.start_again()
            await site.all_are_known()
            await site.begin(20)
        await site.all_are_known()
        assert report_of(nginx)["zones"]["sessions"]["live"] == len(site.firsts)
        assert oct(site.file.path.stat().st_mode)[-3:] == "600"
        assert oct(site.file.path.parent.stat().st_mode)[-3:] == "700"
    assert site.said("has 200 sessions from") == 1


async def test_killed_under_traffic_again_and_again(nginx, report):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start()
        async with Storm(site.port, 20).blowing() as storm:
            for number in range(10):
                await asyncio.sleep(0.01 * number)
                await asyncio.to_thread(nginx.kill_all)
                nginx.start_again()
                await storm.goes_on()
        await storm.every_session_is_known()
    report(f"killed 10 times: {storm}")
    assert (storm.lost, storm.moved) == (0, 0)


async def test_killed_master_whose_workers_live(nginx):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True)
        await site.begin()
        workers = nginx.workers
        os.kill(nginx.master, signal.SIGKILL)
        nginx.forget()
        # The workers serve clients, and hold the port.
        await site.all_are_known()
        await refused(site, "is in use by another nginx (process ")
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        nginx.start_again()
        await site.all_are_known()


async def test_second_nginx_is_refused_and_the_first_does_not_notice(new_nginx):
    first = new_nginx()
    second = new_nginx()
    async with replicas(2) as servers:
        site = Site(first, servers)
        site.start()
        await site.begin(20)
        before = len(first.errors())
        other = Site(second, servers, str(site.file.path))
        await refused(other, f"is in use by another nginx (process {first.master})")
        # A test of its configuration names the same process.
        status, said = await asyncio.to_thread(second.run, "-t")
        assert status == 0 and f'"{site.file.path}" is in use by process {first.master}' in said
        await site.all_are_known()
        assert first.errors()[before:] == []


async def test_quitting_nginx_is_followed(nginx, new_nginx):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        opened = await stream(site.port, method="POST", headers=[("X-Stream", "1")])
        old = nginx.leave()
        old.send_signal(signal.SIGQUIT)
        await until(lambda: not nginx.accepts(old))
        nginx.start_again()
        await site.all_are_known()
        assert (await send(site.port, opened.response.id)).sticky == "HIT"
        await site.begin(20)
        opened.close()
        await asyncio.to_thread(old.wait)
        await site.all_are_known()
        # The file was not closed by the first: the second uses it.
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known()


@pytest.mark.parametrize("rolled_back", [False, True], ids=["upgraded", "rolled_back"])
async def test_upgrade(nginx, rolled_back):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True)
        await site.begin()
        old = await asyncio.to_thread(nginx.upgrade)
        await site.begin()
        await asyncio.to_thread(nginx.roll_back if rolled_back else nginx.end, old)
        await site.all_are_known()
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known()


async def test_upgrades_and_reloads_under_traffic(nginx, report):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True)
        async with Storm(site.port).blowing() as storm:
            for _ in range(4):
                old = await asyncio.to_thread(nginx.upgrade)
                await storm.goes_on()
                await asyncio.to_thread(nginx.end, old)
                await asyncio.to_thread(nginx.reload)
                await storm.goes_on()
        await storm.every_session_is_known()
    report(f"4 upgrades with reloads between: {storm}")
    assert (storm.lost, storm.moved) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [{"size": "2m"}, {"size": "512k"}, {"file": "other/sessions"}, {"file": None}, {"name": "renamed"}],
    ids=["grown", "shrunk", "other_file", "no_file", "renamed"],
)
@pytest.mark.parametrize("by", ["reload", "restart", "kill", "upgrade"])
async def test_other_configuration(nginx, change, by):
    if by in ("restart", "kill") and "file" in change:
        pytest.skip("another file, or none, knows nothing")
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(daemon=by == "upgrade")
        await site.begin()
        nginx.configure(site.http(**change))
        match by:
            case "reload":
                await asyncio.to_thread(nginx.reload)
            case "upgrade":
                old = await asyncio.to_thread(nginx.upgrade)
                await asyncio.to_thread(nginx.end, old)
            case _:
                await asyncio.to_thread(nginx.stop if by == "restart" else nginx.kill_all)
                nginx.start_again()
        await site.all_are_known()
        await site.begin(20)
        await asyncio.to_thread(nginx.reload)
        await site.all_are_known()
        if change.get("file", "") is not None:
            await asyncio.to_thread(nginx.kill_all)
            nginx.start_again()
            await site.all_are_known()
        assert not list(nginx.home.glob("*/*.new"))


async def test_file_is_added_by_a_reload(nginx):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(file=None)
        await site.begin()
        await asyncio.to_thread(nginx.reload, site.http())
        await site.all_are_known()
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known()


async def test_failed_reload_changes_nothing(nginx):
    """The configuration fails after the zones are made: its address is taken."""
    nginx.allowed += [r"bind\(\) to .* failed", r"still could not bind"]
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin()
        (taken,) = free_ports(1)
        blocker = await asyncio.start_server(lambda *_: None, "127.0.0.1", taken)
        nginx.configure(site.http("2m") + listen(taken, "mcp"))
        nginx.signal_reload()
        await until(lambda: site.said("still could not bind"))
        blocker.close()
        assert not list(nginx.home.glob("*/*.new"))
        await site.begin()
        await site.all_are_known()
        await asyncio.to_thread(nginx.kill_all)
        nginx.configure(site.http())
        nginx.start_again()
        await site.all_are_known()


@pytest.mark.parametrize("by", ["reload", "restart"])
async def test_smaller_zone_counts_what_is_there_at_the_end(nginx, by):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        nginx.allowed.append("sessions imported from its file")
        site.start()
        await site.begin(3000)
        if by == "reload":
            await asyncio.to_thread(nginx.reload, site.http("64k"))
        else:
            nginx.configure(site.http("64k"))
            await asyncio.to_thread(nginx.stop)
            nginx.start_again()
        zone = report_of(nginx)["zones"]["sessions"]
        assert 1000 < zone["live"] == zone["file"]["imported"] < zone["file"]["imported_of"] == 3000
        assert site.said(f"{zone['live']} of 3000 sessions") == 1


async def test_metrics_are_in_the_documents(nginx):
    """All of them, with those of a file."""
    async with replicas(1) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(1)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(nginx.api))) as client:
            text = client.get("http://localhost/", params={"format": "prometheus"}).text
        named = re.findall(r"^# TYPE nginx_sticky_(\w+) ", text, re.MULTILINE)
        files = {name for name in named if "file" in name}
        assert len(named) > 20 and {"zone_file_linked", "zone_file_synced_seconds"} <= files
        documents = (ROOT / "docs" / "api.md").read_text()
        for name in named:
            assert f"`{name}`" in documents or f"`{name}` (" in documents, name
        sample = re.search(r'^nginx_sticky_zone_file_linked{zone="sessions"} (\d)$', text, re.MULTILINE)
        assert sample[1] == "1"
        synced = re.search(r'^nginx_sticky_zone_file_synced_seconds{zone="sessions"} (\d+)$', text, re.MULTILINE)
        assert abs(int(synced[1]) - time.time()) < 3600


async def test_configuration_test_changes_nothing(nginx):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        nginx.configure(site.http())
        assert f'"{site.file.path}" would be made' in nginx.run("-t")[1]
        assert not site.file.path.parent.exists()
        site.start()
        await site.begin(20)
        process = nginx.master
        before = site.file.state()
        assert f'"{site.file.path}" is in use by process {process}' in nginx.run("-t")[1]
        assert site.file.state() == before
        await asyncio.to_thread(nginx.stop)
        for size, text in (
            ("1m", "would be used as it is by a start; a reload that gives it to a running zone replaces it"),
            ("2m", "would be imported by a start"),
        ):
            nginx.configure(site.http(size))
            before = site.file.state()
            status, said = nginx.run("-t")
            assert status == 0 and f'"{site.file.path}" {text}' in said
            assert site.file.state() == before


async def test_api_shows_the_file(nginx):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        shown = site.shown
        file = shown()
        assert (file["path"], file["size_bytes"]) == (str(site.file.path), site.file.path.stat().st_size)
        assert (file["began"], file["oldest_ms"]) == ("new", None) and file["synced"]
        await site.begin(20)
        await until(lambda: shown()["oldest_ms"] > 0)
        await asyncio.to_thread(nginx.stop)
        nginx.start_again()
        assert shown()["began"] == "attached"
        await asyncio.to_thread(nginx.reload, site.http("2m"))
        file = shown()
        assert (file["began"], file["imported"], file["imported_of"], file["damaged_pages"]) == ("imported", 20, 20, 0)
        assert site.said(f'has new memory in "{site.file.path}", 20 of 20 sessions moved there') == 1
        await asyncio.to_thread(nginx.reload, site.http("2m", file=None))
        assert shown() is None


# Another boot, damage, and what is no file of this module


@pytest.mark.parametrize("shift", [-3600, 0, 50, 3600], ids=["hour_back", "same", "most_of_it", "hour_on"])
async def test_other_boot(nginx, shift):
    """The time of day has moved so far since the file was written; sessions live 100 s."""
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start(more="timeout=100s")
        await site.begin(50)
        await asyncio.to_thread(nginx.kill_all)
        site.file.set_boot(b"another boot....")
        site.file.move_clock(-shift)
        nginx.start_again()
        if shift < 100:
            await site.all_are_known()
        else:
            assert await site.none_is_wrong() == 0
        taken = 50 if shift < 100 else 0
        nginx.allowed.append("imported from its file")
        assert site.said(f"{taken} of 50 sessions imported from its file") == 1
        # It is this boot's now.
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        if taken:
            await site.all_are_known()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_format_before(nginx, end):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin()
        await asyncio.to_thread(nginx.stop if end == "stop" else nginx.kill_all)
        site.file.write_format_before()
        nginx.start_again()
        await site.all_are_known()
        assert site.said("200 of 200 sessions imported from its file") == 1


async def test_format_before_over_an_upgrade(nginx):
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(daemon=True)
        await site.begin()
        site.file.write_format_before()
        old = await asyncio.to_thread(nginx.upgrade)
        await asyncio.to_thread(nginx.end, old)
        await site.all_are_known()
        await site.begin(20)
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known()


CUT = r"is cut: \d+ of \d+ bytes"


@pytest.mark.parametrize("boot", ["same", "other"])
@pytest.mark.parametrize("how", ["flips", "zeros", "cut", "cut_much", "longer"])
async def test_damage_after_a_stop(nginx, report, how, boot):
    nginx.allowed += ["imported from its file", CUT]
    is_cut = how.startswith("cut")
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(size="512k")
        await site.begin()
        await asyncio.to_thread(nginx.stop)
        site.file.damage(how)
        if boot == "other":
            site.file.set_boot(b"another boot....")
        damaged = site.file.path.read_bytes()
        before = site.file.state()
        status, said = nginx.run("-t")
        assert status == 0 and site.file.state() == before
        expected = {"longer": "would be imported by a start", "flips": "damaged pages, the rest would be imported"}
        assert expected.get(how, "what is left of it would be imported" if is_cut else "damaged pages") in said
        nginx.start_again()
        known = await site.none_is_wrong()
        report(f"{how}: {known} of {SESSIONS} known")
        assert site.said(f"{known} of {SESSIONS} sessions imported from its file") == 1
        pages = site.shown()["damaged_pages"]
        assert site.said(f"; {pages} damaged pages") == 1 and (pages == 0) == (how == "longer")
        assert known >= {"longer": SESSIONS, "cut_much": 0}.get(how, SESSIONS // 4)
        # What is cut can be looked at.
        kept = site.file.path.with_name("sessions.damaged")
        assert kept.exists() == is_cut and site.said('sessions.damaged"') == int(is_cut)
        if is_cut:
            assert kept.read_bytes() == damaged
            assert any(re.search(CUT, line) for line in nginx.errors())


async def test_damage_without_a_stop(nginx, report):
    """After a crash of the machine there are no sums of the pages: each session is checked."""
    nginx.allowed += ["imported from its file"]
    async with replicas(3) as servers:
        site = Site(nginx, servers)
        site.start(size="512k")
        await site.begin()
        await asyncio.to_thread(nginx.kill_all)
        site.file.damage("flips")
        site.file.set_boot(b"another boot....")
        nginx.start_again()
        known = await site.none_is_wrong()
        report(f"{known} of {SESSIONS} known")
        assert known > SESSIONS // 2


NO_SESSIONS = "is damaged or of another format, the zone begins without sessions"


@pytest.mark.parametrize("what", ["mark", "header", "secret"])
async def test_damaged_header_begins_anew_and_keeps_the_file(nginx, what):
    nginx.allowed.append(NO_SESSIONS)
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        kept = []
        for name in ("sessions.damaged", "sessions.damaged.1"):
            await site.begin(20)
            await asyncio.to_thread(nginx.stop)
            site.file.flip({"mark": 3, "header": 70, "secret": 4096 + 40}[what])
            kept.append((site.file.path.with_name(name), site.file.path.read_bytes()))
            assert "the zone would begin without sessions" in nginx.run("-t")[1]
            nginx.start_again()
            assert await site.none_is_wrong() == 0
            assert site.shown()["began"] == "damaged"
            assert site.said(f'{NO_SESSIONS}; the old file is "{kept[-1][0]}"') == 1
        for path, damaged in kept:
            assert path.read_bytes() == damaged


@pytest.mark.parametrize("ended", [False, True], ids=["killed", "stopped"])
async def test_copy_of_a_file_in_use_is_checked(nginx, ended):
    """It may have pages of different moments. A copy of a file that nobody uses is as good as that."""
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin()
        copy = site.file.path.read_bytes()
        known = len(site.firsts)
        await site.begin(20)
        await asyncio.to_thread(nginx.stop if ended else nginx.kill_all)
        if ended:
            copy, known = site.file.path.read_bytes(), len(site.firsts)
        site.file.restore(copy)
        said = nginx.run("-t")[1]
        nginx.start_again()
        await site.all_are_known(known)
        assert site.shown()["began"] == ("attached" if ended else "imported")
        assert site.said("is a copy of a file that was in use: its sessions are imported") == (not ended)
        assert ("is a copy of a file that was in use, its sessions would be imported" in said) == (not ended)
        # It is this nginx's now.
        await asyncio.to_thread(nginx.kill_all)
        nginx.start_again()
        await site.all_are_known(known)
        assert site.shown()["began"] == "attached"


@pytest.mark.parametrize(
    "what, text",
    [
        ("foreign", "is no file of sticky_learn, name another path or remove it"),
        ("empty", "is no file of sticky_learn, name another path or remove it"),
        ("zeros", "is no file of sticky_learn, name another path or remove it"),
        ("folder", "is no regular file"),
        ("fifo", "is no regular file"),
        ("link", "is a symbolic link, name the file that it leads to"),
        ("big_endian", "was written on a machine of another architecture"),
        ("newer", "was written by a newer version of this module (format 9)"),
        ("owner", "belongs to user 12345, it must belong to user 0, who starts nginx"),
        ("folder_owner", "belongs to user 12345, it must belong to user 0, who starts nginx"),
        ("open_folder", "may be written by everybody: chmod o-w it, or name a folder in it, which nginx makes"),
        ("link_to_nowhere", "is a symbolic link that leads nowhere"),
        ("file_as_folder", "is no folder"),
        ("new_of_another", '.new" is no file of sticky_learn, remove or rename it'),
    ],
)
async def test_other_things_are_refused_by_name(nginx, what, text):
    if os.geteuid() != 0 and "owner" in what:
        pytest.skip("needs root")
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        if what in ("big_endian", "newer", "owner"):
            site.start()
            await asyncio.to_thread(nginx.stop)
        site.file.become(what)
        before = site.file.state()
        await refused(site, text)
        status, said = nginx.run("-t")
        assert status != 0 and text in said, said
        assert site.file.state() == before


async def test_stale_owner_of_every_lock(nginx):
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin()
        await asyncio.to_thread(nginx.kill_all)
        assert site.file.hold_all_locks() >= 5
        begun = time.monotonic()
        nginx.start_again()
        assert time.monotonic() - begun < 1
        await site.begin()
        await site.all_are_known()


async def test_small_tmpfs_is_refused_at_the_start(nginx, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k,mode=700 none {folder} 2>/dev/null"):
        pytest.skip("cannot mount")
    try:
        async with replicas(2) as servers:
            site = Site(nginx, servers, f"{folder}/sessions")
            await refused(site, "bytes, (28: No space left on device)")
            status, said = nginx.run("-t")
            assert status != 0 and re.search(r"has no room for 10\d{5} bytes, only 2\d{5} are free", said)
            assert not list(folder.iterdir())
            site.start(size="128k")
            await site.begin(20)
            # Another size, and another boot, take the room of a second file.
            await asyncio.to_thread(nginx.stop)
            site.file.set_boot(b"another boot....")
            text = "; free so many bytes, or remove the old file to begin without sessions"
            await refused(site, f"beside the old file, (28: No space left on device){text}", size="160k")
            status, said = nginx.run("-t")
            assert status != 0 and f"are free{text}" in said
            # A damaged file is not said to be kept when it is not.
            whole = site.file.path.read_bytes()
            site.file.flip(70)
            await refused(site, text, size="160k")
            assert site.said(".damaged") == 0 and [path.name for path in folder.iterdir()] == ["sessions"]
            site.file.path.write_bytes(whole)
            nginx.allowed.append("sessions imported from its file")
            site.start(size="64k")
            await site.all_are_known()
            await asyncio.to_thread(nginx.stop)
            nginx.configure(site.http("128k"))
            # A read-only file system is found by a test of the configuration as well.
            os.system(f"mount -o remount,ro {folder}")
            await refused(site, "(30: Read-only file system)", size="128k")
            status, said = nginx.run("-t")
            assert status != 0 and "(30: Read-only file system)" in said
            os.system(f"mount -o remount,rw {folder}")
            site.start(size="128k")
            # A file system that is full later does no harm.
            with (folder / "more").open("wb", buffering=0) as filler, pytest.raises(OSError):
                while True:
                    filler.write(bytes(4096))
            await site.begin(500)
            await site.all_are_known()
            await asyncio.to_thread(nginx.stop)
            nginx.start_again()
            await site.all_are_known()
    finally:
        nginx.stop()
        os.system(f"umount -l {folder}")


async def test_killed_workers(nginx):
    nginx.allowed.append(KILLED)
    async with replicas(2) as servers:
        site = Site(nginx, servers)
        site.start()
        await site.begin(20)
        for pid in nginx.workers:
            await asyncio.to_thread(nginx.kill_worker, pid)
        await site.all_are_known()
