"""`gone=revive`: sessions outlive their servers, which are those of the SDKs."""

import asyncio
from collections.abc import Iterator

import pytest

from harness.clients.mcp import Session, sessions
from harness.conf import listen, upstream
from harness.nginx import GONE, UNREACHABLE
from harness.patience import until
from harness.ports import free_ports
from harness.sdk import FRONT, Server, servers

REVIVE = "sticky_learn zone=sessions:1m gone=revive gone_after=1s;"
ALICE = [("Authorization", "Bearer alice")]
NO_BIND = "gone=revive. without .bind. knows the owner of a session by its credentials"


@pytest.fixture(params=["python-1", "python-2", "typescript"])
def three(request) -> Iterator[list[Server]]:
    with servers(request.param) as made:
        yield made


def start(nginx, replicas, directives: str = REVIVE, workers: int = 2) -> int:
    (port,) = free_ports(1)
    nginx.allowed = [UNREACHABLE, GONE, NO_BIND, "connect.. failed", "upstream prematurely closed", "no live upstreams", "temporarily disabled"]
    nginx.start(upstream("mcp", replicas, directives) + listen(port, "mcp", FRONT.replace("$http_host", "localhost:1")), workers=workers)
    return port


async def restart(server: Server) -> None:
    server.kill()
    server.start()
    await asyncio.to_thread(server.wait)


def revived(nginx) -> int:
    return sum("session revived at server" in line for line in nginx.errors())


async def test_a_server_that_restarts_in_place(nginx, three):
    port = start(nginx, three)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in three if server.name == home))
    again = await session.count()
    assert again["count"] == 1
    assert session.answers[-1].sticky == "REVIVED"
    assert revived(nginx) == 1
    after = await session.count()
    assert after == {"replica": again["replica"], "count": 2}
    assert session.answers[-1].sticky == "HIT"
    # The client sees its own id only.
    assert {answer.id for answer in session.answers if answer.id} == {session.id}
    assert (await session.delete()).status in (200, 202, 204)
    assert (await session.post("ping")).status == 404


async def test_a_server_that_is_gone(nginx, three):
    port = start(nginx, three)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    next(server for server in three if server.name == home).kill()
    again = await session.count()
    assert again["count"] == 1 and again["replica"] != home
    assert session.answers[-1].sticky == "REVIVED"
    assert await session.count() == {"replica": again["replica"], "count": 2}
    assert revived(nginx) == 1


async def test_a_server_that_is_away_for_a_moment(nginx, three):
    """It has lost its sessions, and is back before it counts as gone."""
    port = start(nginx, three, REVIVE.replace("gone_after=1s", "gone_after=60s"))
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    server = next(server for server in three if server.name == home)
    server.kill()
    call = asyncio.create_task(session.count())
    await until(lambda: any("is unreachable" in line for line in nginx.errors()))
    server.start()
    assert (await call)["count"] == 1
    assert session.answers[-1].sticky == "REVIVED"


async def test_many_requests_of_one_session_at_once(nginx, three):
    port = start(nginx, three, workers=4)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in three if server.name == home))
    answers = await asyncio.gather(*(session.count() for _ in range(100)))
    assert sorted(answer["count"] for answer in answers) == list(range(1, 101))
    assert len({answer["replica"] for answer in answers}) == 1
    assert revived(nginx) == 1
