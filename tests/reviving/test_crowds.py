"""Many requests of one lost session, and many lost sessions, at once."""

import asyncio

import pytest

from harness.clients.api import report_of
from harness.clients.mcp import Session, sessions
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, REVIVE, revived, start
from harness.servers.fake import Fake, home_of, serve


@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


def count(two, method: str) -> int:
    return sum(seen == method for fake in two for seen, _ in fake.seen)


# A ping has two seconds: nothing else keeps the servers of this test busy.
@pytest.mark.alone
@pytest.mark.parametrize("loss", ["in place", "gone"])
async def test_500_requests_of_one_session(nginx, two, loss):
    """Over four workers: the session is opened once."""
    serving = await serve(*two)
    port = start(nginx, two, workers=4)
    session = await Session(port, ALICE).open()
    home, _ = home_of(session, two)
    assert count(two, "initialize") == 1
    if loss == "in place":
        home.sessions.clear()
    else:
        serving[two.index(home)].close()
    answers = await asyncio.gather(*(session.post("x") for _ in range(500)))
    assert len({answer.headers["x-worker"] for answer in answers}) == 4
    assert {answer.status for answer in answers} == {200}
    assert count(two, "initialize") == 2 and revived(nginx) == 1
    # Each was answered once: what the lost session refused was sent again, and nothing else.
    ran = [id for fake in two for method, id in fake.seen if method == "x" and id != session.id.decode()]
    assert len(ran) == 500 and len(set(ran)) == 1
    assert count(two, "ping") == (2 if loss == "in place" else 1)
    for server in serving:
        server.close()


@pytest.mark.alone
# In place each costs the servers of this test two pings and a second request besides: they would time out.
@pytest.mark.parametrize(("loss", "wanted"), [("in place", 500), ("gone", 10_000)])
async def test_many_sessions_at_once(nginx, two, loss, wanted, report):
    """They are revived at a bounded rate. The rest wait, or get 503 with Retry-After: nobody gets anything else, and the
    sessions of the other server are served as before."""
    serving = await serve(*two)
    nginx.connections = 15_000
    port = start(nginx, two, REVIVE.replace("sessions:1m gone=revive", "sessions:8m gone=revive revive_zone=32m"), workers=4)
    many = []
    while len(many) < 2 * wanted:
        many += await sessions(port, 500, ALICE)
    lost, others = [], []
    home = two[0]
    for session in many:
        (lost if session.id.decode() in home.sessions else others).append(session)
    lost = lost[:wanted]
    assert len(lost) > wanted * 0.8
    if loss == "in place":
        home.sessions.clear()
    else:
        serving[0].close()
    before = count(two, "initialize")
    done = asyncio.Event()
    other_statuses: set[int] = set()

    async def go_on(session: Session) -> None:
        while not done.is_set():
            other_statuses.add((await session.post("x")).status)
            await asyncio.sleep(0.1)

    clock = asyncio.get_running_loop().time
    began = clock()

    async def call(session: Session) -> list[int]:
        statuses = []
        while True:
            response = await session.post("x", timeout=180)
            statuses.append(response.status)
            if response.status == 503:
                assert response.text("retry-after") == "1"
                await asyncio.sleep(5)
                continue
            return statuses

    going = [asyncio.create_task(go_on(session)) for session in others[:20]]
    try:
        statuses = await asyncio.gather(*(call(session) for session in lost))
        took = clock() - began
    finally:
        done.set()
        await asyncio.gather(*going)
    opened = count(two, "initialize") - before
    postponed = sum(len(each) - 1 for each in statuses)
    records = report_of(nginx)["zones"]["sessions"]["records"]
    report(f"{len(lost)} sessions, {loss}: revived in {took:.0f} s, {postponed} times 503, {records}")
    assert {status for each in statuses for status in each} <= {200, 503}
    assert {each[-1] for each in statuses} == {200}
    assert other_statuses == {200}
    # 200 in a second, after a first hundred.
    assert len(lost) <= opened <= 100 + 200 * (took + 1)
    # What the servers of this test are too slow for is tried again.
    assert records["revived"] == len(lost)
    assert records["lost"] == len(lost) + sum(records["not_revived"].values())
    await until(lambda: revived(nginx) == len(lost))
    for server in serving:
        server.close()
