"""Tasks of 2026-07-28, kept in a replica's memory: started and polled by clients of the official Python SDK 2.x."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.conf import listen, upstream
from harness.ports import free_ports
from harness.sdk import FRONT, NAMES, Server, output, servers

CLIENTS = 15
# What a client does; tests/sdk/task_client.py.
TASKS, POLLS = 4, {"tasks/get": 3, "tasks/update": 1, "tasks/cancel": 1}
SENT = TASKS * sum(POLLS.values())


@dataclass
class Polled:
    """What the clients did: answers that found their task, polls that did not, replicas that tasks began on."""

    done: Counter[str]
    lost: Counter[str]
    met: Counter[str]

    def __str__(self) -> str:
        found = sum(self.done[method] for method in POLLS)
        return (
            f"{self.done['tasks']} tasks over {dict(self.met)}, {found} polls found theirs, {self.lost.total()} did "
            f"not; {self.done['=?base64?']} with Mcp-Name in base64; answers to tools/call: "
            f"{self.done['application/json']} JSON, {self.done['text/event-stream']} streams"
        )


async def polled(port: int, clients: int = CLIENTS) -> Polled:
    said = await output("tasks", f"http://127.0.0.1:{port}/mcp", clients)
    return Polled(*(Counter(said[name]) for name in ("done", "lost", "met")))


@pytest.fixture(scope="module")
def replicas() -> Iterator[list[Server]]:
    with servers("python-2") as started:
        yield started


async def test_a_single_server_finds_every_task(report, replicas):
    seen = await polled(replicas[0].port, 1)
    report(seen)
    assert not seen.lost
    assert {method: seen.done[method] for method in POLLS} == {method: TASKS * times for method, times in POLLS.items()}
    assert seen.done["=?base64?"] == seen.done["plain"] == SENT / 2
    assert seen.done["application/json"] == seen.done["text/event-stream"] == TASKS / 2


async def test_round_robin_loses_them(nginx, report, replicas):
    (port,) = free_ports(1)
    nginx.start(upstream("mcp", replicas, "") + listen(port, "mcp", FRONT))
    seen = await polled(port)
    report(seen)
    assert set(seen.met) == set(NAMES)
    assert seen.lost.total() > CLIENTS * SENT / 4
