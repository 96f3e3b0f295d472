"""A request runs once: what its server has done is not done again, though the session is revived meanwhile."""

import asyncio

import pytest

from harness.clients.mcp import Session
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, revived, start
from harness.servers.fake import Fake, error, home_of, serve


@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


def runs(two: tuple[Fake, Fake], method: str) -> int:
    return sum(seen == method for fake in two for seen, _ in fake.seen)


@pytest.mark.parametrize("loss", ["in place", "gone"])
async def test_an_error_of_a_tool_that_arrives_after_the_revival_by_another_request(nginx, two, loss):
    serving = await serve(*two)
    port = start(nginx, two, workers=1)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    for fake in two:
        fake.say = lambda method, message, _: error(422, -32602)(message) if method == "slow" else None
    home.waits["slow"] = ends = asyncio.Event()
    slow = asyncio.create_task(session.post("slow"))
    await until(lambda: runs(two, "slow") == 1)
    if loss == "in place":
        home.sessions.clear()
    else:
        # It shuts down: it ends what runs, and takes no new connection.
        serving[two.index(home)].close()
    assert (await session.post("x")).status == 200
    assert revived(nginx) == 1
    ends.set()
    assert (await slow).status == 422
    assert runs(two, "slow") == 1
    [server.close() for server in serving]


async def test_what_the_server_did_not_know_is_sent_again_after_the_revival_by_another_request(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two, workers=1)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    home.sessions.clear()
    home.waits["slow"] = ends = asyncio.Event()
    slow = asyncio.create_task(session.post("slow"))
    await until(lambda: runs(two, "slow") == 1)
    assert (await session.post("x")).status == 200
    ends.set()
    home.waits.clear()
    assert (await slow).status == 200
    assert runs(two, "slow") == 2 and runs(two, "ping") == 2 and revived(nginx) == 1
    [server.close() for server in serving]


async def test_a_batch_of_a_late_answer_and_a_call_is_refused(nginx, two):
    """202 would let the client await the answer to its call for ever."""
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home_of(session, two)[0].sessions.clear()
    assert (await session.post("x")).status == 200
    seen = [list(fake.seen) for fake in two]
    late = {"jsonrpc": "2.0", "id": 0, "result": {}}
    response = await session.send([late, {"jsonrpc": "2.0", "id": 9, "method": "x"}])
    assert (response.status, response.body) == (400, b"")
    assert (await session.send(late)).status == 202
    assert [list(fake.seen) for fake in two] == seen
    [server.close() for server in serving]
