"""What sticky_api costs the worker that answers: it grows as the servers do, not with the sessions.

SESSIONS=1000000 fills the larger zone as far as one wants to wait.
"""

import asyncio
import os
from pathlib import Path
from statistics import median

import pytest

from harness.clients.api import Api
from harness.nginx import Nginx
from harness.ports import free_ports

FEW, MANY = 1_000, int(os.environ.get("SESSIONS", 30_000))
SERVERS = 10
GROWTH = (100, 1_000)  # servers
ROUNDS, ASKED = 15, 200
MOST = 5  # milliseconds for an answer

pytestmark = pytest.mark.alone


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
    """So many requests, all over one connection."""
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
    await asyncio.sleep(0.1)  # what a worker has used is counted when it sleeps again
    writer.close()


def cpu(nginx: Nginx) -> float:
    """Milliseconds of processor time of all workers."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in nginx.workers) / 1e6


async def costs(running: list[tuple[Nginx, int]], form: str, asked: int = ASKED) -> list[float]:
    """Milliseconds for an answer of each; in turns, so that what else this machine does weighs on all."""
    found: list[list[float]] = [[] for _ in running]
    for _ in range(ROUNDS):
        for (nginx, port), its in zip(running, found):
            before = cpu(nginx)
            await pipeline(port, f"/sticky/?format={form}", asked, b"200")
            its.append((cpu(nginx) - before) / asked)
    return list(map(median, found))


async def test_an_answer_costs_no_more_with_more_sessions(new_nginx, report):
    running = []
    for sessions in (FEW, MANY):
        port, *ports = free_ports(1 + SERVERS)
        nginx = new_nginx()
        nginx.start(conf(port, [f"127.0.0.1:{server}" for server in ports], f"{max(MANY // 20_000, 1)}m"))
        parts = 8
        async with asyncio.TaskGroup() as group:
            for _ in range(parts):
                group.create_task(pipeline(port, "/", sessions // parts, b"204"))
        assert (await Api(port).get())["zones"]["sessions"]["live"] >= sessions * 0.99
        running.append((nginx, port))
    few, many = await costs(running, "json")
    report(f"{SERVERS} servers, {FEW:,} sessions: {few:.3f} ms of a worker for an answer; {MANY:,}: {many:.3f} ms")
    assert many < MOST
    assert many < 2 * few


@pytest.mark.parametrize("form", ["json", "prometheus"])
async def test_an_answer_grows_with_the_servers(new_nginx, report, form):
    running = []
    for servers in GROWTH:
        port, backend = free_ports(2)
        nginx = new_nginx()
        addresses = [f"127.1.{number // 250}.{number % 250 + 1}:{backend}" for number in range(servers)]
        nginx.start(conf(port, addresses, "16m"))
        await pipeline(port, "/", 2 * servers, b"204")
        zone = (await Api(port).get())["zones"]["sessions"]
        assert len(zone["servers"]) == servers
        running.append((nginx, port))
    some, many = await costs(running, form, ASKED // 5)
    report(f"as {form}, for {GROWTH[0]:,} servers: {some:.3f} ms of a worker; for {GROWTH[1]:,}: {many:.3f} ms")
    assert many < MOST
    # Ten times as many cost about ten times as much.
    assert many < 20 * some
