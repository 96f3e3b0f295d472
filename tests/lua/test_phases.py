"""What Lua sets in the last phase before the upstream is what counts, under load."""

import subprocess

import pytest

from harness.clients.http import crowd, send
from harness.conf import STREAMING, upstream
from harness.lua import LUA, PATH, needs_lua
from harness.nginx import BINARY, environment
from harness.ports import free_ports
from harness.servers.replica import replicas

pytestmark = needs_lua

REQUESTS = 1000

# The user is whom the token names. Whoever sends a user is not believed.
CODE = """
    ngx.req.set_header("X-User", ngx.var.http_x_token or "nobody")
"""


def has(directive: str) -> bool:
    where = [path for path in LUA if "lua" in str(path)] or [BINARY]
    return subprocess.run(["grep", "-q", directive, *where], env=environment()).returncode == 0


@pytest.mark.parametrize("phase", ["rewrite", "access", "precontent"])
@pytest.mark.parametrize("order", ["sticky_learn first", "Lua first"])
async def test_a_forged_header_is_never_believed(nginx, phase, order):
    if phase == "precontent" and not has("precontent_by_lua_block"):
        pytest.skip("precontent_by_lua is in OpenResty 1.29.2.3 and later")
    (port,) = free_ports(1)
    nginx.modules = LUA + nginx.modules if order == "Lua first" else nginx.modules + LUA
    async with replicas(3) as servers:
        site = f"""server {{
            listen 127.0.0.1:{port};
            {STREAMING}
            location / {{ {phase}_by_lua_block {{ {CODE} }} proxy_pass http://mcp; }}
        }}"""
        nginx.start(PATH + upstream("mcp", servers, "sticky_learn zone=sessions:1m bind=$http_x_user;") + site)
        first = await send(port, headers=[("X-Token", b"alice")])
        said = {"alice": [], "mallory": []}

        async def both(_: int) -> None:
            forged = [("X-Token", b"mallory"), ("X-User", b"alice")]
            for user, headers in (("mallory", forged), ("alice", [("X-Token", b"alice")])):
                response = await send(port, first.id, headers=headers)
                said[user].append((response.status, response.sticky))

        await crowd(REQUESTS, 20, both)
    assert said == {"alice": [(200, "HIT")] * REQUESTS, "mallory": [(404, "UNKNOWN")] * REQUESTS}
