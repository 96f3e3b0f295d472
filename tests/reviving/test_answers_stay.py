"""Answers that are no evidence: they are passed on as they came, and nothing is revived. And servers that do not fit."""

import asyncio
import json

import pytest

from harness.clients.mcp import Session
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, lines, revived, start
from harness.servers.fake import VERSION, Fake, error, home_of, serve

@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


NO_EVIDENCE = {
    "unknown method": lambda method, message, _: error(404, -32601)(message) if method == "x" else None,
    "tool's own 400": lambda method, message, _: error(400, -32602)(message) if method == "x" else None,
    "tool's own 422": lambda method, message, _: error(422, -32602)(message) if method == "x" else None,
    "no GET": lambda method, *_: (404, None, {}) if method == "GET" else None,
    "another code": lambda method, message, _: error(404, -1 if method == "x" else -2)(message)
    if method in ("x", "ping")
    else None,
    "another status": lambda method, message, _: error(404 if method == "x" else 400, -1)(message)
    if method in ("x", "ping")
    else None,
}


@pytest.mark.parametrize("case", NO_EVIDENCE)
async def test_an_answer_that_is_no_evidence(nginx, two, case):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, other = home_of(session, two)
    home.say = NO_EVIDENCE[case]
    if case == "no GET":
        response = await session.send(None, method="GET")
        expected = (404, b"")
    else:
        response = await session.post("x")
        status, answer, _ = home.say("x", {"id": session.number}, "")
        expected = (status, json.dumps(answer).encode())
    assert (response.status, response.body) == expected
    assert home.pings() == 1 and other.pings() == 0
    # No other ping for ten seconds, and the session is as before.
    assert (await session.post("x") if case != "no GET" else await session.send(None, method="GET")).status == expected[0]
    assert home.pings() == 1
    assert (await session.post("y")).status == 200
    assert revived(nginx) == 0
    [server.close() for server in serving]


async def test_other_statuses_are_not_asked_about(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    for status in (401, 403, 405, 409, 429, 500, 503):
        home.say = lambda method, message, _, status=status: error(status, -1)(message) if method == "x" else None
        assert (await session.post("x")).status == status
    assert home.pings() == 0
    [server.close() for server in serving]


MISFITS = {
    "newer version": lambda fake: setattr(fake, "version", "2025-11-25"),
    "no tools": lambda fake: setattr(fake, "capabilities", {"prompts": {}}),
    "an error": lambda fake: setattr(fake, "say", lambda method, message, _: error(200, -1)(message) if method == "initialize" else None),
    "500": lambda fake: setattr(fake, "say", lambda method, *_: (500, None, {}) if method == "initialize" else None),
}


@pytest.mark.parametrize("case", MISFITS)
async def test_a_server_that_does_not_fit(nginx, two, case):
    """The answer of the session's server is passed on, and what was opened in vain is deleted."""
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    home.sessions.clear()
    for fake in two:
        MISFITS[case](fake)
    response = await session.post("x")
    assert response.status == 404
    assert json.loads(response.body)["error"]["message"] == "Session not found"
    await until(lambda: not home.sessions and not two[1].sessions and not two[0].sessions)
    assert revived(nginx) == 0
    assert lines(nginx, "session could not be revived") == 1
    assert sum(method == "initialize" for fake in two for method, _ in fake.seen) == 3
    [server.close() for server in serving]


@pytest.mark.parametrize("how", ["events", "slowly"])
async def test_how_a_new_server_may_answer(nginx, two, how):
    serving = await serve(*two)
    port = start(nginx, two)
    for fake in two:
        fake.streams = how == "events"
    session = await Session(port, ALICE).open()
    home_of(session, two)[0].sessions.clear()
    opened = asyncio.Event()
    for fake in two:
        fake.waits = {"initialize": opened} if how == "slowly" else {}
    call = asyncio.create_task(session.post("x"))
    await until(lambda: sum(method == "initialize" for fake in two for method, _ in fake.seen) == 2)
    if how == "slowly":
        # Another session is served meanwhile, and the call waits.
        other = Session(port, ALICE)
        other.id = session.id
        waiting = asyncio.create_task(other.post("y"))
        await until(lambda: lines(nginx, "session is lost"))
        assert not call.done() and not waiting.done()
        opened.set()
        assert (await waiting).status == 200
    assert (await call).status == 200
    assert session.answers[-1].sticky == "REVIVED" and revived(nginx) == 1
    [server.close() for server in serving]


@pytest.mark.parametrize("silent", [1, 2])
async def test_a_new_server_that_never_answers(nginx, two, silent):
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home_of(session, two)[0].sessions.clear()
    first = asyncio.Event()

    def say(fake: Fake):
        # The first one that is asked, or both.
        if silent == 2 or not first.is_set():
            first.set()
            fake.waits["initialize"] = asyncio.Event()

    for fake in two:
        fake.say = lambda method, message, _, fake=fake: say(fake) if method == "initialize" else None
    response = await session.post("x")
    if silent == 1:
        assert response.status == 200 and response.sticky == "REVIVED"
    else:
        assert response.status == 404 and b"Session not found" in response.body
        assert lines(nginx, "session could not be revived, no server has answered") == 1
    assert revived(nginx) == 2 - silent
    [server.close() for server in serving]


async def test_late_answers_of_the_client(nginx, two):
    """Servers number their requests from zero: an answer to the lost session must not reach a question of the new one."""
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    home.sessions.clear()
    # In the lost session: dropped, and nothing is revived.
    response = await session.send({"jsonrpc": "2.0", "id": 0, "result": {"action": "accept"}})
    assert (response.status, response.body) == (202, b"")
    assert revived(nginx) == 0
    assert (await session.post("x")).status == 200
    assert revived(nginx) == 1
    before = [method for fake in two for method, _ in fake.seen].count("answer")
    response = await session.send({"jsonrpc": "2.0", "id": 0, "result": {"action": "accept"}})
    assert (response.status, response.body) == (202, b"")
    assert [method for fake in two for method, _ in fake.seen].count("answer") == before
    assert revived(nginx) == 1
    [server.close() for server in serving]


async def test_the_headers_of_a_revival(nginx, two):
    """Credentials as the location passes them on; nothing of the request itself."""
    heads = []

    class Noting(Fake):
        async def handle(self, reader, writer):
            original = reader.readuntil

            async def noting(separator):
                head = await original(separator)
                heads.append(head.decode("latin-1").lower())
                return head

            reader.readuntil = noting
            await super().handle(reader, writer)

    fakes = tuple(Noting(fake.port) for fake in two)
    serving = await serve(*fakes)
    port = start(nginx, fakes, more='proxy_set_header X-Gateway secret; proxy_set_header Authorization "$http_authorization";')
    session = await Session(port, [*ALICE, ("Cookie", "c=1"), ("Last-Event-ID", "7")]).open()
    home, _ = home_of(session, fakes)
    home.sessions.clear()
    heads.clear()
    assert (await session.post("x")).status == 200
    own = [head for head in heads if "last-event-id" not in head]
    # Without the id of an event that died with the session: the request that was lost, again.
    ping, initialize, initialized, last_ping, again = own
    assert "\r\nmcp-session-id: " in again
    for head in (ping, initialize, initialized, last_ping):
        assert head.startswith("post /mcp http/1.1\r\nhost: localhost:1\r\n")
        for line in ("authorization: bearer alice", "cookie: c=1", "content-type: application/json", "connection: close"):
            assert head.count(f"\r\n{line}\r\n") == 1, (line, head)
    assert f"\r\nmcp-session-id: {session.id.decode()}\r\n" in ping
    assert "mcp-session-id" not in initialize and "mcp-protocol-version" not in initialize
    assert f"\r\nmcp-protocol-version: {VERSION}\r\n" in initialized
    assert "\r\nmcp-session-id: " in last_ping
    [server.close() for server in serving]
