"""SIGKILL to all of nginx at random moments under load, again and again: what a client was told, the next nginx knows.

SESSIONS=1000000 KILLS=50 sets how many.
"""

import asyncio
import os
import random
import time

import pytest

from harness.patience import until
from harness.ports import free_ports

SESSIONS, KILLS = int(os.environ.get("SESSIONS", 10_000)), int(os.environ.get("KILLS", 10))
SAMPLE = 10_000
CLIENTS, BATCH = 16, 50

pytestmark = pytest.mark.alone


COMMON = """
    keepalive_requests 100000000;
    keepalive_time 1d;
    access_log off;
"""


def servers_http(ports: list[int]) -> str:
    """Each says which it is, and issues an id where there is none."""
    sockets = "".join(f"listen 127.0.0.1:{port};" for port in ports)
    return f"""{COMMON}
    map $http_mcp_session_id $issued {{ "" $request_id; default ""; }}
    server {{
        {sockets}
        add_header Mcp-Session-Id $issued;
        add_header X-Server $server_port;
        location / {{ return 204; }}
    }}
    """


def http(port: int, ports: list[int]) -> str:
    servers = "".join(f"server 127.0.0.1:{server};" for server in ports)
    return f"""{COMMON}
    upstream u {{
        zone u 64k;
        sticky_learn zone=sessions:{max(1, SESSIONS // 20_000)}m file=store/sessions;
        {servers}
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
    """


def fields(head: bytes) -> dict[bytes, bytes]:
    return dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)


async def ask(port: int, ids: list[bytes | None], answered) -> None:
    """Sends requests over one connection, and calls `answered` for each whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            lines = (b"Mcp-Session-Id: " + id + b"\r\n" if id else b"" for id in batch)
            writer.write(b"".join(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n" for line in lines))
            for id in batch:
                answered(id, await reader.readuntil(b"\r\n\r\n"))
    finally:
        writer.close()


async def test_what_a_client_was_told_is_known(nginx, new_nginx, report):
    (port, *others) = free_ports(4)
    known: dict[bytes, bytes] = {}
    ids: list[bytes] = []
    lost, moved, starts = 0, 0, []
    each = SESSIONS // KILLS

    def learned(_: bytes | None, head: bytes) -> None:
        answer = fields(head)
        assert answer[b"x-sticky"] == b"new", head
        known[answer[b"mcp-session-id"]] = answer[b"x-server"]
        ids.append(answer[b"mcp-session-id"])

    def found(id: bytes | None, head: bytes) -> None:
        nonlocal lost, moved
        answer = fields(head)
        lost += answer[b"x-sticky"] != b"hit"
        moved += answer[b"x-sticky"] == b"hit" and answer[b"x-server"] != known[id]

    async def load() -> None:
        """Sessions begin until nginx is killed."""
        try:
            while True:
                await ask(port, [None] * 2_000, learned)
        except (OSError, asyncio.IncompleteReadError):
            pass

    async def check(sample: list[bytes]) -> None:
        parts = [sample[number::CLIENTS] for number in range(CLIENTS)]
        await asyncio.gather(*(ask(port, part, found) for part in parts))

    new_nginx().start(servers_http(others))
    nginx.start(http(port, others))
    for number in range(1, KILLS + 1):
        clients = [asyncio.ensure_future(load()) for _ in range(CLIENTS)]
        await until(lambda number=number: len(ids) >= number * each, patience=600)
        await asyncio.sleep(random.uniform(0, 0.05))
        await asyncio.to_thread(nginx.kill_all)
        await asyncio.gather(*clients)
        begun = time.monotonic()
        await asyncio.to_thread(nginx.start_again)
        starts.append(time.monotonic() - begun)
        await check(random.sample(ids, min(SAMPLE, len(ids))))
    await check(ids)
    report(
        f"{KILLS} kills, {len(ids):,} sessions: {lost} lost, {moved} moved; a start takes at most {max(starts):.2f} s"
    )
    assert (lost, moved) == (0, 0)
