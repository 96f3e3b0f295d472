"""The cost of sticky_api for the worker that answers: it grows with the number of servers, not of sessions.
Instructions are counted, since times depend on the machine.

SESSIONS=1000000 sets how many sessions the larger zone gets.
"""

import asyncio
import os

import pytest

from harness.clients.api import Api
from harness.instructions import counted, needs_callgrind, total
from harness.nginx import Nginx
from harness.ports import free_ports

pytestmark = [needs_callgrind, pytest.mark.alone]

FEW, MANY = 500, int(os.environ.get("SESSIONS", 10_000))
SERVERS = 10
GROWTH = (100, 1_000)  # servers
ASKED = 5
MOST = {"json": 16_000, "prometheus": 32_000}  # instructions for each server of a long answer


def conf(port: int, addresses: list[str], size: str) -> str:
    servers = "".join(f"server {address};" for address in addresses)
    backends = "".join(f"listen {address};" for address in addresses)
    return f"""
    keepalive_requests 100000000;
    keepalive_time 1d;
    access_log off;
    upstream u {{ zone u 8m; sticky_learn zone=sessions:{size}; {servers} keepalive 64; }}
    server {{ {backends} add_header Mcp-Session-Id $request_id; location / {{ return 204; }} }}
    server {{
        listen 127.0.0.1:{port};
        location /sticky/ {{ sticky_api; }}
        location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
    """


async def pipeline(port: int, path: str, count: int, status: bytes) -> None:
    """Sends a number of requests over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    line = b"HTTP/1.1 " + status
    answered, rest = 0, b""
    while answered < count:
        batch = min(100, count - answered)
        writer.write(request * batch)
        while batch:
            came = await reader.read(1 << 20)
            assert came, "nginx has closed the connection"
            data = rest + came
            found = data.count(line)
            batch -= found
            answered += found
            rest = data[-len(line) + 1 :]
    writer.close()


async def cost(nginx: Nginx, addresses: list[str], size: str, sessions: int, forms: list[str]) -> list[int]:
    """Instructions for an answer in each form."""
    (port,) = free_ports(1)
    async with counted(nginx, conf(port, addresses, size), port) as counter:
        await pipeline(port, "/", sessions, b"204")
        zone = (await Api(port).get())["zones"]["sessions"]
        assert zone["live"] >= sessions * 0.99
        assert len(zone["servers"]) == len(addresses)
        found = []
        for form in forms:
            path = f"/sticky/?format={form}"
            await pipeline(port, path, 1, b"200")
            found.append(total(await counter.during(pipeline(port, path, ASKED, b"200"))) // ASKED)
        return found


async def test_an_answer_costs_no_more_with_more_sessions(new_nginx, report):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(SERVERS)]
    size = f"{max(MANY // 20_000, 1)}m"
    (few,), (many,) = [await cost(new_nginx(), addresses, size, sessions, ["json"]) for sessions in (FEW, MANY)]
    report(f"{SERVERS} servers, {FEW:,} sessions: {few:,} instructions for an answer; {MANY:,}: {many:,}")
    # Some numbers have one digit more.
    assert many < 1.1 * few


async def test_an_answer_grows_with_the_servers(new_nginx, report):
    found = []
    for servers in GROWTH:
        (backend,) = free_ports(1)
        addresses = [f"127.1.{number // 250}.{number % 250 + 1}:{backend}" for number in range(servers)]
        found.append(await cost(new_nginx(), addresses, "16m", 2 * servers, list(MOST)))
    for form, some, many in zip(MOST, *found):
        report(f"as {form}, for {GROWTH[0]:,} servers: {some:,} instructions; for {GROWTH[1]:,}: {many:,}")
        assert many < MOST[form] * GROWTH[1]
        # Ten times as many servers cost ten times as much.
        assert many < 1.1 * some * GROWTH[1] / GROWTH[0]
