"""Evidence against a server: only attempts that fail while another server answers."""

import asyncio
import time

import pytest

from harness.clients.api import Api, location
from harness.clients.crowds import ask_all, seats
from harness.clients.http import send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.nginx import GONE, UNREACHABLE
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

ALLOWED = [
    r"connect\(\) (to unix:\S+ )?failed|temporarily disabled|no live upstreams|reset by peer",
    UNREACHABLE,
    GONE,
]
REJECT = f"{LEARN} unavailable=reject"
GONE_AFTER = 3  # seconds


def said(answers) -> set[tuple[int, str]]:
    return {(answer.status, answer.sticky) for answer in answers}


async def is_gone(port: int, id: bytes) -> bool:
    return (await send(port, id)).status == 404


async def test_while_all_are_away_none_is_gone_though_only_one_is_asked_for(nginx):
    """Silence of the others is no evidence that they can be reached."""
    (port,) = free_ports(1)
    nginx.allowed += ALLOWED
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{REJECT} gone_after={GONE_AFTER}s;") + listen(port, "mcp"))
        ids = await seats(port, servers, 1)
        for replica in servers:
            replica.stop()
        answers = []
        away = time.monotonic()
        while time.monotonic() < away + 2 * GONE_AFTER:
            answers += await ask_all(port, ids["amber"])
            await asyncio.sleep(0.3)
        for replica in servers:
            await replica.start()

        async def is_back() -> bool:
            return said(await ask_all(port, ids["amber"])) == {(200, "HIT")}

        await until(is_back)
    assert said(answers) == {(503, "UNAVAILABLE")}


async def test_a_server_that_nobody_asks_for_is_company_once_it_has_been_asked(nginx):
    """The only other server has no session and no request: nginx asks it itself."""
    (port,) = free_ports(1)
    nginx.allowed += ALLOWED
    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{REJECT} gone_after={GONE_AFTER}s;") + listen(port, "mcp"))
        first = await send(port)
        (holder,) = (replica for replica in servers if replica.name == first.replica)
        holder.stop()
        away = time.monotonic()
        await until(lambda: is_gone(port, first.id))
        lasted = time.monotonic() - away
    assert lasted >= GONE_AFTER


async def test_reloads_do_not_begin_the_span_anew(nginx):
    """Nor where an attempt fails at once, as it does at a Unix socket that is missing."""
    port, other = free_ports(2)
    nginx.allowed += [*ALLOWED, r"\[crit\] .* connect\(\) to unix:"]
    backend = f"""server {{ listen 127.0.0.1:{other}; add_header X-Replica birch; add_header Mcp-Session-Id $request_id;
        location / {{ return 200 '{{}}'; }} }}"""
    missing = nginx.home / "missing.sock"

    def conf(server: str) -> str:
        servers = f"server {server}; server 127.0.0.1:{other};"
        return f"{backend} upstream mcp {{ {REJECT} gone_after=6s; {servers} }}" + listen(port, "mcp")

    async def answer(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK", "X-Replica: amber", "Mcp-Session-Id: one", "Content-Length: 0", "Connection: close"
        writer.write("\r\n".join([*head, "", ""]).encode())
        writer.close()

    server = await asyncio.start_unix_server(answer, missing)
    missing.chmod(0o777)
    nginx.start(conf(f"unix:{missing}"), workers=1)
    await until(lambda: learned(port))
    server.close()
    missing.unlink(missing_ok=True)
    assert (await send(port, b"one")).status == 503
    away = time.monotonic()
    while not await is_gone(port, b"one"):
        assert time.monotonic() < away + 30
        await asyncio.to_thread(nginx.reload)
        await asyncio.sleep(1)


async def learned(port: int) -> bool:
    return (await send(port)).replica == "amber"


async def test_a_drain_that_ends_takes_no_session_that_has_moved_since_the_zone_was_resized(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    nginx.allowed += ALLOWED
    async with replicas(2) as (one, other):

        def conf(size: str) -> str:
            learn = LEARN.replace("1m", size)
            return upstream("mcp", (one, other), f"{learn} unavailable=rebind;") + listen(
                port, "mcp", STREAMING + location(write=True)
            )

        nginx.start(conf("1m"))
        ids = (await seats(port, [one, other], 10))[one.name]
        other.sessions |= set(ids)
        await asyncio.to_thread(nginx.reload, conf("2m"))
        one.stop()
        moved = await ask_all(port, ids)
        await one.start()
        await until(lambda: is_up(api, one))
        path = f"upstreams/mcp/servers/{one.address}"
        await api.change("PATCH", path, "server", {"drain": True, "deadline": "1s"})
        await asyncio.sleep(4)
        after = await ask_all(port, ids)
    assert said(moved) == {(200, "REBOUND")}
    assert said(after) == {(200, "HIT")}


async def is_up(api: Api, replica: Replica) -> bool:
    return (await api.get(f"upstreams/mcp/servers/{replica.address}", "server"))["state"] == "up"


@pytest.mark.parametrize("bind, tries", [("", 1), ("proxy_bind 127.0.0.9;", 3)], ids=["without", "with"])
async def test_with_proxy_bind_requests_try_as_well(nginx, bind, tries):
    """nginx's own attempts come from another address, which the server may not admit."""
    (port,) = free_ports(1)
    nginx.allowed += ALLOWED
    async with replicas(2) as servers:
        front = listen(port, "mcp", STREAMING + bind)
        nginx.start(upstream("mcp", servers, f"{REJECT} gone_after=60s;") + front, workers=1)
        ids = await seats(port, servers, 1)
        servers[0].stop()
        answers = []
        away = time.monotonic()
        while time.monotonic() < away + 3.5:
            answers += await ask_all(port, ids["amber"])
            await asyncio.sleep(0.1)
    tried = [line for line in nginx.errors() if "connect() failed" in line and "while connecting to upstream" in line]
    assert said(answers) == {(503, "UNAVAILABLE")}
    assert len(tried) >= tries if bind else len(tried) == tries
    assert len(tried) < len(answers) / 2
