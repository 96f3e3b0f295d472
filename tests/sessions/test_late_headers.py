"""The id of a request and its `bind` are read when they are used: other modules may change the headers until then."""

import asyncio
import os
import re

import pytest

from harness.clients.http import parse, send
from harness.patience import until
from harness.ports import free_ports

FORMS = {
    "mcp": "sticky_learn zone=sessions:1m bind=$http_x_user;",
    "explicit": "sticky_learn zone=sessions:1m create=$sent_http_mcp_session_id lookup=$http_mcp_session_id"
    " bind=$http_x_user unknown=reject;",
}

# The user of a token reaches the header through a module; here it comes from the query.
PLACES = {"precontent": "late_header X-User $arg_user;", "body": "late_header X-User $arg_user body;"}


def site(port: int, servers: list[int], form: str, directives: str, beside: str = "") -> str:
    text = "".join(
        f"server {{ listen 127.0.0.1:{server}; location / {{"
        f" add_header X-Replica {server}; add_header Mcp-Session-Id $arg_new; return 200; }} }}\n"
        for server in servers
    )
    text += "upstream mcp { " + FORMS[form] + "".join(f"server 127.0.0.1:{server};" for server in servers) + "}\n"
    location = f"location / {{ {directives} proxy_pass http://mcp; }}"
    return text + f"server {{ listen 127.0.0.1:{port}; {location} {beside} }}\n"


async def nobody_gets_the_session_of_another(ask) -> None:
    """`ask`: sends a request of a user, who may say to be another."""
    begun = {user: (await ask(user, new=f"of-{user}")).replica for user in ("alice", "bob", "carol")}
    for _ in range(3):
        for user, replica in begun.items():
            own = await ask(user, id=f"of-{user}")
            assert (own.status, own.sticky, own.replica) == (200, "HIT", replica)
            claimed = await ask("mallory", id=f"of-{user}", claims=user)
            assert (claimed.status, claimed.sticky) == (404, "UNKNOWN")
            # A value from the client is ignored.
            own = await ask(user, id=f"of-{user}", claims="mallory")
            assert (own.status, own.sticky, own.replica) == (200, "HIT", replica)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
async def test_bind_is_what_the_request_has_at_last(nginx, compiled, form, place):
    port, *servers = free_ports(4)
    options = ["-DWITH_BODY_FILTER"] if place == "body" else []
    nginx.modules.append(compiled("ngx_http_late_module", *options))
    nginx.start(site(port, servers, form, PLACES[place]), workers=1)

    async def ask(user: str, new: str = "", id: str = "", claims: str = ""):
        headers = [("X-User", claims)] if claims else []
        return await send(port, id.encode(), path=f"/?user={user}&new={new}", headers=headers)

    await nobody_gets_the_session_of_another(ask)


LUA = re.findall(r"load_module (\S+);", os.environ.get("TEST_NGINX_LUA_MODULES", ""))

MIRRORED = """
    mirror /mirrored;
    mirror_request_body off;
"""

MIRROR = """
    location = /mirrored {
        internal;
        content_by_lua_block {
            ngx.req.set_header("X-User", ngx.var.arg_user)
            ngx.log(ngx.NOTICE, "mirrored")
        }
    }
"""


@pytest.mark.skipif(not LUA, reason="no Lua module")
@pytest.mark.parametrize("form", FORMS)
async def test_a_mirror_changes_the_headers_that_it_shares(nginx, form):
    port, *servers = free_ports(4)
    nginx.modules += LUA
    text = site(port, servers, form, MIRRORED, MIRROR)
    path = f"lua_package_path '{os.environ['TEST_NGINX_LUA_PATH']}';\n"
    nginx.start(path + text, workers=1)
    mirrored = 0

    async def ask(user: str, new: str = "", id: str = "", claims: str = "nobody"):
        nonlocal mirrored
        fields = f"Host: localhost\r\nX-User: {claims}\r\nContent-Length: 2\r\nConnection: close\r\n"
        if id:
            fields += f"Mcp-Session-Id: {id}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST /?user={user}&new={new} HTTP/1.1\r\n{fields}\r\n".encode())
        mirrored += 1
        # The body is sent after the mirror subrequest.
        await until(lambda: len([line for line in nginx.errors() if "mirrored" in line]) == mirrored)
        writer.write(b"{}")
        try:
            return parse((await reader.readuntil(b"\r\n\r\n"))[:-4])
        finally:
            writer.close()

    await nobody_gets_the_session_of_another(ask)
