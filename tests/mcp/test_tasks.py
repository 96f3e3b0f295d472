"""Tasks of 2026-07-28, kept in a replica's memory: started and polled by clients of the official Python SDK 2.x."""

from collections.abc import Iterator

import pytest

from harness.conf import listen, upstream
from harness.ports import free_ports
from harness.sdk import FRONT, NAMES, Polled, Server, poll, servers

CLIENTS = 15
# The steps of a client: see tests/sdk/python/task_client.py.
TASKS, POLLS = 4, {"tasks/get": 3, "tasks/update": 1, "tasks/cancel": 1}
SENT = TASKS * sum(POLLS.values())


@pytest.fixture(scope="module")
def replicas() -> Iterator[list[Server]]:
    with servers("python-2") as started:
        yield started


def check(seen: Polled, clients: int) -> None:
    """Every poll found its task, and they were of every form."""
    assert not seen.lost
    assert {method: seen.done[method] for method in POLLS} == {
        method: clients * TASKS * times for method, times in POLLS.items()
    }
    assert seen.done["=?base64?"] == seen.done["plain"] == clients * SENT / 2
    assert seen.done["application/json"] == seen.done["text/event-stream"] == clients * TASKS / 2


async def test_a_single_server_finds_every_task(report, replicas):
    seen = await poll(replicas[0].port, 1)
    report(seen)
    check(seen, 1)


async def test_round_robin_loses_them(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", replicas, "") + listen(port, "mcp", FRONT))
    seen = await poll(port, CLIENTS)
    report(seen)
    assert set(seen.met) == set(NAMES)
    assert seen.lost.total() > CLIENTS * SENT / 4


async def test_behind_the_module_every_poll_finds_its_task(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", replicas, "sticky_learn zone=sessions:1m;") + listen(port, "mcp", FRONT))
    seen = await poll(port, CLIENTS)
    report(seen)
    assert set(seen.met) == set(NAMES)
    check(seen, CLIENTS)
