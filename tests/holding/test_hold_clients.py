"""A client leaves while its answer is held, over each version of HTTP; and each version begins again."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from harness.clients.holding import raw, settled, site, start
from harness.clients.multiplex import Client, http2, http3
from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.servers.scripted import scripted
from harness.versions import VERSIONS, is_missing, listen

MANY = 100


@pytest.fixture(params=VERSIONS)
def version(request) -> str:
    if is_missing(request.param):
        pytest.skip(f"nginx is built without {request.param}")
    return request.param


def begin(nginx: Nginx, version: str, server: int, hold: str) -> tuple[int, int]:
    """Runs nginx with one worker; its port, and that of this version of HTTP."""
    if version == "HTTP/1.1":
        port = start(nginx, server, hold)
        return port, port
    port, front = free_ports(2)
    nginx.start(site(port, server, hold, listen(nginx, version, front)), workers=1)
    nginx.allowed = ["a client request body is buffered to a temporary file"]
    return port, front


def connect(nginx: Nginx, version: str, front: int) -> contextlib.AbstractAsyncContextManager[Client]:
    return (http2 if version == "HTTP/2.0" else http3)(front, nginx.home / "ca.pem")


@asynccontextmanager
async def requests(nginx: Nginx, version: str, front: int) -> AsyncIterator[tuple[Callable[[], None], ...]]:
    """Sends requests whose answers are held. Gives out what cancels each."""
    paths = [f"/held/{('on', 'off')[number % 2]}/{('whole', 'chunked')[number % 4 // 2]}/{number}" for number in range(MANY)]
    if version == "HTTP/1.1":
        writers = []
        for path in paths:
            _, writer = await asyncio.open_connection("127.0.0.1", front)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            writers.append(writer)
        yield tuple(writer.close for writer in writers)
        for writer in writers:
            writer.close()
        return
    async with connect(nginx, version, front) as client:
        yield tuple(client.request("GET", path).cancel for path in paths)


@pytest.mark.parametrize("how", ["each request", "the connection"])
@pytest.mark.parametrize("verdict", ["", "again"])
async def test_a_client_that_leaves(testing_nginx, version, how, verdict):
    (server,) = free_ports(1)
    async with scripted(server) as upstream:
        port, front = begin(testing_nginx, version, server, f"after=never {verdict}")
        async with requests(testing_nginx, version, front) as cancels:
            await settled(port, holding=MANY, judged=MANY)
            if how == "each request":
                for cancel in cancels:
                    cancel()
                await settled(port, holding=0, gone=MANY)
        await settled(port, holding=0, gone=MANY)
        # The verdicts come too late.
        assert (await raw(port, "/release", "GET")).endswith(b"\r\n\r\n%d\n" % MANY)
        await settled(port, held=MANY, gone=MANY)
        assert upstream.requests.total() == MANY


async def test_a_client_that_leaves_while_its_answer_arrives(testing_nginx, version):
    (server,) = free_ports(1)
    async with scripted(server) as upstream:
        port, front = begin(testing_nginx, version, server, "after=never")
        async with requests(testing_nginx, version, front) as cancels:
            await until(lambda: upstream.requests.total() == MANY)
            for cancel in cancels:
                cancel()
            await settled(port, holding=0)
        await settled(port, holding=0, passed=0, again=0)


@pytest.mark.parametrize("first", ["verdict", "client"])
@pytest.mark.parametrize("verdict", ["", "again"])
async def test_the_verdict_and_the_end_of_the_client_in_one_turn(testing_nginx, version, first, verdict):
    """A stopped worker finds both in the same turn of its event loop."""
    (server,) = free_ports(1)
    async with scripted(server):
        port, front = begin(testing_nginx, version, server, f"after=never {verdict}")
        (worker,) = testing_nginx.workers
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with requests(testing_nginx, version, front) as cancels:
                await settled(port, holding=MANY, judged=MANY)
                os.kill(worker, signal.SIGSTOP)
                steps = [lambda: writer.write(b"GET /release HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")]
                steps.append(lambda: [cancel() for cancel in cancels])
                for step in steps if first == "verdict" else reversed(steps):
                    step()
                    # asyncio closes sockets in its next turn.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                os.kill(worker, signal.SIGCONT)
                assert int((await reader.read(-1)).rpartition(b"\r\n\r\n")[2]) == MANY
                await settled(port, held=MANY, holding=0)
        finally:
            writer.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        assert testing_nginx.workers == [worker]


async def test_an_answer_is_passed_on_and_a_request_begins_again(testing_nginx, version):
    if version == "HTTP/1.1":
        pytest.skip("all of test_answers.py")
    (server,) = free_ports(1)
    body = b"0123456789" * 30_000
    async with scripted(server) as upstream:
        port, front = begin(testing_nginx, version, server, "after=never again timeout=300")
        async with connect(testing_nginx, version, front) as client:
            # No verdict in time.
            response = await client.send_whole("GET", "/held/on/whole/passed")
            assert (response.status, response.text("x-of")) == (404, "server")
            plain = await client.send_whole("GET", "/plain/on/whole/plain")
            assert response.body == plain.body
            response = await client.send_whole("HEAD", "/held/on/whole/head")
            assert (response.status, response.body) == (404, b"")
        testing_nginx.reload(site(port, server, "after=1 again", listen(testing_nginx, version, front)))
        async with connect(testing_nginx, version, front) as client:
            for name in ("whole", "chunked", "until-close"):
                exchange = client.request("POST", f"/held/off/{name}/again", end=False)
                await exchange.send_all(body, end=True)
                response = await exchange.whole()
                told = json.loads(response.body)
                assert (response.status, told["md5"]) == (200, hashlib.md5(body).hexdigest())
                assert upstream.requests[f"/{name}/again"] == 2


async def test_a_reload_waits_for_the_verdicts(testing_nginx):
    (server,) = free_ports(1)
    async with scripted(server) as upstream:
        port = start(testing_nginx, server, "after=3000 again")
        (old,) = testing_nginx.workers
        held = asyncio.create_task(raw(port, "/held/on/whole/old"))
        await settled(port, holding=1)
        await asyncio.to_thread(testing_nginx.reload, site(port, server, "after=0"))
        assert (await raw(port, "/held/on/whole/new")).startswith(b"HTTP/1.1 404 ")
        assert (await held).startswith(b"HTTP/1.1 200 ")
        assert upstream.requests["/whole/old"] == 2
        await until(lambda: old not in testing_nginx.workers)
