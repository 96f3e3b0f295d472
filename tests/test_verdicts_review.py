import asyncio
import os
import time

import pytest

from harness.conf import LEARN, STREAMING, listen, upstream
from harness.http import send
from harness.ports import free_ports
from harness.replica import Replica, replicas

SHARED = LEARN.replace("sessions:1m", "sessions")


async def wait_status(port, id, status, seconds):
    end = time.monotonic() + seconds
    seen = []
    while time.monotonic() < end:
        r = await send(port, id)
        seen.append(r.status)
        if r.status == status:
            return seen, True
        await asyncio.sleep(0.3)
    return seen, False


@pytest.mark.parametrize("down", ["", "down"])
async def test_down_elsewhere(nginx, down):
    """A is down in one upstream of the zone, in service in another: does it come back there?"""
    p1, p2 = free_ports(2)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled")
    async with replicas(3) as (a, b, c):
        nginx.start(
            f"upstream one {{ {LEARN} unavailable=reject; server {a.address}; server {b.address}; }}"
            + f"upstream two {{ {SHARED} unavailable=reject; server {a.address} {down}; server {c.address}; }}"
            + listen(p1, "one") + listen(p2, "two"), workers=1)
        while True:
            first = await send(p1)
            if first.replica == a.name:
                break
        a.stop()
        r = await send(p1, first.id)
        assert r.status == 503
        await asyncio.sleep(1.5)
        await a.start()
        seen, ok = await wait_status(p1, first.id, 200, 6)
        print(seen)
        assert ok


@pytest.mark.parametrize("reloads", [False, True])
async def test_gone_with_reloads(nginx, reloads):
    """gone_after=3s, a reload each second: how long until 404?"""
    (p1,) = free_ports(1)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled|is gone")
    async with replicas(2) as (a, b):
        conf = upstream("one", (a, b), f"{LEARN} unavailable=reject gone_after=3s;") + listen(p1, "one")
        nginx.start(conf, workers=1)
        while True:
            first = await send(p1)
            if first.replica == a.name:
                break
        a.stop()
        r = await send(p1, first.id)
        assert r.status == 503
        begun = time.monotonic()
        status = 503
        while time.monotonic() < begun + 15 and status != 404:
            if reloads:
                await asyncio.to_thread(nginx.reload)
            await asyncio.sleep(1)
            status = (await send(p1, first.id)).status
        print(status, time.monotonic() - begun)
        assert status == 404 and time.monotonic() - begun < 6


async def test_bind_source(nginx):
    """A server that takes connections only from the bound address (here: a proxy that refuses others)."""
    (p1,) = free_ports(1)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled|is gone")
    async with replicas(2) as (a, b):
        nginx.start(upstream("one", (a, b), f"{LEARN} unavailable=reject;")
                    + listen(p1, "one", STREAMING + "proxy_bind 127.0.0.9;"), workers=1)
        while True:
            first = await send(p1)
            if first.replica == a.name:
                break
        a.stop()
        assert (await send(p1, first.id)).status == 503
        peers = []
        a2 = await asyncio.start_server(lambda r, w: (peers.append(w.get_extra_info("peername")[0]), w.close()), a.host, a.port)
        await asyncio.sleep(2.5)
        a2.close()
        print(peers)
        assert set(peers) == {"127.0.0.9"}



async def test_silent_others(nginx):
    """All are dead, but only A is asked for."""
    (p1,) = free_ports(1)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled|is gone")
    async with replicas(3) as servers:
        nginx.start(upstream("one", servers, f"{LEARN} unavailable=reject gone_after=3s;") + listen(p1, "one"), workers=1)
        first = await send(p1)
        for s in servers:
            s.stop()
        seen = []
        for _ in range(12):
            seen.append((await send(p1, first.id)).status)
            await asyncio.sleep(0.5)
        print(seen)
        assert set(seen) == {503}


async def test_unix_reload(nginx, tmp_path):
    """Unix sockets fail at once: does a reload begin the span anew?"""
    (p1,) = free_ports(1)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled|is gone|No such file")
    async def answer(r, w):
        try:
            await r.readuntil(b"\r\n\r\n")
            w.write(b"HTTP/1.1 200 OK\r\nMcp-Session-Id: idone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await w.drain()
        finally:
            w.close()
    import tempfile
    d = tempfile.mkdtemp(prefix="rv")
    a = await asyncio.start_unix_server(answer, d + "/a")
    b = await asyncio.start_unix_server(answer, d + "/b")
    os.chmod(d, 0o777); os.chmod(d + "/a", 0o777); os.chmod(d + "/b", 0o777)
    conf = (f"upstream one {{ {LEARN} unavailable=reject gone_after=3s; server unix:{d}/a; server unix:{d}/b; }}" + listen(p1, "one"))
    nginx.start(conf, workers=1)
    assert (await send(p1)).status == 200
    a.close()
    os.unlink(d + "/a")
    begun = time.monotonic()
    seen = []
    while time.monotonic() < begun + 12:
        await asyncio.to_thread(nginx.reload)
        await asyncio.sleep(1)
        seen.append((await send(p1, b"idone")).status)
        if seen[-1] == 404:
            break
    b.close()
    print(seen, time.monotonic() - begun)
    assert seen[-1] == 404 and time.monotonic() - begun < 7


@pytest.mark.parametrize("resize", [False, True])
async def test_drain_after_resize_and_rebind(nginx, resize):
    from harness.api import Api, location
    from test_steer import path_of
    (p1,) = free_ports(1)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled|is gone")
    async with replicas(2) as (a, b):
        conf = upstream("mcp", (a, b), f"{LEARN} unavailable=rebind;") + f"""server {{ listen 127.0.0.1:{p1}; {STREAMING}
            location / {{ proxy_pass http://mcp; }} {location(write=True)} }}"""
        nginx.start(conf, workers=1)
        firsts = [await send(p1) for _ in range(40)]
        mine = [f.id for f in firsts if f.replica == a.name]
        b.sessions |= set(mine)
        if resize:
            await asyncio.to_thread(nginx.reload, conf.replace(":1m", ":2m"))
        a.stop()
        moved = mine[:10]
        said = [(await send(p1, id)).sticky for id in moved]
        assert set(said) == {"REBOUND"}, said
        await a.start()
        await asyncio.sleep(2)
        said = [(await send(p1, id)).sticky for id in moved]
        assert set(said) == {"HIT"}, said
        api = Api(p1)
        await api.change("PATCH", path_of(a), "server", {"drain": True, "deadline": "1s"})
        await asyncio.sleep(5)
        said = [(await send(p1, id)).sticky for id in moved]
        print(said)
        assert set(said) == {"HIT"}




@pytest.mark.parametrize("change", ["none", "reload", "resize"])
async def test_dns_gap(nginx, change):
    from test_upstreams import Dns
    (port,) = free_ports(1)
    (common,) = free_ports(1)
    hosts = ["127.0.0.21", "127.0.0.22"]
    servers = [Replica(n) for n in ("amber", "birch")]
    for h, r in zip(hosts, servers):
        r.host, r.port = h, common
        await r.start()
    loop = asyncio.get_running_loop()
    transport, dns = await loop.create_datagram_endpoint(lambda: Dns(hosts), local_addr=("127.0.0.1", 0))
    resolver = transport.get_extra_info("sockname")[1]
    conf = f"""resolver 127.0.0.1:{resolver} valid=1s ipv6=off;
        upstream mcp {{ zone mcp 256k; {LEARN} unavailable=reject gone_after=30s; server replicas.test:{common} resolve; }}""" + listen(port, "mcp")
    async def again():
        asked = dns.asked
        while dns.asked < asked + 2:
            await asyncio.sleep(0.05)
    try:
        nginx.start(conf, workers=1)
        await again()
        while (first := await send(port)).replica != "amber":
            pass
        await asyncio.sleep(1.2)
        dns.addresses = hosts[1:]
        await again()
        seen = [(await send(port, first.id)).status]
        if change == "reload":
            await asyncio.to_thread(nginx.reload)
        if change == "resize":
            await asyncio.to_thread(nginx.reload, conf.replace(":1m", ":2m"))
        for _ in range(4):
            seen.append((await send(port, first.id)).status)
            await asyncio.sleep(0.7)
        dns.addresses = hosts
        await again()
        await asyncio.sleep(1.2)
        seen.append((await send(port, first.id)).status)
        print(seen)
        assert seen[0] == 200 and seen[-1] == 200 and 404 not in seen
    finally:
        transport.close()
        for r in servers:
            r.stop()


async def test_begun_while_leaving(nginx):
    """The answer that opens the session comes when its server's address has left DNS."""
    from test_upstreams import Dns
    (port,) = free_ports(1)
    (common,) = free_ports(1)
    hosts = ["127.0.0.31", "127.0.0.32"]
    servers = [Replica(n) for n in ("amber", "birch")]
    for h, r in zip(hosts, servers):
        r.host, r.port = h, common
        await r.start()
    loop = asyncio.get_running_loop()
    transport, dns = await loop.create_datagram_endpoint(lambda: Dns(hosts), local_addr=("127.0.0.1", 0))
    resolver = transport.get_extra_info("sockname")[1]
    conf = f"""resolver 127.0.0.1:{resolver} valid=1s ipv6=off;
        upstream mcp {{ zone mcp 256k; {LEARN} unavailable=reject gone_after=30s; server replicas.test:{common} resolve; }}""" + listen(port, "mcp", STREAMING + "location /sticky/ { sticky_api write; }")
    async def again():
        asked = dns.asked
        while dns.asked < asked + 2:
            await asyncio.sleep(0.05)
    try:
        nginx.start(conf, workers=1)
        await again()
        from harness.api import Api
        used = [await send(port) for _ in range(2)]
        api = Api(port)
        for host in hosts:
            r = await api.send(f"upstreams/mcp/servers/{host}:{common}/sessions", "DELETE", headers=[("Content-Type", "application/json")])
            print(r.status, r.body)
        await asyncio.sleep(1.5)
        tasks = [asyncio.create_task(send(port, headers=[("X-Wait", "1")])) for _ in range(2)]
        await asyncio.sleep(0.3)
        dns.addresses = hosts[1:]
        await again()
        await asyncio.sleep(2.5)
        for r in servers:
            r.answer_now.set()
        firsts = [await t for t in tasks]
        (first,) = [f for f in firsts if f.replica == "amber"]
        r = await send(port, first.id)
        print(first.sticky, r.status, r.sticky)
        assert r.status == 200
    finally:
        transport.close()
        for r in servers:
            r.stop()


async def test_departed_pile_up(nginx):
    """Addresses that nobody has sessions at any more: are they forgotten?"""
    from test_upstreams import Dns
    from harness.api import report_of
    (port,) = free_ports(1)
    loop = asyncio.get_running_loop()
    transport, dns = await loop.create_datagram_endpoint(lambda: Dns(["127.0.1.1"]), local_addr=("127.0.0.1", 0))
    resolver = transport.get_extra_info("sockname")[1]
    conf = f"""resolver 127.0.0.1:{resolver} valid=1s ipv6=off;
        upstream mcp {{ zone mcp 256k; {LEARN} unavailable=reject gone_after=1s; server replicas.test:9 resolve; }}""" + listen(port, "mcp")
    nginx.start(conf, workers=1)
    for n in range(1, 9):
        dns.addresses = [f"127.0.1.{n}"]
        asked = dns.asked
        while dns.asked < asked + 2:
            await asyncio.sleep(0.05)
    await asyncio.sleep(4)
    shown = report_of(nginx)["upstreams"]
    nginx.allowed.append("resolving")
    names = list(shown["mcp"]["servers"])
    print(names)
    assert len(names) == 1


@pytest.mark.parametrize("off", ["", "proxy_next_upstream off;", "proxy_next_upstream http_500;"])
async def test_next_off(nginx, off):
    (p1,) = free_ports(1)
    nginx.allowed.append("refused|reset|no live|is unreachable|disabled|is gone")
    async with replicas(2) as (a, b):
        nginx.start(upstream("one", (a, b), f"{LEARN} unavailable=reject;") + listen(p1, "one", STREAMING + off), workers=1)
        while (first := await send(p1)).replica != a.name:
            pass
        a.stop()
        r = [await send(p1, first.id) for _ in range(3)]
        print([(x.status, x.sticky, x.text("retry-after")) for x in r])
        assert {x.status for x in r} == {503}
