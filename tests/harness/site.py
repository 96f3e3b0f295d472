"""An nginx whose zone is in a file."""

import asyncio

from harness.clients.api import check, report_of
from harness.clients.http import Response, send
from harness.conf import LEARN, listen, upstream
from harness.ports import free_ports
from harness.zonefile import ZoneFile

SESSIONS = 200


class Site:
    """An nginx whose zone is in a file, its servers, and sessions."""

    def __init__(self, nginx, servers, path: str = "store/sessions"):
        self.nginx, self.servers, self.path = nginx, servers, path
        (self.port,) = free_ports(1)
        self.firsts: list[Response] = []

    @property
    def file(self) -> ZoneFile:
        return ZoneFile(self.nginx.home / self.path)

    def http(self, size: str = "1m", file: str | None = "", more: str = "", name: str = "sessions") -> str:
        file = self.path if file == "" else file
        learn = LEARN.replace("sessions:1m", f"{name}:{size}") + (f" file={file}" if file else "")
        return upstream("mcp", self.servers, f"{learn} {more};") + listen(self.port, "mcp")

    def start(self, *, daemon: bool = False, **conf) -> None:
        self.nginx.start(self.http(**conf), daemon=daemon)

    async def begin(self, count: int = SESSIONS) -> None:
        firsts = [await send(self.port) for _ in range(count)]
        assert {first.status for first in firsts} == {200}
        self.firsts += firsts

    async def all_are_known(self, count: int | None = None) -> None:
        firsts = self.firsts[:count]
        said = [await send(self.port, first.id) for first in firsts]
        assert {response.sticky for response in said} == {"HIT"}
        assert [response.replica for response in said] == [first.replica for first in firsts]

    async def none_is_wrong(self) -> int:
        """How many sessions are known. Those that are not are unknown, and not elsewhere."""
        known = 0
        for first in self.firsts:
            response = await send(self.port, first.id)
            if response.sticky == "HIT":
                assert response.replica == first.replica
                known += 1
        return known

    def shown(self) -> dict | None:
        """The file, as sticky_api shows it."""
        report = report_of(self.nginx)
        check("report", report)
        return report["zones"]["sessions"]["file"]

    def said(self, text: str) -> int:
        return sum(text in line for line in self.nginx.errors())


async def refused(site: Site, text: str, **conf) -> None:
    """nginx does not start, and says why in one line."""
    said = len(site.nginx.errors())
    site.nginx.configure(site.http(**conf))
    status, stderr = await asyncio.to_thread(site.nginx.run)
    assert status != 0
    loud = [line for line in stderr.splitlines() if "[emerg]" in line]
    assert len(loud) == 1 and text in loud[0], stderr
    site.nginx.allowed += [r"\[emerg\]"]
    assert len(site.nginx.errors()) >= said
