"""`gone=revive`: sessions outlive their servers, which are those of the SDKs."""

import asyncio
from collections.abc import Iterator

import pytest

from harness.clients.http import stream
from harness.clients.mcp import Session, sessions
from harness.patience import until
from harness.reviving import ALICE, REVIVE, restart, revived, start
from harness.sdk import Server, servers

@pytest.fixture(params=["python-1", "python-2", "typescript"])
def three(request) -> Iterator[list[Server]]:
    with servers(request.param) as made:
        yield made


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


async def test_many_sessions_at_once(nginx, three):
    """All servers are restarted in place."""
    port = start(nginx, three)
    many = await sessions(port, 30, ALICE)
    for server in three:
        await restart(server)
    answers = await asyncio.gather(*(session.count() for session in many))
    assert {answer["count"] for answer in answers} == {1}
    assert revived(nginx) == 30


async def test_delete_of_a_lost_session_revives_nothing(nginx, three):
    port = start(nginx, three)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in three if server.name == home))
    response = await session.delete()
    # Each server refuses the session, or takes a DELETE of any.
    assert response.status in (200, 204)
    assert revived(nginx) == 0
    assert (await session.post("ping")).status == 404


async def test_delete_when_the_server_is_gone(nginx, three):
    port = start(nginx, three)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    next(server for server in three if server.name == home).kill()
    response = await session.delete()
    assert (response.status, response.body) == (204, b"")
    assert revived(nginx) == 0
    assert (await session.post("ping")).status == 404


async def test_a_stream_is_revived(nginx, three):
    port = start(nginx, three)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in three if server.name == home))
    headers = [*ALICE, ("Accept", "text/event-stream"), ("MCP-Protocol-Version", "2025-06-18")]
    opened = await stream(port, session.id, path="/mcp", headers=headers, first_event=False)
    try:
        assert opened.response.text("content-type").startswith("text/event-stream")
        assert opened.response.sticky == "REVIVED"
        assert (await session.count())["count"] == 1
        assert revived(nginx) == 1
    finally:
        opened.close()


async def test_a_reload_keeps_what_is_kept(nginx, three):
    port = start(nginx, three)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    conf = (nginx.home / "nginx.conf").read_text()
    http = conf[conf.index("upstream mcp") : conf.rindex("}")]
    await asyncio.to_thread(nginx.reload, http)
    # New memory of the records, and of the sessions.
    http = http.replace("gone=revive", "gone=revive revive_zone=1m").replace("sessions:1m", "sessions:2m")
    await asyncio.to_thread(nginx.reload, http)
    await restart(next(server for server in three if server.name == home))
    assert (await session.count())["count"] == 1
    assert revived(nginx) == 1
    # The revived one as well.
    await asyncio.to_thread(nginx.reload, http.replace("revive_zone=1m", "revive_zone=2m"))
    assert (await session.count())["count"] == 2
