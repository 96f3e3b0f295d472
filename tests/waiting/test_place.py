"""The question is asked when no other handler can change the id any more."""

import os
import re

import pytest

from harness.clients.http import send
from harness.clients.questions import settled, site
from harness.ports import free_ports


@pytest.mark.parametrize("loaded", ["first", "last"])
async def test_an_id_set_at_the_end_of_precontent_is_asked_for(testing_nginx, compiled, loaded):
    """A module moves itself behind ours at its first run, as ngx_lua does for `precontent_by_lua`."""
    (port,) = free_ports(1)
    late = compiled("ngx_http_late_module")
    testing_nginx.modules.insert(0 if loaded == "first" else 1, late)
    source = "after=1ms server={b}"
    testing_nginx.start(site(port, source, location="late_header Mcp-Session-Id $arg_id;"), workers=1)
    for number in range(3):
        response = await send(port, b"from-the-client", path=f"/?id=late-{number}")
        assert (response.status, response.sticky, response.replica) == (200, "HIT", "b")
    await settled(port, asked=3, answered=3)
    # The client's own id was never asked for: it has no session.
    response = await send(port, b"from-the-client", path="/?id=late-0")
    assert (response.status, response.sticky) == (200, "HIT")
    await settled(port, asked=3, answered=3)


LUA = re.findall(r"load_module (\S+);", os.environ.get("TEST_NGINX_LUA_MODULES", ""))

PAGE = """
    location = /page {
        content_by_lua_block {
            local first = ngx.location.capture("/first")
            local second, third = ngx.location.capture_multi({ { "/second" }, { "/third" } })
            ngx.header.content_length = #"404 404 404\\n"
            ngx.say(first.status, " ", second.status, " ", third.status)
        }
    }
"""


@pytest.mark.skipif(not LUA, reason="no Lua module")
@pytest.mark.parametrize("loaded", ["first", "last"])
async def test_subrequests_of_lua_wait(testing_nginx, loaded):
    (port,) = free_ports(1)
    testing_nginx.modules = LUA + testing_nginx.modules if loaded == "first" else testing_nginx.modules + LUA
    path = f"lua_package_path '{os.environ['TEST_NGINX_LUA_PATH']}';\n"
    text = site(port, "after=20ms nobody", listen=PAGE, location="access_by_lua_block { ngx.ctx.x = 1 }")
    testing_nginx.start(path + text, workers=1)
    for number in range(1, 3):
        response = await send(port, b"one", method="GET", path="/page", body=b"")
        assert (response.status, response.body) == (200, b"404 404 404\n")
        await settled(port, asked=3 * number, answered=3 * number, waiting=0)
