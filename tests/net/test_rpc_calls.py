"""JSON-RPC calls of nginx's own, by `sticky_test_call` of module/testing/: a session of MCP at each kind of server."""

import asyncio
import re

import pytest

from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.sdk import servers
from harness.servers.lines import lines

# The `ping` in the session that has ended, where servers differ.
LOST = {
    "python-1": "ping: 404 error -32600",
    "python-2": "ping: 404 error -32600",
    "typescript": "ping: 404",
    "everything": "ping: 400 error -32000",
}


def call(address: object, parameters: str = "") -> str:
    return f"sticky_test_call {address} {parameters};\n"


async def said(nginx: Nginx, count: int) -> list[str]:
    """What the log says of so many steps."""
    found: list[str] = []

    def are_there() -> bool:
        found[:] = [m[1] for line in nginx.errors() if (m := re.search(r'call of "[^"]*": (.*)', line))]
        return len(found) >= count

    await until(are_there)
    return found


@pytest.mark.parametrize("kind", LOST)
async def test_a_session_at_a_server_of_an_sdk(testing_nginx, kind):
    with servers(kind, 1) as (server,):
        testing_nginx.start(call(server.address), workers=1)
        initialize, initialized, ping, delete, lost = await said(testing_nginx, 5)
    assert (initialize, initialized, ping) == ("initialize: 200 result", "initialized: 202", "ping: 200 result")
    assert re.fullmatch("delete: 20[0-4]", delete)
    assert lost == LOST[kind]


@pytest.mark.parametrize("kind", LOST)
async def test_a_session_that_a_server_does_not_know(testing_nginx, kind):
    with servers(kind, 1) as (server,):
        testing_nginx.start(call(server.address, "session=0123456789abcdef0123456789abcdef"), workers=1)
        assert await said(testing_nginx, 1) == [LOST[kind]]


async def test_the_request(testing_nginx):
    (port,) = free_ports(1)
    heads = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        heads.append((head, await reader.readexactly(length)))
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n')
        # In two segments.
        await writer.drain()
        writer.write(b'{"jsonrpc":"2.0","id":2,"result":{}}')

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        testing_nginx.start(call(f"127.0.0.1:{port}", "uri=/a/b?c session=one"), workers=1)
        assert await said(testing_nginx, 1) == ["ping: 200 result"]
    ((head, body),) = heads
    assert head.startswith(b"POST /a/b?c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)
    assert b"\r\nMcp-Session-Id: one\r\n" in head and b"\r\nConnection: close\r\n" in head
    assert body == b'{"jsonrpc":"2.0","id":2,"method":"ping"}'


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PRIMING, RESULT = b"id: 0\ndata:\n\n", b'event: message\ndata: {"jsonrpc":"2.0","id":2,"result":{}}\n\n'


@pytest.mark.parametrize(
    ("sent", "stays", "result"),
    [
        (STREAM + PRIMING + RESULT, True, "ping: 200 result"),
        (STREAM + PRIMING, False, "ping: 200"),
        (STREAM + PRIMING, True, "ping: timed out while reading answer"),
        (b"", True, "ping: timed out while reading answer"),
        (b"", False, "ping: server closed the connection without a response"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False, "ping: server closed the connection in the response header"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", False,
         "ping: server closed the connection in the response body"),
        (b"SSH-2.0-x\r\n", True, "ping: server sent no HTTP/1 response"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", True, "ping: 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n" + b" " * 99999, True,
         "ping: server sent a response body of more than 64 KiB"),
    ],
)  # fmt: skip
async def test_answers(testing_nginx, sent, stays, result):
    (port,) = free_ports(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(sent)
        if stays:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        testing_nginx.start(call(f"127.0.0.1:{port}", "session=one timeout=300"), workers=1)
        assert await said(testing_nginx, 1) == [result]


async def test_a_server_that_refuses(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(call(f"127.0.0.1:{port}", "session=one"), workers=1)
    assert await said(testing_nginx, 1) == ["ping: connect() failed (111: Connection refused)"]


async def test_a_worker_that_exits_does_not_wait_for_an_answer(testing_nginx):
    (port,) = free_ports(1)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with lines(("127.0.0.1", port), silent) as server:
        testing_nginx.start(call(f"127.0.0.1:{port}", "session=one timeout=3600000"), workers=1)
        await until(lambda: server.open == 1)
        testing_nginx.signal_quit()
        await until(lambda: not testing_nginx.is_running)
    assert not any("call of" in line for line in testing_nginx.errors())
