"""A client leaves while its request waits for an answer, over each version of HTTP."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from harness.clients.http import send
from harness.clients.multiplex import http2, http3
from harness.clients.questions import release, settled, site
from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.versions import VERSIONS, is_missing, listen

ASKED = 20
NEVER = "after=never timeout=600000ms server={b}"

@pytest.fixture(params=VERSIONS)
def version(request) -> str:
    if is_missing(request.param):
        pytest.skip(f"nginx is built without {request.param}")
    return request.param


def start(nginx: Nginx, version: str, port: int, source: str) -> int:
    """Runs nginx with one worker; the port for this version of HTTP."""
    if version == "HTTP/1.1":
        nginx.start(site(port, source), workers=1)
        return port
    (front,) = free_ports(1)
    nginx.start(site(port, source, listen=listen(nginx, version, front)), workers=1)
    return front


@asynccontextmanager
async def requests(nginx: Nginx, version: str, front: int) -> AsyncIterator[tuple[Callable[[], None], ...]]:
    """Sends requests with ids that the zone does not have. Gives out what cancels each."""
    if version == "HTTP/1.1":
        writers = []
        for number in range(ASKED):
            _, writer = await asyncio.open_connection("127.0.0.1", front)
            writer.write(b"GET /asked HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: id-%d\r\n\r\n" % number)
            writers.append(writer)
        yield tuple(writer.close for writer in writers)
        for writer in writers:
            writer.close()
        return
    connect = http2 if version == "HTTP/2.0" else http3
    async with connect(front, nginx.home / "ca.pem") as client:
        yield tuple(client.request("GET", "/asked", b"id-%d" % number).cancel for number in range(ASKED))


def lines(nginx: Nginx) -> list[str]:
    return (nginx.home / "asked.log").read_text().splitlines()


async def once_each(nginx: Nginx, count: int) -> None:
    """Each request is in the access log once."""
    await until(lambda: len(lines(nginx)) >= count)
    assert len(lines(nginx)) == count


@pytest.mark.parametrize("how", ["each request", "the connection"])
async def test_a_client_that_leaves(testing_nginx, version, how):
    (port,) = free_ports(1)
    front = start(testing_nginx, version, port, NEVER)
    async with requests(testing_nginx, version, front) as cancels:
        await settled(port, waiting=ASKED)
        if how == "each request":
            for cancel in cancels:
                cancel()
            await settled(port, waiting=0, gone=ASKED)
    await settled(port, waiting=0, gone=ASKED)
    # The answers come too late, and bind nothing.
    assert await release(port) == ASKED
    again = asyncio.create_task(send(port, b"id-0", path="/again"))
    await settled(port, asked=ASKED + 1, waiting=1, gone=ASKED, answered=0)
    assert await release(port) == 1
    response = await again
    assert (response.status, response.sticky, response.replica) == (200, "HIT", "b")
    await once_each(testing_nginx, ASKED + 1)
    # nginx ends the requests of a closed connection of HTTP/3 without a status.
    status = "000" if (version, how) == ("HTTP/3.0", "the connection") else "499"
    assert sorted(lines(testing_nginx)) == ["/again 200"] + [f"/asked {status}"] * ASKED


# Locations whose request has a subrequest that waits: how many questions that makes.
SUBREQUESTS = {
    "/auth": 1,
    "/page": 1,
    "/mirrored": 2,
}
LOCATIONS = """
    location = /auth { auth_request /asked; proxy_pass http://u; }
    location = /page { ssi on; default_type text/html; return 200 '1<!--#include virtual="/asked" -->2'; }
    location = /mirrored { mirror /asked; proxy_pass http://u; }
"""


@pytest.mark.parametrize("path", SUBREQUESTS)
async def test_a_client_that_leaves_a_subrequest(testing_nginx, path):
    (port,) = free_ports(1)
    testing_nginx.start(site(port, NEVER, listen=LOCATIONS), workers=1)
    questions = SUBREQUESTS[path]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: one\r\n\r\n".encode())
    await settled(port, waiting=questions)
    writer.close()
    await settled(port, waiting=0, gone=questions)
    assert await release(port) == questions
    # One that stays gets its answer.
    again = asyncio.create_task(send(port, b"one", method="GET", path=path, body=b""))
    await settled(port, waiting=questions)
    await release(port)
    assert (await again).status == 200
    await settled(port, waiting=0, gone=questions, timed_out=0)


@pytest.mark.parametrize("first", ["answer", "client"])
async def test_the_answer_and_the_end_of_the_client_in_one_turn(testing_nginx, version, first):
    """A stopped worker finds both in the same turn of its event loop."""
    (port,) = free_ports(1)
    front = start(testing_nginx, version, port, NEVER)
    (worker,) = testing_nginx.workers
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with requests(testing_nginx, version, front) as cancels:
            await settled(port, waiting=ASKED)
            os.kill(worker, signal.SIGSTOP)
            steps = [lambda: writer.write(b"GET /release HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")]
            steps.append(lambda: [cancel() for cancel in cancels])
            for step in steps if first == "answer" else reversed(steps):
                step()
                # asyncio closes sockets in its next turn.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            os.kill(worker, signal.SIGCONT)
            released = int((await reader.read(-1)).rpartition(b"\r\n\r\n")[2])
            assert released == ASKED
            counts = await settled(port, waiting=0)
            assert counts["answered"] + counts["gone"] == ASKED
            await once_each(testing_nginx, ASKED)
    finally:
        writer.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
    response = await send(port, b"other", method="GET", path="/counts", body=b"")
    assert response.status == 200


async def test_reset_and_answer_in_one_frame_of_http2(testing_nginx):
    """The connection of the client carries both: its worker reads them at once, in this order."""
    (port,) = free_ports(1)
    front = start(testing_nginx, "HTTP/2.0", port, NEVER)
    async with http2(front, testing_nginx.home / "ca.pem") as client:
        for turn, reset_first in enumerate([True, False]):
            asked = [client.request("GET", "/asked", b"id-%d-%d" % (turn, number)) for number in range(ASKED)]
            await settled(port, waiting=ASKED)
            if reset_first:
                [exchange.cancel() for exchange in asked]
            released = client.request("GET", "/release")
            if not reset_first:
                [exchange.cancel() for exchange in asked]
            assert int((await released.whole()).body) == ASKED
            counts = await settled(port, waiting=0)
            assert counts["answered"] + counts["gone"] == ASKED * (turn + 1)
            assert counts["gone"] == ASKED
    await once_each(testing_nginx, 2 * ASKED)
