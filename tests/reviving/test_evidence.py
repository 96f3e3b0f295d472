"""How long an answer that was no evidence counts, and for whom."""

import asyncio

import pytest

from harness.clients.mcp import Session, sessions
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, lines, revived, start
from harness.servers.fake import Fake, error, home_of, serve


@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


def pings(two: tuple[Fake, Fake]) -> int:
    return sum(fake.pings() for fake in two)


def of(name: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {name}")]


async def test_a_server_that_refuses_pings_disables_the_evidence(nginx, two):
    """Else its sessions would be moved for ever: first for one session, and for the location after three clients."""
    serving = await serve(*two)
    port = start(nginx, two, workers=4)
    for fake in two:
        fake.say = lambda method, message, _: error(404, -1)(message) if method in ("x", "ping") else None
    clients = [*await sessions(port, 2, of("a")), *[await Session(port, of(name)).open() for name in "bc"]]
    for number, session in enumerate(clients, 1):
        assert (await session.post("x")).status == 404
        assert pings(two) == 2 * number
        assert lines(nginx, "a new session refuses a ping as the old one") == number
    assert lines(nginx, "answers of this location are passed on") == 1
    # In all workers.
    others = await sessions(port, 20, of("d"))
    assert {(await other.post("x")).status for other in others} == {404}
    assert len({other.answers[-1].headers["x-worker"] for other in others}) > 1
    assert pings(two) == 2 * len(clients) and revived(nginx) == 0
    # A reload asks again: the servers may be others.
    conf = (nginx.home / "nginx.conf").read_text()
    await asyncio.to_thread(nginx.reload, conf[conf.index("upstream mcp") : conf.rindex("}")])
    assert (await others[0].post("x")).status == 404
    assert pings(two) == 2 * len(clients) + 2
    [server.close() for server in serving]


async def test_one_client_whose_calls_fail_does_not_count_for_the_others(nginx, two):
    """It does not send a header that the server needs."""
    serving = await serve(*two)
    port = start(nginx, two)
    opens = ("initialize", "notifications/initialized", "DELETE")
    for fake in two:
        fake.say = lambda method, message, _, fake=fake: (
            error(400, -32000)(message) if method not in opens and "X-Need" not in fake.head else None
        )
    alice = await Session(port, [*ALICE, ("X-Need", "1")]).open()
    assert (await alice.post("x")).status == 200
    other = await Session(port, of("other")).open()
    assert (await other.post("x")).status == 400
    before = pings(two)
    assert (await other.post("x")).status == 400
    assert pings(two) == before and lines(nginx, "a new session refuses a ping") == 1
    for fake in two:
        fake.sessions.clear()
    assert (await alice.post("x")).sticky == "REVIVED"
    [server.close() for server in serving]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_in_trouble_does_not_count(nginx, two, status):
    """Its answer to the ping in the new session is another one than the first."""
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    failed = []
    for fake in two:
        fake.sessions.clear()

        def say(method, message, session, fake=fake):
            if method == "ping" and session in fake.sessions and not failed:
                failed.append(method)
                return status, None, {}

        fake.say = say
    assert (await session.post("x")).status == 404
    assert failed and lines(nginx, "refuses a ping") == 0

    async def is_revived() -> bool:
        return (await session.post("x")).status == 200

    # After the rest that follows each revival.
    await until(is_revived)
    assert revived(nginx) == 1
    [server.close() for server in serving]


async def test_a_ping_without_an_answer_says_nothing_for_long(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    home.sessions.clear()
    home.waits["ping"] = asyncio.Event()
    assert (await session.post("x")).status == 404
    home.waits.clear()

    async def is_revived() -> bool:
        return (await session.post("x")).status == 200

    await until(is_revived)
    assert lines(nginx, "session is not lost") == 0 and revived(nginx) == 1
    [server.close() for server in serving]


async def test_a_tools_own_error_does_not_hide_a_loss(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    for fake in two:
        fake.say = lambda method, message, _: error(400, -32602)(message) if method == "bad" else None
    assert (await session.post("bad")).status == 400
    assert lines(nginx, "session is not lost") == 1
    for fake in two:
        fake.sessions.clear()
    assert (await session.post("x")).sticky == "REVIVED"
    [server.close() for server in serving]


async def test_few_pings_are_open_at_once(nginx, two):
    """After a restart in place all sessions of a server ask at once."""
    serving = await serve(*two)
    port = start(nginx, two, workers=1)
    many = await sessions(port, 80, ALICE)
    gate = asyncio.Event()
    for fake in two:
        fake.sessions.clear()
        fake.waits["ping"] = gate
    calls = [asyncio.create_task(session.post("x")) for session in many]
    await until(lambda: sum(method == "x" for fake in two for method, _ in fake.seen) == 80)
    await until(lambda: pings(two) >= 50)
    # The worker has read all answers before this request.
    await Session(port, of("other")).open()
    assert pings(two) == 50
    gate.set()
    assert {(await call).status for call in calls} == {200}
    assert revived(nginx) == 80
    [server.close() for server in serving]
