"""What sticky_api costs the worker that answers: it grows as the servers do, not with the sessions.

SESSIONS=1000000 fills the larger zone as far as one wants to wait.
"""

import asyncio
import os
from pathlib import Path

import pytest

from harness.api import Api
from harness.nginx import Nginx
from harness.ports import free_ports

FEW, MANY = 1_000, int(os.environ.get("SESSIONS", 30_000))
SERVERS = 10
GROWTH = (10, 100, 1_000)  # servers
ASKED = 1_000
MOST = 5  # milliseconds for an answer


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
            data = rest + await reader.read(1 << 20)
            found = data.count(line)
            batch -= found
            answered += found
            rest = data[-len(line) + 1 :]
    await asyncio.sleep(0.2)
    writer.close()


def cpu(nginx: Nginx) -> float:
    """Milliseconds of processor time of all workers."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in nginx.workers) / 1e6


async def cost(nginx: Nginx, port: int, form: str, asked: int = ASKED) -> float:
    """Milliseconds for an answer."""
    before = cpu(nginx)
    await pipeline(port, f"/sticky/?format={form}", asked, b"200")
    return (cpu(nginx) - before) / asked


async def test_an_answer_costs_no_more_with_more_sessions(nginx, report):
    port, *ports = free_ports(1 + SERVERS)
    api = Api(port)
    nginx.start(conf(port, [f"127.0.0.1:{server}" for server in ports], f"{max(MANY // 20_000, 1)}m"))
    costs = []
    for sessions in (FEW, MANY):
        have = (await api.get())["zones"]["sessions"]["live"]
        parts = 8
        async with asyncio.TaskGroup() as group:
            for _ in range(parts):
                group.create_task(pipeline(port, "/", (sessions - have) // parts, b"204"))
        live = (await api.get())["zones"]["sessions"]["live"]
        assert live >= sessions * 0.99
        costs.append(await cost(nginx, port, "json"))
        report(f"{live:,} sessions on {SERVERS} servers, 2 workers: {costs[-1]:.3f} ms of a worker for an answer")
    few, many = costs
    assert many < MOST
    assert many < 2 * few


@pytest.mark.parametrize("form", ["json", "prometheus"])
async def test_an_answer_grows_with_the_servers(new_nginx, report, form):
    costs = []
    for servers in GROWTH:
        port, backend = free_ports(2)
        nginx = new_nginx()
        addresses = [f"127.1.{number // 250}.{number % 250 + 1}:{backend}" for number in range(servers)]
        nginx.start(conf(port, addresses, "16m"))
        await pipeline(port, "/", 2 * servers, b"204")
        zone = (await Api(port).get())["zones"]["sessions"]
        assert len(zone["servers"]) == servers
        # Whatever else this machine does makes it more, never less.
        costs.append(min([await cost(nginx, port, form, ASKED // 10) for _ in range(3)]))
        report(f"{servers:,} servers, as {form}: {costs[-1]:.3f} ms of a worker for an answer")
        nginx.stop()
    _, some, many = costs
    assert many < MOST
    # Ten times as many cost about ten times as much.
    assert many < 20 * some
