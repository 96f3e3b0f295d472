"""MCP mode over HTTP/2 and HTTP/3: the same answers, and the same is learned."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from harness.clients.http import Response
from harness.clients.multiplex import Client, http2, http3
from harness.nginx import BINARY, HTTP2_ON, Nginx, was_built_with
from harness.patience import until
from harness.ports import free_ports
from harness.tls import Authority

VERSIONS = {"HTTP/2.0": (http2, "--with-http_v2_module"), "HTTP/3.0": (http3, "--with-http_v3_module")}

SERVERS = ["amber", "birch", "cedar"]
SESSIONS = 60
PENDING = 20
LARGE = b" " * 5_000  # half a message

NOT_FOUND = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'
UNAVAILABLE = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"Session temporarily unavailable"}}'


def backend(name: str, port: int) -> str:
    """A server that opens a session for whoever has none, announces one in a stream, or begins a task."""
    return f"""
    server {{
        listen 127.0.0.1:{port};
        add_header X-Replica {name} always;
        add_header Mcp-Session-Id $opened;
        location = /mcp {{ return 200 '{{}}'; }}
        location = /sse {{
            default_type text/event-stream;
            return 200 "event: endpoint\\ndata: /messages?sessionId=$request_id\\n\\n";
        }}
        location = /messages {{ return 202; }}
        location = /task {{
            default_type application/json;
            return 200 '{{"result":{{"resultType":"task","taskId":"$request_id","ttlMs":null}}}}';
        }}
    }}
    """


def conf(nginx: Nginx, version: str, port: int, ports: list[int]) -> str:
    def servers(parameter: str) -> str:
        return "".join(f"server 127.0.0.1:{port} {parameter};" for port in ports)

    if version == "HTTP/3.0":
        listen = f"listen 127.0.0.1:{port} quic reuseport;"
    elif nginx.version < HTTP2_ON:
        listen = f"listen 127.0.0.1:{port} ssl http2;"
    else:
        listen = f"listen 127.0.0.1:{port} ssl; http2 on;"
    return f"""
    log_format protocol '$server_protocol $request_method $status $upstream_sticky_status';
    map "$uri $http_mcp_session_id" $opened {{ "/mcp " $request_id; default ""; }}
    upstream mcp {{ zone mcp 64k; sticky_learn zone=sessions:1m; {servers("")} }}
    upstream away {{ zone away 64k; sticky_learn zone=sessions; {servers("down")} }}
    {"".join(map(backend, SERVERS, ports))}
    server {{
        {listen}
        ssl_certificate {nginx.home}/front.pem;
        ssl_certificate_key {nginx.home}/front.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        access_log protocol.log protocol;
        client_body_buffer_size 64k;
        location / {{ proxy_pass http://mcp; }}
        location = /unbuffered {{ proxy_pass http://mcp/mcp; proxy_http_version 1.1; proxy_request_buffering off; }}
        location = /away {{ proxy_pass http://away/mcp; }}
        location = /page {{ proxy_pass http://mcp/mcp; error_page 404 /sorry; }}
        location = /sorry {{ internal; return 404 sorry; }}
    }}
    """


@dataclass
class Front:
    version: str
    connect: Callable[[], AbstractAsyncContextManager[Client]]
    nginx: Nginx

    async def logged(self, count: int) -> Counter[str]:
        """What the access log has once it has so many lines, which are written when requests have ended."""
        log = self.nginx.home / "protocol.log"
        await until(lambda: log.read_text().count("\n") >= count)
        lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
        assert {version for version, _ in lines} == {self.version}
        return Counter(rest for _, rest in lines)


@pytest.fixture(params=VERSIONS)
def front(request: pytest.FixtureRequest, nginx: Nginx) -> Front:
    connect, option = VERSIONS[request.param]
    if not was_built_with(BINARY, option):
        pytest.skip(f"nginx has no {request.param}")
    authority = Authority(nginx.home, "ca")
    authority.issue("front", "localhost")
    port, *ports = free_ports(1 + len(SERVERS))
    nginx.start(conf(nginx, request.param, port, ports))
    return Front(request.param, lambda: connect(port, nginx.home / "ca.pem"), nginx)


def check_rejected(response: Response, status: int, sticky: str, body: bytes) -> None:
    assert (response.status, response.sticky, response.body) == (status, sticky, body)
    assert response.text("content-type") == "application/json"
    assert response.text("content-length") == str(len(body))


async def test_sessions_are_kept_and_ended(front, report):
    async with front.connect() as one, front.connect() as other:
        opened = await asyncio.gather(*(one.send_whole("POST", "/mcp", body=b"{}") for _ in range(SESSIONS)))
        assert {(first.status, first.sticky) for first in opened} == {(200, "NEW")}
        assert {first.replica for first in opened} == set(SERVERS)
        again = await asyncio.gather(*(other.send_whole("POST", "/mcp", first.id, body=b"{}") for first in opened))
        for first, response in zip(opened, again):
            assert (response.status, response.sticky, response.replica) == (200, "HIT", first.replica)
        ended = await one.send_whole("DELETE", "/mcp", opened[0].id)
        assert (ended.status, ended.replica) == (200, opened[0].replica)
        check_rejected(await other.send_whole("POST", "/mcp", opened[0].id, body=b"{}"), 404, "UNKNOWN", NOT_FOUND)
        assert (await other.send_whole("POST", "/mcp", opened[1].id, body=b"{}")).sticky == "HIT"
    log = await front.logged(2 * SESSIONS + 3)
    assert log == {"POST 200 NEW": SESSIONS, "POST 200 HIT": SESSIONS + 1, "DELETE 200 HIT": 1, "POST 404 UNKNOWN": 1}
    report(f"{front.version}: {SESSIONS} sessions over {len(SERVERS)} servers, none misrouted")


async def test_rejections(front):
    async with front.connect() as client:
        first = await client.send_whole("POST", "/mcp", body=b"{}")
        check_rejected(await client.send_whole("POST", "/mcp", b"stranger", body=b"{}"), 404, "UNKNOWN", NOT_FOUND)
        away = await client.send_whole("POST", "/away", first.id, body=b"{}")
        check_rejected(away, 503, "UNAVAILABLE", UNAVAILABLE)
        assert int(away.text("retry-after")) > 0
        head = await client.send_whole("HEAD", "/mcp", b"stranger")
        assert (head.status, head.text("content-length"), head.body) == (404, str(len(NOT_FOUND)), b"")
        page = await client.send_whole("POST", "/page", b"stranger", body=b"{}")
        assert (page.status, page.body) == (404, b"sorry")
        # The connection has lasted longer than all of them.
        assert (await client.send_whole("GET", "/mcp", first.id)).sticky == "HIT"
    log = await front.logged(6)
    assert log == {
        "POST 200 NEW": 1,
        "POST 404 UNKNOWN": 1,
        "POST 503 UNAVAILABLE": 1,
        "HEAD 404 UNKNOWN": 1,
        "GET 404 UNKNOWN": 1,  # the page
        "GET 200 HIT": 1,
    }


async def test_a_rejected_request_may_have_a_body_pending(front):
    async with front.connect() as client:
        first = await client.send_whole("POST", "/mcp", body=b"{}")
        pending = [client.request("POST", "/mcp", b"stranger", body=LARGE, end=False) for _ in range(PENDING)]
        assert (await client.send_whole("POST", "/mcp", first.id, body=LARGE)).sticky == "HIT"
        for exchange in pending:
            exchange.send(LARGE, end=True)
            check_rejected(await exchange.whole(), 404, "UNKNOWN", NOT_FOUND)
        assert (await client.send_whole("POST", "/mcp", first.id, body=LARGE)).sticky == "HIT"
    log = await front.logged(PENDING + 3)
    assert log == {"POST 200 NEW": 1, "POST 200 HIT": 2, "POST 404 UNKNOWN": PENDING}


async def test_unbuffered_a_body_that_is_pending_may_be_an_initialize(front):
    """nginx does not wait for it: the server decides."""
    async with front.connect() as client:
        first = await client.send_whole("POST", "/mcp", body=b"{}")
        pending = [client.request("POST", "/unbuffered", b"stranger", body=LARGE, end=False) for _ in range(PENDING)]
        for exchange in pending:
            head = await exchange.head()
            assert (head.status, head.sticky) == (200, "UNKNOWN")
            if not exchange.refused:
                exchange.send(LARGE, end=True)
            await exchange.whole()
        assert (await client.send_whole("POST", "/mcp", first.id, body=LARGE)).sticky == "HIT"
    log = await front.logged(PENDING + 2)
    assert log == {"POST 200 NEW": 1, "POST 200 HIT": 1, "POST 200 UNKNOWN": PENDING}


async def test_bodies_teach(front):
    """The endpoint event of HTTP+SSE, and a task of 2026-07-28."""
    stateless = ("MCP-Protocol-Version", "2026-07-28")
    async with front.connect() as client:
        for _ in SERVERS:
            stream = client.request("GET", "/sse", headers=[("Accept", "text/event-stream")])
            uri = (await stream.event()).rpartition(b"data: ")[2].decode()
            posted = await client.send_whole("POST", uri, body=b"{}")
            assert (posted.status, posted.sticky, posted.replica) == (202, "HIT", (await stream.head()).replica)

            call = [stateless, ("Mcp-Method", "tools/call"), ("Mcp-Name", "slow")]
            task = await client.send_whole("POST", "/task", headers=call, body=b"{}")
            id = task.body.partition(b'"taskId":"')[2].partition(b'"')[0]
            poll = [stateless, ("Mcp-Method", "tasks/get"), ("Mcp-Name", id)]
            polled = await client.send_whole("POST", "/mcp", headers=poll, body=b"{}")
            assert (polled.status, polled.sticky, polled.replica) == (200, "HIT", task.replica)
