"""What sticky_api and the log say of lost sessions, and when their records are freed."""

import re

import pytest

from harness.clients.api import check, report_of
from harness.clients.mcp import Session, sessions
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, REVIVE, lines, start
from harness.servers.fake import Fake, error, home_of, serve

COUNTS = {"pinged": 0, "lost": 0, "revived": 0, "not_revived": {"no_server": 0, "misfit": 0, "error": 0}}


@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


def records(nginx) -> dict:
    report = report_of(nginx)
    check("report", report)
    return report["zones"]["sessions"]["records"]


def counts(nginx) -> dict:
    return {name: count for name, count in records(nginx).items() if name in COUNTS}


async def test_each_outcome_is_counted_and_has_a_line(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    assert records(nginx)["kept"] == 1 and counts(nginx) == COUNTS
    home, _ = home_of(session, two)

    home.say = lambda method, message, _: error(400, -32602)(message) if method == "x" else None
    assert (await session.post("x")).status == 400
    assert counts(nginx) == COUNTS | {"pinged": 1}
    assert lines(nginx, f'session may be lost, a ping is asked at server "{home.address}"') == 1
    assert lines(nginx, "session is not lost") == 1

    # One ping is asked in ten seconds: another session.
    session = await Session(port, ALICE).open()
    home, other = home_of(session, two)
    home.say = other.say = lambda *_: None
    home.sessions.clear()
    for fake in two:
        fake.version = "2025-11-25"
    assert (await session.post("x")).status == 404
    assert counts(nginx) == COUNTS | {"pinged": 2, "lost": 1, "not_revived": {"no_server": 0, "misfit": 1, "error": 0}}
    assert lines(nginx, "session could not be revived, the version or a capability is missing") == 1

    for fake in two:
        fake.version = "2025-06-18"
    session = await Session(port, ALICE).open()
    home_of(session, two)[0].sessions.clear()
    assert (await session.post("x")).status == 200
    assert counts(nginx)["lost"] == 2 and counts(nginx)["revived"] == 1
    assert lines(nginx, "session is lost") == 2 and lines(nginx, "session revived at server") == 1

    session = await Session(port, ALICE).open()
    home_of(session, two)[0].sessions.clear()
    for fake in two:
        fake.say = lambda method, message, _: error(200, -1)(message) if method == "initialize" else None
    assert (await session.post("x")).status == 404
    assert counts(nginx)["not_revived"] == {"no_server": 0, "misfit": 1, "error": 1}
    assert lines(nginx, "session could not be revived, an error was the answer") == 1
    shown = counts(nginx)
    assert shown["lost"] == shown["revived"] + sum(shown["not_revived"].values())

    log = (nginx.home / "error.log").read_text()
    about = [line for line in log.splitlines() if "session" in line and "(hash " in line]
    # Each has the hash, and no line of the log has an id.
    assert len(about) == 4 + 1 + 3 + 2 + 1, about
    assert not re.search(rf"\b{two[0].prefix}|\b{two[1].prefix}", log)
    [server.close() for server in serving]


async def test_records_of_sessions_that_have_ended_are_freed(nginx, two):
    """The sweep frees them, also if nothing needs their memory."""
    serving = await serve(*two)
    port = start(nginx, two, REVIVE.replace("gone=revive", "gone=revive revive_zone=64k"))
    ended, *live = await sessions(port, 5, ALICE)
    assert records(nginx)["kept"] == 5
    assert (await ended.delete()).status == 200
    await until(lambda: records(nginx)["kept"] == 4)
    assert records(nginx)["evicted"] == 0
    home_of(live[0], two)[0].sessions.clear()
    assert (await live[0].post("x")).status == 200
    assert live[0].answers[-1].sticky == "REVIVED"
    [server.close() for server in serving]


async def test_a_request_that_waits_is_counted_once(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)

    def requests() -> dict:
        return report_of(nginx)["zones"]["sessions"]["requests"]

    # nginx counts a request when it has ended, after its client has the answer.
    await until(lambda: sum(requests().values()) == 2)
    # In place, and after its server has gone.
    home.sessions.clear()
    assert (await session.post("x")).status == 200
    home = next(fake for fake in two if fake.sessions)
    serving[two.index(home)].close()

    async def is_revived() -> bool:
        # The first may be cut off with its server.
        return (await session.post("x")).sticky == "REVIVED"

    await until(is_revived)
    await until(lambda: sum(requests().values()) >= len(session.answers))
    assert sum(requests().values()) == len(session.answers)
    assert requests()["revived"] == 2, (requests(), session.answers)
    [server.close() for server in serving]


async def test_without_revive_there_is_nothing_to_show(nginx, two):
    serving = await serve(*two)
    start(nginx, two, REVIVE.replace("gone=revive", "gone=reject"))
    assert records(nginx) is None
    [server.close() for server in serving]
