"""Records of sessions (`gone=revive`) that outlive nginx: a session that was learned before can be revived after."""

import asyncio

import pytest

from harness.clients.mcp import Session
from harness.conf import listen, upstream
from harness.ports import free_ports
from harness.reviving import ALICE, DYING, REVIVE, lines, revived
from harness.sdk import FRONT
from harness.servers.fake import Fake, home_of, serve
from harness.zonefile import PAGE, ZoneFile

FILE = "store/sessions"


class Place:
    """An nginx whose records are in a file, or in memory, and two servers."""

    def __init__(self, nginx) -> None:
        self.nginx = nginx
        self.port, *ports = free_ports(3)
        self.two = tuple(Fake(port) for port in ports)
        self.file = ZoneFile(nginx.home / FILE)
        nginx.allowed = DYING

    def http(self, more: str = f"file={FILE}") -> str:
        front = FRONT.replace("$http_host", "localhost:1")
        directives = REVIVE.replace(";", f" {more};")
        return upstream("mcp", self.two, directives) + listen(self.port, "mcp", front)

    async def begin(self, more: str = f"file={FILE}", **options) -> tuple[Session, Session]:
        """Two sessions; the second one was revived already."""
        self.serving = await serve(*self.two)
        self.nginx.start(self.http(more), **options)
        sessions = [await Session(self.port, ALICE).open() for _ in range(2)]
        self.lose(sessions[1])
        assert (await sessions[1].post("x")).status == 200
        assert sessions[1].answers[-1].sticky == "REVIVED"
        return tuple(sessions)

    def lose(self, session: Session) -> None:
        home_of(session, self.two)[0].sessions.discard(session.id.decode())

    async def is_revived(self, session: Session) -> None:
        self.lose(session)
        before = revived(self.nginx)
        assert (await session.post("x")).status == 200
        assert session.answers[-1].sticky == "REVIVED"
        assert revived(self.nginx) == before + 1
        assert (await session.post("x")).status == 200
        assert session.answers[-1].sticky == "HIT"
        assert {answer.id for answer in session.answers if answer.id} == {session.id}

    async def goes_on(self, session: Session) -> None:
        """By the new id, without another revival."""
        before = revived(self.nginx)
        assert (await session.post("x")).status == 200
        assert session.answers[-1].sticky == "HIT"
        assert revived(self.nginx) == before

    def close(self) -> None:
        for server in self.serving:
            server.close()


@pytest.fixture
def place(nginx):
    return Place(nginx)


@pytest.mark.parametrize("end", ["stop", "quit", "kill_all"])
async def test_a_file(place, end):
    nginx = place.nginx
    first, second = await place.begin()
    await asyncio.to_thread(getattr(nginx, end))
    nginx.start_again()
    await place.goes_on(second)
    await place.is_revived(first)
    place.close()


@pytest.mark.parametrize("more", ["", f"file={FILE}"], ids=["memory", "file"])
async def test_an_upgrade_of_the_binary(place, more):
    nginx = place.nginx
    first, second = await place.begin(more, daemon=True)
    old = await asyncio.to_thread(nginx.upgrade)
    await place.goes_on(second)
    await asyncio.to_thread(nginx.end, old)
    await place.is_revived(first)
    await place.goes_on(second)
    place.close()


async def test_another_size_and_another_boot(place):
    nginx = place.nginx
    first, second = await place.begin()
    await asyncio.to_thread(nginx.stop)
    place.file.set_boot(b"another boot....")
    nginx.configure(place.http(f"file={FILE} revive_zone=1m"))
    nginx.start_again()
    assert lines(nginx, "2 of 2 records for a revival moved to its new memory") == 1
    await place.goes_on(second)
    await place.is_revived(first)
    place.close()


async def test_revive_is_turned_on_off_and_on(place):
    """The sessions stay, and those that begin while it is on can be revived."""
    nginx = place.nginx
    first, second = await place.begin()
    await asyncio.to_thread(nginx.stop)
    nginx.configure(place.http(f"file={FILE}").replace("gone=revive", "gone=reject"))
    nginx.start_again()
    assert (await first.post("x")).status == 200
    await asyncio.to_thread(nginx.reload, place.http())
    assert (await first.post("x")).status == 200
    third = await Session(place.port, ALICE).open()
    await place.is_revived(third)
    place.close()


async def test_damaged_records_are_lost_and_the_sessions_are_not(place):
    nginx = place.nginx
    first, second = await place.begin()
    await asyncio.to_thread(nginx.kill_all)
    size = place.file.path.stat().st_size
    nginx.allowed = [*DYING, "holds no records of sessions; its sessions are kept, but cannot be revived"]

    def change(data: bytearray) -> None:
        at = data.index(b"revivals") // PAGE * PAGE
        data[at : at + PAGE] = bytes(PAGE)

    place.file._edit(change)
    assert place.file.path.stat().st_size == size
    nginx.start_again()
    assert lines(nginx, "cannot be revived") == 1
    assert (await first.post("x")).status == 200
    assert first.answers[-1].sticky == "HIT"
    place.lose(first)
    assert (await first.post("x")).status == 404
    third = await Session(place.port, ALICE).open()
    await place.is_revived(third)
    place.close()
