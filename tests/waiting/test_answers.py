"""What an answer binds."""

import asyncio

from harness.clients.http import send
from harness.clients.questions import release, settled, site
from harness.ports import free_ports


async def test_a_session_that_was_learned_in_the_wait_stays(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(site(port, "after=never timeout=600000ms server={b}"), workers=1)
    waiting = asyncio.create_task(send(port, b"one"))
    await settled(port, waiting=1)
    learned = await send(port, path="/?new=one")
    assert (learned.sticky, learned.replica) == ("NEW", "a")
    assert await release(port) == 1
    response = await waiting
    assert (response.status, response.sticky, response.replica) == (200, "HIT", "a")


async def test_another_worker_has_the_answer_as_well(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(site(port, "after=1ms server={b}"), workers=2)
    served = {(await send(port, b"one")).worker for _ in range(3)}
    while len(served) < 2:
        response = await send(port, b"one")
        assert (response.status, response.sticky, response.replica) == (200, "HIT", "b")
        served.add(response.worker)
    first, second = [(await send(port, method="GET", path="/counts", body=b"")) for _ in range(2)]
    while first.worker == second.worker:
        second = await send(port, method="GET", path="/counts", body=b"")
    asked = [b"asked=1 " in counts.body for counts in (first, second)]
    assert sorted(asked) == [False, True]
