"""An initialize is never rejected for an id that it carries: real clients that come back, and bodies of every kind."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harness.clients.http import Response, parse
from harness.clients.multiplex import Client, http2, http3
from harness.conf import listen, upstream
from harness.nginx import BINARY, HTTP2_ON, UNREACHABLE, was_built_with
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.sdk import FRONT, Returning, servers
from harness.tls import Authority

STICKY = "sticky_learn zone=sessions:1m;"
READ = 64 * 1024
LARGE = 2_000_000
SLOW = 1_000

NOT_FOUND = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'


def message(method: str, size: int = 0) -> bytes:
    """A request of that many bytes whose method is its last member."""
    head, tail = b'{"jsonrpc":"2.0","id":1,"params":{"x":"', b'"},"method":"%s"}' % method.encode()
    return head + b"x" * (size - len(head) - len(tail)) + tail


def early(size: int) -> bytes:
    """An initialize of that many bytes whose method is its first member."""
    head, tail = b'{"method":"initialize","params":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


# Clients of the SDKs

# Lines about a server that was killed, with streams open.
KILLED = [
    UNREACHABLE,
    r"connect\(\) failed",
    "upstream prematurely closed connection",
    "upstream server temporarily disabled",
]


@pytest.mark.parametrize("client", ["python-1", "python-2", "typescript"])
@pytest.mark.parametrize("lost", ["forgotten", "unreachable"])
async def test_clients_come_back_with_an_old_id(new_nginx, client, lost):
    """Either nginx does not know the id, since it was restarted as well, or its server cannot be reached."""
    (port,) = free_ports(1)
    with servers("lenient", 2) as both:
        conf = upstream("mcp", both, STICKY) + listen(port, "mcp", FRONT)
        nginx = new_nginx()
        nginx.allowed += KILLED
        nginx.start(conf)
        async with Returning(client, port) as returning:
            old = next(server for server in both if server.name == returning.first["replica"])
            old.kill()
            if lost == "forgotten":
                old.start()
                old.wait()
                nginx.stop()
                nginx = new_nginx()
                nginx.start(conf)
            again = await returning.again()
        assert again["refused"]
        assert again["id"] and again["id"] != returning.first["id"]
        if lost == "unreachable":
            assert again["replica"] != old.name
    statuses = [line.split('"')[1] for line in nginx.access()]
    assert statuses.count("NEW") == (1 if lost == "forgotten" else 2)
    assert statuses[-1] == "HIT"


# Bodies


class Echo:
    """A server that opens a session and answers with length and digest of the body."""

    def __init__(self):
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        self.heads = 0
        self.requests = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        self.heads += 1
        body = b""
        if b"transfer-encoding: chunked" in head:
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        elif b"content-length:" in head:
            body = await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        self.requests += 1
        text = digest(body)
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nMcp-Session-Id: s-%d\r\nContent-Length: %d\r\n\r\n%s"
            % (self.requests, len(text), text)
        )
        writer.close()


def digest(body: bytes) -> bytes:
    return b"%d %s" % (len(body), hashlib.sha256(body).hexdigest().encode())


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    made = Echo()
    async with await asyncio.start_server(made.answer, "127.0.0.1", made.port, limit=2**22):
        yield made


class Post:
    """A POST with an unknown id on a connection of its own, whose body is sent bit by bit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def interim(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> Response:
        async with asyncio.timeout(PATIENCE):
            response = parse((await self._reader.readuntil(b"\r\n\r\n"))[:-4])
            response.body = await self._reader.readexactly(int(response.headers["content-length"]))
            return response

    async def rest(self) -> bytes:
        """All that comes until nginx closes the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def post(port: int, framing: str, body: bytes = b"", path: str = "/mcp", id: str = "old") -> AsyncIterator[Post]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {id}\r\n{framing}\r\n\r\n"
    writer.write(head.encode() + body)
    made = Post(reader, writer)
    try:
        yield made
    finally:
        made.close()


async def posted(port: int, body: bytes, path: str = "/mcp") -> Response:
    async with post(port, f"Content-Length: {len(body)}", body, path) as exchange:
        return await exchange.answer()


def conf(server: Echo, port: int, directives: str = "") -> str:
    return f"""
    upstream mcp {{ {STICKY} server {server.address}; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 4m;
        {directives}
        location / {{ proxy_pass http://mcp; }}
        location /small/ {{ client_body_buffer_size 1k; proxy_pass http://mcp; }}
        location /large/ {{ client_body_buffer_size 4m; proxy_pass http://mcp; }}
        location /file/ {{ client_body_in_file_only clean; proxy_pass http://mcp; }}
        location /unbuffered/ {{ proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://mcp; }}
        location /named/ {{ set $name mcp; proxy_pass http://$name; }}
    }}
    """


def check_rejected(response: Response) -> None:
    assert (response.status, response.sticky, response.body) == (404, "UNKNOWN", NOT_FOUND)


def check_new(response: Response, body: bytes) -> None:
    assert (response.status, response.sticky, response.body) == (200, "NEW", digest(body))


# In small buffers and the temporary file nginx says so.
FILED = r"\[warn\] .* a client request body is buffered to a temporary file"


@pytest.mark.parametrize("path", ["/mcp", "/small/", "/large/", "/file/", "/unbuffered/", "/named/"])
async def test_the_body_arrives_whole(nginx, path):
    nginx.allowed.append(FILED)
    (port,) = free_ports(1)
    async with echo() as server:
        nginx.start(conf(server, port))
        for body in [message("initialize"), message("initialize", 60_000), early(READ), early(READ + 1), early(LARGE)]:
            check_new(await posted(port, body, path), body)
        for body in [message("ping"), message("ping", 60_000)]:
            if path != "/unbuffered/":
                check_rejected(await posted(port, body, path))
        assert server.requests == 5


@pytest.mark.parametrize("path", ["/mcp", "/small/", "/large/", "/file/"])
@pytest.mark.parametrize("framing", [f"Content-Length: {LARGE}", "Transfer-Encoding: chunked"])
async def test_the_end_of_a_large_body_is_not_waited_for(nginx, path, framing):
    nginx.allowed.append(FILED)
    (port,) = free_ports(1)
    body = message("initialize", LARGE)
    chunked = "chunked" in framing
    async with echo() as server:
        nginx.start(conf(server, port))
        async with post(port, framing, path=path) as exchange:
            part = body[:READ]
            exchange.send(b"%x\r\n%s" % (LARGE, part) if chunked else part)
            answer = await exchange.answer()
            check_rejected(answer)
            assert answer.text("connection") == "close"
        # One byte less is waited for.
        async with post(port, framing, path=path) as exchange:
            part = body[: READ - 1]
            exchange.send(b"%x\r\n%s" % (LARGE, part) if chunked else part)
            check_new(await posted(port, message("initialize")), message("initialize"))
            exchange.send(b"x")
            check_rejected(await exchange.answer())
        assert server.requests == 1


async def test_error_page_gets_the_whole_body_also_of_what_nobody_has_answered(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.allowed.append(FILED)
    async with echo() as server:
        testing_nginx.start(f"""
        upstream mcp {{ {STICKY} sticky_test_answer after=0 failed; server {server.address}; }}
        server {{
            listen 127.0.0.1:{port};
            client_max_body_size 4m;
            location / {{ error_page 503 = @other; proxy_pass http://mcp; }}
            location @other {{ proxy_pass http://{server.address}; }}
        }}
        """)
        for size in [1_000, READ, LARGE]:
            body = message("ping", size)
            answer = await posted(port, body)
            assert (answer.status, answer.sticky, answer.body) == (200, "UNAVAILABLE", digest(body))


async def test_expect_100_continue(nginx):
    (port,) = free_ports(1)
    async with echo() as server:
        nginx.start(conf(server, port))
        for method in ["initialize", "ping"]:
            body = message(method)
            async with post(port, f"Content-Length: {len(body)}\r\nExpect: 100-continue") as exchange:
                assert (await exchange.interim()).startswith(b"HTTP/1.1 100 ")
                exchange.send(body)
                answer = await exchange.answer()
                check_new(answer, body) if method == "initialize" else check_rejected(answer)


async def test_a_kept_connection_goes_on(nginx):
    """A body that was read whole leaves the connection open, also after a rejection."""
    (port,) = free_ports(1)
    async with echo() as server:
        nginx.start(conf(server, port))
        body = message("ping", 5_000)
        async with post(port, f"Content-Length: {len(body)}", body) as exchange:
            check_rejected(await exchange.answer())
            body = message("initialize", 5_000)
            head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: old\r\nContent-Length: {len(body)}\r\n\r\n"
            exchange.send(head.encode() + body)
            check_new(await exchange.answer(), body)


async def test_without_buffering_only_what_has_arrived_counts(nginx):
    (port,) = free_ports(1)
    async with echo() as server:
        nginx.start(conf(server, port))
        for method in ["initialize", "ping"]:
            body = message(method)
            length = f"Content-Length: {len(body)}"
            whole = await posted(port, body, "/unbuffered/")
            check_new(whole, body) if method == "initialize" else check_rejected(whole)
            before = server.heads
            async with post(port, length, body[:10], "/unbuffered/") as exchange:
                # The server has got the head before nginx has got the rest.
                await until(lambda: server.heads > before)
                exchange.send(body[10:])
                answer = await exchange.answer()
            assert (answer.status, answer.body) == (200, digest(body))


async def test_1000_slow_posts_with_random_ids(nginx):
    """Everybody else is served meanwhile; nginx's own time limit ends them."""
    (port,) = free_ports(1)
    body = message("initialize")
    async with echo() as server:
        nginx.start(conf(server, port, "client_body_timeout 20s;"))
        slow = [post(port, f"Content-Length: {len(body)}", body[:20], id=f"random-{number}") for number in range(SLOW)]
        exchanges = await asyncio.gather(*(one.__aenter__() for one in slow))
        for number in range(1, 21):
            new = await posted(port, body)
            check_new(new, body)
            assert new.id == b"s-%d" % number
        for exchange in exchanges[: SLOW // 2]:
            exchange.send(body[20:])
        for exchange in exchanges[: SLOW // 2]:
            check_new(await exchange.answer(), body)
        # Half of them never send the rest.
        for exchange in exchanges[SLOW // 2 :]:
            assert await exchange.rest() == b""
        for one in slow:
            await one.__aexit__(None, None, None)
    assert sum(" 408 " in line for line in nginx.access()) == SLOW // 2


# HTTP/2 and HTTP/3


@pytest.mark.parametrize(("version", "option"), [("2", "--with-http_v2_module"), ("3", "--with-http_v3_module")])
@pytest.mark.parametrize("path", ["/mcp", "/small/", "/large/", "/unbuffered/"])
async def test_over(nginx, version, option, path):
    if not was_built_with(BINARY, option):
        pytest.skip(f"nginx has no HTTP/{version}")
    nginx.allowed.append(FILED)
    (port,) = free_ports(1)
    authority = Authority(nginx.home, "ca")
    authority.issue("front", "localhost")
    tls = f"""
    ssl_certificate {nginx.home}/front.pem;
    ssl_certificate_key {nginx.home}/front.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    """
    listens = f"listen 127.0.0.1:{port}"
    if version == "3":
        front = f"{listens} quic reuseport;"
    else:
        front = f"{listens} ssl http2;" if nginx.version < HTTP2_ON else f"{listens} ssl; http2 on;"
    async with echo() as server:
        nginx.start(conf(server, port, tls).replace(f"{listens};", front))
        connect = http2 if version == "2" else http3
        async with connect(port, nginx.home / "ca.pem") as client:
            for body in [message("initialize"), message("initialize", 30_000), early(60_000), early(LARGE)]:
                check_new(await whole(client, path, body), body)
            if path != "/unbuffered/":
                check_rejected(await whole(client, path, message("ping", 30_000)))
                # Of a body without an end, 64 KiB have arrived.
                endless = client.request("POST", path, b"old", end=False)
                await endless.send_all(message("initialize", LARGE)[: READ + 16_000], end=False)
                check_rejected(await endless.whole())
            # The connection has lasted longer.
            check_new(await whole(client, path, message("initialize")), message("initialize"))
        assert server.requests == 5


async def whole(client: Client, path: str, body: bytes) -> Response:
    exchange = client.request("POST", path, b"old", headers=[("Content-Length", str(len(body)))], end=False)
    await exchange.send_all(body, end=True)
    return await exchange.whole()
