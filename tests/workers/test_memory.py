"""Zones of several megabytes: their sessions through reloads, new sizes and killed workers, and the pages beneath."""

import platform
import random
import re
import time
from pathlib import Path

import pytest

from harness.clients.http import Tally, crowd, send
from harness.conf import LEARN, listen, upstream
from harness.nginx import KILLED
from harness.ports import free_ports
from harness.servers.replica import replicas

SESSIONS = 200
MEGABYTE = 1 << 20
SETTING = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")


def has_huge_pages() -> bool:
    """Whether the kernel puts them beneath shared memory that asks for them."""
    version = tuple(map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups()))
    return version >= (6, 1) and SETTING.exists() and "[deny]" not in SETTING.read_text()


def large_mappings(pid: int) -> list[str]:
    """What /proc/PID/smaps says of each mapping of a large zone."""
    found = []
    for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.M)[1:]:
        begin, end = (int(address, 16) for address in mapping.split()[0].split("-"))
        if " rw-s " in mapping and re.search("/dev/zero|/memfd:", mapping) and end - begin >= 4 * MEGABYTE:
            found.append(mapping)
    return found


def huge_bytes(mappings: list[str]) -> int:
    return sum(int(size) << 10 for mapping in mappings for size in re.findall(r"^ShmemPmdMapped: +(\d+) kB", mapping, re.M))


class Site:
    """A port, its servers, and sessions that must be found whatever happens to nginx."""

    def __init__(self, nginx, port, servers):
        self.nginx, self.port, self.servers = nginx, port, servers
        self.tally = Tally()
        self.firsts = []

    def http(self, megabytes: int) -> str:
        directive = LEARN.replace("sessions:1m", f"sessions:{megabytes}m")
        return upstream("mcp", self.servers, f"{directive};") + listen(self.port, "mcp")

    async def begin(self) -> None:
        self.firsts += [await send(self.port) for _ in range(SESSIONS)]

    async def all_are_known(self) -> None:
        async def ask(number: int) -> None:
            response = await send(self.port, self.firsts[number].id)
            self.tally.follow_up(self.firsts[number], response)
            assert response.sticky == "HIT"

        await crowd(len(self.firsts), 10, ask)
        assert self.tally.misrouted == 0


async def test_sessions_of_large_zones_stay(nginx):
    (port,) = free_ports(1)
    nginx.allowed.append(KILLED)
    async with replicas(3) as servers:
        site = Site(nginx, port, servers)
        nginx.start(site.http(8))
        for megabytes in (8, 8, 12, 8, 5, 1, 8):
            await site.begin()
            nginx.reload(site.http(megabytes))
            await site.all_are_known()
            nginx.kill_worker(random.choice(nginx.workers))
            await site.all_are_known()


async def test_no_mapping_of_a_large_zone_is_left_behind(nginx, report):
    (port,) = free_ports(1)
    async with replicas(1) as servers:
        site = Site(nginx, port, servers)
        nginx.start(site.http(8))
        master = int((nginx.home / "nginx.pid").read_text())
        counts = []
        for megabytes in (8, 8, 8) + 6 * (12, 8):
            nginx.reload(site.http(megabytes))
            counts.append(len(large_mappings(master)))
        report(f"mappings in the master after each reload: {counts}")
        # One of nginx and one of this module.
        assert counts[:3] == [2, 2, 2]
        # Only a few earlier memories stay mapped.
        assert counts[-1] == counts[-2] == counts[-3] <= 2 + 4


async def test_a_zone_that_was_another_modules_says_so(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as servers:
        site = Site(nginx, port, servers)
        nginx.start("limit_req_zone $uri zone=sessions:8m rate=1r/s;" + upstream("mcp", servers, "") + listen(port, "mcp"))
        nginx.reload(site.http(8))
        await site.begin()
        await site.all_are_known()
    said = [line for line in nginx.errors() if 'zone "sessions" has new memory' in line]
    assert [line.partition("memory, ")[2] for line in said] == ["the old memory has no session table of this module"]


async def test_memory_is_taken_when_it_is_used(nginx, report):
    """By a test of the configuration as little as by the start."""
    (port,) = free_ports(1)
    peaks = {}
    async with replicas(1) as servers:
        site = Site(nginx, port, servers)
        for megabytes in (1, 1024):
            nginx.configure(site.http(megabytes))
            peaks["nginx -t", megabytes] = nginx.check_memory()
            begun = time.monotonic()
            nginx.start(site.http(megabytes))
            report(f"{megabytes}m: started after {time.monotonic() - begun:.2f} s")
            master = int((nginx.home / "nginx.pid").read_text())
            status = Path(f"/proc/{master}/status").read_text()
            peaks["start", megabytes] = int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)[1]) << 10
            nginx.stop()
    report(", ".join(f"{what} with {megabytes}m: {peak >> 20} MB" for (what, megabytes), peak in peaks.items()))
    for what in ("nginx -t", "start"):
        # nginx keeps 24 bytes for each page.
        assert peaks[what, 1024] - peaks[what, 1] < 16 * MEGABYTE


@pytest.mark.skipif(not has_huge_pages(), reason="this kernel has no huge pages for shared memory")
async def test_large_zones_lie_in_huge_pages(nginx, report):
    (port,) = free_ports(1)
    async with replicas(1) as servers:
        site = Site(nginx, port, servers)
        nginx.start(site.http(8), workers=1)
        await site.begin()
        for reload in (None, 8, 12):
            if reload:
                nginx.reload(site.http(reload))
            await site.all_are_known()
            huge = huge_bytes(large_mappings(nginx.workers[-1]))
            report(f"{huge >> 20} MB of {reload or 8} in huge pages")
            assert huge >= 4 * MEGABYTE
