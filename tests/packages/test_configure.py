"""The module, compiled in nginx's own tree by ./configure and make: tools/test-configure makes both ways."""

import os
from pathlib import Path

import pytest

from harness.clients.http import Tally, crowd, send
from harness.conf import STREAMING, listen, upstream
from harness.ports import free_ports
from harness.servers.replica import replicas

pytestmark = pytest.mark.skipif("CONFIGURED" not in os.environ, reason="tools/test-configure compiles them")

# The name of a tree, and the object that its nginx loads.
WAYS = {"dynamic": "objs/ngx_http_sticky_learn_module.so", "linked": None}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gzip", ["", "gzip on; gzip_min_length 1; gzip_types text/plain application/json;"], ids=["plain", "gzip"])
async def test_sessions_reach_their_servers(new_nginx, way, gzip):
    tree = Path(os.environ["CONFIGURED"], way)
    nginx = new_nginx(binary=str(tree / "objs/nginx"))
    nginx.modules = [tree / WAYS[way]] if WAYS[way] else []
    (port,) = free_ports(1)
    tally = Tally()

    async def session(_: int) -> None:
        first = await send(port)
        tally.sessions += 1
        for _ in range(4):
            tally.follow_up(first, await send(port, first.id))

    async with replicas(3) as servers:
        # The filter has to be in its place for ids in headers and bodies, with nginx's other filters around it.
        nginx.start(gzip + upstream("mcp", servers, "sticky_learn zone=sessions:1m;") + listen(port, "mcp", STREAMING))
        await crowd(60, 10, session)
        nginx.reload()
        await crowd(60, 10, session)
    assert tally.sessions == 120
    assert tally.misrouted == 0


def test_the_table_of_modules_has_the_order_of_a_loaded_one():
    table = Path(os.environ["CONFIGURED"], "linked/objs/ngx_modules.c").read_text()
    places = [table.index(f"&ngx_http_{name}_module,") for name in ("sticky_learn", "upstream", "headers_filter", "sticky_learn_filter", "copy_filter")]
    assert places == sorted(places)
