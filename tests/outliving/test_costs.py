"""What a file costs: instructions of a request and of a start, with few sessions and with many.

SESSIONS=1000000 sets how many sessions the fuller zone gets.
"""

import asyncio
import os

import pytest

from harness.clients.single import Client
from harness.instructions import counted, needs_callgrind, of_object
from harness.nginx import MODULE
from harness.ports import free_ports

pytestmark = [needs_callgrind, pytest.mark.alone]

FEW, MANY = 200, int(os.environ.get("SESSIONS", 5_000))
HITS = 100


def http(port: int, backends: list[str], file: str) -> str:
    servers = "".join(f"server {address};" for address in backends)
    sockets = "".join(f"listen {address};" for address in backends)
    return f"""
    keepalive_requests 100000000;
    keepalive_time 1d;
    access_log off;
    upstream u {{ zone u 64k; sticky_learn zone=sessions:{max(1, MANY // 20_000)}m {file}; {servers} keepalive 64; }}
    map $http_mcp_session_id $new_id {{ "" $request_id; }}
    server {{ {sockets} add_header Mcp-Session-Id $new_id; location / {{ return 204; }} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
    """


async def test_hits_and_starts(new_nginx, report):
    hits, starts = {}, {}
    for file in ("", "file=store/sessions"):
        for count in (FEW, MANY):
            (port, *others) = free_ports(4)
            nginx = new_nginx()
            nginx.allowed.append("signal")
            conf = http(port, [f"127.0.0.1:{other}" for other in others], file)
            async with counted(nginx, conf, port) as counter:
                client = await Client().connect(port)
                ids = [await client.ask() for _ in range(count)]
                assert all(ids)

                async def some(client=client, ids=ids) -> None:
                    for number in range(HITS):
                        assert not await client.ask(ids[number % len(ids)])

                await some()
                # The least of three: the counting may begin in the middle of a timer's work.
                profiles = [await counter.during(some()) for _ in range(3)]
                hits[file, count] = min(of_object(profile, MODULE.name) for profile in profiles) / HITS
                counter.kill()
            if file:
                async with counted(nginx, conf, port, at_start=True) as counter:
                    starts[count] = of_object(await counter.dump(), MODULE.name)
    for (file, count), instructions in hits.items():
        report(f"a hit {file or 'in memory'}, {count:,} sessions: {instructions:,.0f} instructions of the module")
    report(f"a start: {', '.join(f'{count:,} sessions {cost:,}' for count, cost in starts.items())} instructions")
    assert min(hits.values()) > 100 and min(starts.values()) > 1000, "nothing was counted"
    for count in (FEW, MANY):
        assert abs(hits["file=store/sessions", count] - hits["", count]) <= 10
    assert abs(starts[MANY] - starts[FEW]) < 1000 + starts[FEW] // 50
