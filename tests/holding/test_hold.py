"""Small answers are held, and then passed on byte for byte, or the request begins again. The judge is that of
module/testing/hold.rs."""

import asyncio
import hashlib
import json
import re
import zlib
from itertools import count

import pytest

from harness.clients.holding import counts, raw, settled, start
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.servers.scripted import ANSWERS, scripted

# Too long to be held, or of a status that is not.
PASSED = {"beyond", "long", "long-chunked", "long-until-close", "500"}
# Held as long as nobody knows how long they are.
OVERFLOWING = {"long-chunked", "long-until-close"}
BROKEN = {"broken", "broken-chunked"}

GZIP = "gzip on; gzip_min_length 1; gzip_types *; gzip_proxied any;"
BODIES = {"none": b"", "small": b"{}" * 12, "in a file": b"0123456789" * 30_000}

numbers = count()


def content(answer: bytes) -> tuple[bytes, bytes, bool]:
    """Head, decoded body, and whether that ended. nginx may cut the body anywhere, into chunks and for gzip."""
    head, _, body = answer.partition(b"\r\n\r\n")
    is_whole = True
    if b"Transfer-Encoding: chunked" in head and body:
        chunks, rest = [], body
        while rest and chunks[-1:] != [b""]:
            size, _, rest = rest.partition(b"\r\n")
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        body, is_whole = b"".join(chunks), chunks[-1] == b""
    if b"Content-Encoding: gzip" in head and body:
        body = zlib.decompressobj(wbits=31).decompress(body)
    return head, body, is_whole


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("after", ["0", "1", "300"])
async def test_an_answer_is_passed_on_as_it_came(testing_nginx, buffering, after):
    (server,) = free_ports(1)
    port = start(testing_nginx, server, f"after={after}", GZIP)
    variants = [("POST", "", b"{}"), ("GET", "", b""), ("HEAD", "", b""), ("POST", "Accept-Encoding: gzip\r\n", b"{}")]
    async with scripted(server):

        async def one(name: str, method: str, headers: str, body: bytes) -> None:
            number = next(numbers)
            paths = (f"/{kind}/{buffering}/{name}/{number}-{kind}" for kind in ("held", "plain"))
            held, plain = await asyncio.gather(*(raw(port, path, method, body, headers) for path in paths))
            assert content(held) == content(plain), (name, method, headers)
            assert held

        await asyncio.gather(*(one(name, *variant) for name in ANSWERS for variant in variants))
    held = len(ANSWERS) * len(variants) - sum(len(variants) if name == "500" else 0 for name in ANSWERS)
    found = await counts(port)
    # To HEAD, what would be too long has no body; but its length is known.
    assert found["held"] == held - 2 * len(variants)
    assert found["passed"] == found["held"]
    assert found["again"] == found["gone"] == found["timed_out"] == 0


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("after", ["0", "300"])
async def test_a_request_begins_again_with_its_body(testing_nginx, buffering, after):
    (server,) = free_ports(1)
    port = start(testing_nginx, server, f"after={after} again", GZIP)
    async with scripted(server) as upstream:

        async def one(name: str, method: str, body: bytes, chunks: int) -> None:
            path = f"/{name}/{next(numbers)}"
            answer = await raw(port, f"/held/{buffering}{path}", method, body, chunks=chunks)
            if name in PASSED or (name in BROKEN and method != "HEAD"):
                assert upstream.requests[path] == 1
                return
            assert upstream.requests[path] == 2
            head, _, text = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"X-Of:" not in head, (name, method)
            if method != "HEAD":
                told = json.loads(text)
                md5 = hashlib.md5(body).hexdigest()
                assert (told["method"], told["length"], told["md5"]) == (method, len(body), md5), (name, method)

        jobs = [(name, "POST", body, chunks) for name in ANSWERS for body in BODIES.values() for chunks in (0, 5000) if body or not chunks]
        jobs += [(name, method, b"", 0) for name in ANSWERS for method in ("GET", "HEAD", "DELETE") if not (method == "HEAD" and name in OVERFLOWING)]
        await asyncio.gather(*(one(*job) for job in jobs))
        found = await counts(port)
    assert found["again"] and found["again"] + found["passed"] == found["held"]
    assert found["gone"] == found["timed_out"] == 0


async def test_a_request_is_held_once(testing_nginx):
    """Else a server that always says 404 would be asked for ever."""
    (server,) = free_ports(1)
    port = start(testing_nginx, server, "after=0 again")
    seen = []

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            seen.append(1)
            writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\n%d" % len(seen))

    async with await asyncio.start_server(never, "127.0.0.1", server):
        answer = await raw(port, "/held/on/", "GET")
        assert answer.startswith(b"HTTP/1.1 404 ") and answer.endswith(b"\r\n\r\n2")
        await settled(port, held=1, again=1, holding=0)


async def test_an_event_stream_is_not_held(testing_nginx):
    (server,) = free_ports(1)
    port = start(testing_nginx, server, "after=never")
    event = b"data: now\n\n"
    gone = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 No\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n" + event)
        await reader.read(-1)
        writer.close()
        gone.set()

    async with await asyncio.start_server(stream, "127.0.0.1", server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /held/off/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert await reader.readuntil(event)
        writer.close()
        await gone.wait()
    await settled(port, held=0)


async def test_a_body_that_is_passed_on_unread_cannot_begin_again(testing_nginx):
    (server,) = free_ports(1)
    port = start(testing_nginx, server, "after=0 again", "proxy_request_buffering off;")
    async with scripted(server) as upstream:
        answer = await raw(port, "/held/on/whole/unbuffered", body=BODIES["in a file"])
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert upstream.requests["/whole/unbuffered"] == 1
    await settled(port, held=0)


async def test_without_a_verdict_an_answer_is_passed_on_in_time(testing_nginx):
    (server,) = free_ports(1)
    # The time for sending does not count while nothing is to be sent.
    port = start(testing_nginx, server, "after=never timeout=1200", "send_timeout 1s;")
    async with scripted(server) as upstream:
        held = await raw(port, "/held/on/whole/late")
        assert held == await raw(port, "/plain/on/whole/plain")
        assert upstream.requests["/whole/late"] == 1
    await settled(port, held=1, passed=1, timed_out=1)
    # The verdict comes too late.
    assert (await raw(port, "/release", "GET")).endswith(b"\r\n\r\n1\n")
    await settled(port, held=1, passed=1)


async def test_requests_on_one_connection(testing_nginx):
    """Kept, and pipelined: the next request waits until the held answer is sent."""
    (server,) = free_ports(1)
    port = start(testing_nginx, server, "after=1 again")
    async with scripted(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        paths = [f"/{name}/{number}" for number in range(3) for name in ("whole", "500", "chunked")]
        for path in paths:
            writer.write(f"POST /held/on{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        for path in paths:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                text = await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
            if "500" in path:
                assert head.startswith(b"HTTP/1.1 500 ")
            else:
                assert json.loads(text)["path"] == path
        writer.close()
    await settled(port, held=6, again=6, holding=0)


async def test_a_worker_that_quits_sends_its_held_answers(testing_nginx):
    (server,) = free_ports(1)
    port = start(testing_nginx, server, "after=never timeout=700")
    async with scripted(server):
        request = asyncio.create_task(raw(port, "/held/on/whole/quit"))
        await settled(port, holding=1)
        testing_nginx.signal_quit()
        assert (await request).startswith(b"HTTP/1.1 404 ")
    await until(lambda: not testing_nginx.is_running)
