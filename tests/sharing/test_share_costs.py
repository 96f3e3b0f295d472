"""What a request of a known session costs more in a zone that is shared: instructions of the module."""

import asyncio

import pytest

from harness.clients.single import Client
from harness.instructions import counted, needs_callgrind, of_object
from harness.nginx import MODULE
from harness.ports import free_ports
from harness.servers.store import store

pytestmark = [needs_callgrind, pytest.mark.alone]

SESSIONS, HITS = 50, 200


def http(port: int, backends: list[str], share: str) -> str:
    servers = "".join(f"server {address};" for address in backends)
    sockets = "".join(f"listen {address};" for address in backends)
    return f"""
    keepalive_requests 100000000;
    keepalive_time 1d;
    access_log off;
    {share}
    map $http_mcp_session_id $issued {{ "" $request_id; default ""; }}
    upstream u {{ zone u 64k; sticky_learn zone=sessions:1m {"share=mesh" if share else ""}; {servers} keepalive 64; }}
    server {{ {sockets} add_header Mcp-Session-Id $issued; location / {{ return 204; }} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
    """


async def test_hits(new_nginx, report, tmp_path, secret):
    hits = {}
    async with store(tmp_path / "store") as kept:
        for share in ("", f"sticky_share mesh {kept.url} secret={secret};"):
            (port, *others) = free_ports(4)
            nginx = new_nginx()
            nginx.allowed.append("signal")
            async with counted(nginx, http(port, [f"127.0.0.1:{other}" for other in others], share), port) as counter:
                client = await Client().connect(port)
                ids = [await client.ask() for _ in range(SESSIONS)]
                # The gap before it began to listen is over.
                await asyncio.sleep(1)

                async def some(client=client, ids=ids) -> None:
                    for number in range(HITS):
                        await client.ask(ids[number % len(ids)])

                await some()
                hits[bool(share)] = of_object(await counter.during(some()), MODULE.name) / HITS
                counter.kill()
    report(f"{hits[False]:,.0f} instructions of the module, shared {hits[True]:,.0f}")
    assert hits[True] - hits[False] <= 150
