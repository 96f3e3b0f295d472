"""The configurations of docs/openresty.md, with the test's ports in place of theirs."""

import re
from textwrap import dedent

from harness.clients.http import Tally, crowd, send
from harness.lua import LUA, PATH, needs_lua
from harness.nginx import ROOT, Nginx
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

pytestmark = needs_lua

SESSIONS = 30


def part(heading: str, text: str) -> str:
    """The first configuration of a section that has that text."""
    manual = (ROOT / "docs" / "openresty.md").read_text()
    section = manual.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^ *```nginx\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return next(dedent(block) for block in blocks if text in block)


def ported(text: str, port: int, servers: list[Replica]) -> str:
    ports = {"8000": port} | {f"{8001 + place}": server.port for place, server in enumerate(servers)}
    return re.sub(r"\b(800\d)\b", lambda found: str(ports[found[1]]), text)


async def sessions_are_kept(port: int, headers=()) -> bytes:
    """Returns the id of one of them."""
    tally, ids = Tally(), []

    async def one(_: int) -> None:
        first = await send(port, path="/mcp", headers=headers)
        tally.sessions += 1
        ids.append(first.id)
        for _ in range(4):
            tally.follow_up(first, await send(port, first.id, path="/mcp", headers=headers))

    await crowd(SESSIONS, 10, one)
    assert (tally.sessions, tally.misrouted) == (SESSIONS, 0)
    return ids[0]


async def test_the_gateway_of_install(nginx: Nginx):
    (port,) = free_ports(1)
    nginx.modules += LUA
    async with replicas(2) as servers:
        nginx.start(PATH + ported(part("Install", "location /mcp"), port, servers))
        id = await sessions_are_kept(port)
        (home,) = [server for server in servers if id in server.sessions]
        for asked, said in ((id, home.address), (b"none", "unknown session"), (b"", "bad argument #2 (id)")):
            assert said.encode() in (await send(port, asked, method="GET", path="/session")).body


async def test_the_user_of_a_token(nginx: Nginx):
    """The function is left out in the manual."""
    (port,) = free_ports(1)
    nginx.modules += LUA
    user = 'init_by_lua_block { function user_of_token(token) return token and token:match("^Bearer (%a+)$") end }\n'
    async with replicas(2) as servers:
        text = part("Phases", "user_of_token").replace("listen 80;", f"listen 127.0.0.1:{port};")
        text = text.replace("server 10.0.0.1:8000;", "".join(f"server {server.address};" for server in servers))
        nginx.start(PATH + user + text)
        id = await sessions_are_kept(port, [("Authorization", "Bearer alice")])
        for forged in ([("X-User", "alice")], [("X-User", "alice"), ("Authorization", "Bearer mallory")]):
            assert (await send(port, id, headers=forged)).status == 404


async def test_servers_that_only_lua_knows(nginx: Nginx):
    (port,) = free_ports(1)
    nginx.modules += LUA
    async with replicas(3) as servers:
        names = ", ".join(f'"{server.address}"' for server in servers)
        choose = f"""init_by_lua_block {{
            local servers, turn = {{ {names} }}, 0
            function choose_for_a_new_session() turn = turn % #servers + 1 return servers[turn] end
        }}
        """
        text = part("balancer_by_lua", "choose_for_a_new_session")
        nginx.start(PATH + choose + text + f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mcp; }} }}")
        await sessions_are_kept(port)
        assert all(server.sessions for server in servers)
