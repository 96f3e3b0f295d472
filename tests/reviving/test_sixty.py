"""Many clients of the SDKs call on while their servers are killed and restarted, one after the other.

No client starts a session again by itself. A call that was sent to a dying server fails, and no other one.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass

import pytest

from harness.clients.api import report_of
from harness.conf import listen, upstream
from harness.looping import Looping
from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import DYING, REVIVE, lines, revived
from harness.sdk import FRONT, Server, servers

LONG = bool(os.environ.get("STICKY_LONG"))
# With STICKY_LONG=1 60 clients, and a server is killed every 20 s for 5 minutes.
CLIENTS = {"typescript": 30, "python-2": 30} if LONG else {"typescript": 6, "python-2": 6}
KILLS, PERIOD = (15, 20) if LONG else (3, 0)  # seconds
PAUSE = 1 if LONG else 0.2  # seconds between a client's calls: servers and clients share the machine
CALL_TIMEOUT = 10  # seconds
CLOCKS = 0.1  # seconds: nginx reads its clock once in a turn of its event loop

FORMAT = (
    "log_format calls escape=json '{\"method\": \"$request_method\", \"status\": $status, \"at\": $msec,"
    ' "took": $request_time, "server": "$upstream_addr"}' + "';\n"
)


@dataclass(frozen=True)
class Logged:
    """A request in nginx's log."""

    method: str
    status: int
    at: float  # its end
    took: float  # seconds
    server: str


@dataclass(frozen=True)
class Death:
    server: str
    begin: float
    end: float

    def explains(self, request: Logged) -> bool:
        """Whether the request was at the server when this died."""
        last = request.server.rpartition(" ")[2]
        begin = request.at - request.took
        return last == self.server and begin <= self.end + CLOCKS and request.at >= self.begin - CLOCKS


def requests(nginx: Nginx) -> list[Logged]:
    return [Logged(**json.loads(line)) for line in (nginx.home / "calls.log").read_text().splitlines()]


async def kill_in_turn(three: list[Server], looping: Looping) -> list[Death]:
    deaths = []
    for number in range(KILLS):
        next_one = asyncio.get_running_loop().time() + PERIOD
        server = three[number % len(three)]
        begin = time.time()
        server.kill()
        deaths.append(Death(server.address, begin, time.time()))
        server.start()
        await asyncio.to_thread(server.wait)
        before = {name: client.calls for name, client in looping.clients.items()}
        await until(lambda: all(client.calls > before[name] or client.died for name, client in looping.clients.items()))
        await asyncio.sleep(max(0, next_one - asyncio.get_running_loop().time()))
    return deaths


def begin(nginx: Nginx, three: list[Server], gone: str) -> int:
    (port,) = free_ports(1)
    nginx.allowed = DYING
    directives = REVIVE.replace("gone=revive gone_after=1s", f"gone={gone} gone_after=3s")
    front = FRONT.replace("$http_host", "localhost:1") + "access_log calls.log calls;"
    nginx.start(FORMAT + upstream("mcp", three, directives) + listen(port, "mcp", front), workers=2)
    return port


def numbers(looping: Looping, kind: str) -> str:
    clients = looping.of(kind)
    failed = sum(len(client.errors) for client in clients)
    calls = sum(client.answered for client in clients) + failed
    return (
        f"{len(clients)} clients of {kind}: {failed} of {calls} calls failed; at the end "
        f"{sum(client.last_failed for client in clients)} still fail, {sum(bool(client.died) for client in clients)} have "
        f"died, {sum(client.announced is True for client in clients)} hear notifications; longest call answered "
        f"{max(client.longest for client in clients):.1f} s"
    )


async def live(nginx: Nginx, report, gone: str) -> tuple[Looping, list[Death]]:
    with servers("python-1") as three:
        port = begin(nginx, three, gone)
        async with Looping(port, CLIENTS, PAUSE, CALL_TIMEOUT) as looping:
            deaths = await kill_in_turn(three, looping)
            await looping.end()
    for kind in CLIENTS:
        report(numbers(looping, kind))
    report(f"{revived(nginx)} sessions revived, errors {looping.errors()}")
    return looping, deaths


async def test_clients_go_on_while_servers_die(nginx, report):
    looping, deaths = await live(nginx, report, "revive")
    clients = looping.clients.values()
    assert not any(client.died for client in clients)
    assert not any(client.last_failed for client in clients)
    assert {client.announced for client in clients} == {True}
    failed = [request for request in requests(nginx) if request.status >= 400]
    # A client that resumes the stream of a call that died has two streams of a session: the server refuses one.
    failed = [request for request in failed if (request.method, request.status) != ("GET", 409)]
    assert [request for request in failed if not any(death.explains(request) for death in deaths)] == []
    assert {request.status for request in failed} <= {502}
    # Each call that failed is one of them, or its answer was cut off. Only after that a client waits in vain.
    cut = lines(nginx, 'prematurely closed connection while reading upstream.*"POST ')
    errors = looping.errors()
    assert errors.total() <= cut + sum(request.method == "POST" for request in failed)
    assert sum(count for error, count in errors.items() if "timed out" in error.lower()) <= cut


@pytest.mark.skipif(not LONG, reason="takes long")
async def test_by_reject_they_do_not(nginx, report):
    looping, _ = await live(nginx, report, "reject")
    assert any(client.last_failed for client in looping.clients.values())
