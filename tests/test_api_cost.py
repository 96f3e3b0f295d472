"""What sticky_api costs the worker that answers: it grows with the servers, not with the sessions.

SESSIONS=1000000 fills the larger zone as far as one wants to wait.
"""

import asyncio
import os
from pathlib import Path

from harness.api import Api
from harness.nginx import Nginx
from harness.ports import free_ports

FEW, MANY = 1_000, int(os.environ.get("SESSIONS", 30_000))
SERVERS = 10
ASKED = 1_000
MOST = 5  # milliseconds for an answer


def conf(port: int, ports: list[int], size: str) -> str:
    servers = "".join(f"server 127.0.0.1:{server};" for server in ports)
    backends = "".join(f"listen 127.0.0.1:{server};" for server in ports)
    return f"""
    keepalive_requests 100000000;
    keepalive_time 1d;
    access_log off;
    upstream u {{ zone u 1m; sticky_learn zone=sessions:{size}; {servers} keepalive 64; }}
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


async def test_an_answer_costs_no_more_with_more_sessions(nginx, report):
    port, *ports = free_ports(1 + SERVERS)
    api = Api(port)
    nginx.start(conf(port, ports, f"{max(MANY // 20_000, 1)}m"))
    costs = []
    for sessions in (FEW, MANY):
        have = (await api.get())["zones"]["sessions"]["live"]
        parts = 8
        async with asyncio.TaskGroup() as group:
            for _ in range(parts):
                group.create_task(pipeline(port, "/", (sessions - have) // parts, b"204"))
        live = (await api.get())["zones"]["sessions"]["live"]
        assert live >= sessions * 0.99
        before = cpu(nginx)
        await pipeline(port, "/sticky/", ASKED, b"200")
        costs.append((cpu(nginx) - before) / ASKED)
        report(f"{live:,} sessions on {SERVERS} servers, 2 workers: {costs[-1]:.3f} ms of a worker for an answer")
    few, many = costs
    assert many < MOST
    assert many < 2 * few
