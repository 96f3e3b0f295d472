"""Servers that come and go without a failure: backup, DNS, a reload that is refused."""

import asyncio
import re

import pytest

from harness.clients.http import Tally, crowd, send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.nginx import BINARY, UNREACHABLE, version
from harness.patience import until
from harness.ports import free_ports
from harness.servers.names import names
from harness.servers.replica import Replica, replicas


@pytest.mark.parametrize("policy", ["rebind", "reject"])
async def test_session_of_a_backup_server_stays_there(nginx, policy):
    (port,) = free_ports(1)
    nginx.allowed += ["Connection refused|reset by peer|temporarily disabled", UNREACHABLE]
    async with replicas(2) as (primary, backup):
        nginx.start(
            f"""upstream mcp {{
                zone mcp 128k;
                {LEARN} unavailable={policy};
                server {primary.address} fail_timeout=1s;
                server {backup.address} backup;
            }}"""
            + listen(port, "mcp")
        )
        primary.stop()
        first = await send(port)
        assert (first.replica, first.sticky) == (backup.name, "NEW")
        await primary.start()
        await asyncio.sleep(2.2)
        # nginx records the success after the response. The client may have read it by then.
        await send(port, patient=True)
        fresh = [await send(port) for _ in range(5)]
        kept = [await send(port, first.id) for _ in range(5)]
    assert {response.replica for response in fresh} == {primary.name}
    assert {(response.status, response.replica, response.sticky) for response in kept} == {(200, backup.name, "HIT")}


async def test_refused_reload_changes_nothing(nginx):
    (port,) = free_ports(1)
    nginx.allowed.append(r"\[emerg\].*nonsense")
    async with replicas(3) as servers:
        good = upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp")
        nginx.start(good)
        firsts = [await send(port) for _ in range(50)]
        nginx.configure(good.replace("1m", "4m") + "upstream bad { sticky_learn nonsense; server 127.0.0.1:1; }")
        nginx.signal_reload()
        await until(lambda: any("[emerg]" in line for line in nginx.errors()))
        said = [(await send(port, first.id)).sticky for first in firsts]
        await asyncio.to_thread(nginx.reload, good.replace("1m", "4m"))
        said += [(await send(port, first.id)).sticky for first in firsts]
    assert said == ["HIT"] * 100


async def test_clients_that_leave_early(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN} unavailable=reject;", "max_conns=100") + listen(port, "mcp"))
        first = await send(port)

        async def leave(_: int) -> None:
            with pytest.raises(TimeoutError):
                await send(port, first.id, headers=[("X-Wait", "1")], timeout=0.02)

        await crowd(400, 20, leave)
        await until(lambda: not any(replica.waiting for replica in servers))
        after = await send(port, first.id)
    assert (after.status, after.sticky) == (200, "HIT")


async def test_subrequests(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(
            upstream("mcp", servers, f"{LEARN};")
            + upstream("checks", servers, f"{LEARN.replace('sessions', 'other')};")
            + f"""server {{
                listen 127.0.0.1:{port};
                {STREAMING}
                location / {{ auth_request /check; mirror /mirror; proxy_pass http://mcp; }}
                location /check {{
                    internal;
                    proxy_pass http://checks;
                    proxy_method POST;
                    proxy_set_header Mcp-Session-Id "";
                    proxy_pass_request_body off;
                    proxy_set_header Content-Length "";
                }}
                location /mirror {{ internal; proxy_pass http://checks; }}
            }}"""
        )
        tally = Tally()
        for _ in range(50):
            first = await send(port)
            assert first.sticky == "NEW"
            for _ in range(4):
                response = await send(port, first.id)
                assert response.sticky == "HIT"
                tally.follow_up(first, response)
    assert tally.misrouted == 0


# Names whose addresses change


@pytest.mark.skipif(version(BINARY) < (1, 27, 3), reason="resolve needs nginx 1.27.3")
async def test_resolved_addresses_change(nginx, report):
    (port,) = free_ports(1)
    hosts = [f"127.0.0.{n}" for n in (11, 12, 13, 14)]
    (common,) = free_ports(1)
    servers = [Replica(name) for name in ("amber", "birch", "cedar", "dogwood")]
    for host, replica in zip(hosts, servers):
        replica.host, replica.port = host, common
        await replica.start()
    try:
        async with names(hosts[:3]) as dns:
            nginx.start(
                f"""{dns.resolver}
                upstream mcp {{
                    zone mcp 256k;
                    {LEARN} unavailable=reject;
                    server replicas.test:{common} resolve;
                }}"""
                + listen(port, "mcp")
            )
            await dns.until_heard()
            firsts = [await send(port) for _ in range(60)]
            assert {first.replica for first in firsts} == {"amber", "birch", "cedar"}
            tally = Tally(sessions=len(firsts))
            # Other order; one address replaced; the first address back.
            for addresses in ([2, 0, 1], [3, 1, 2], [0, 1, 2]):
                await dns.tell(hosts[n] for n in addresses)
                for first in firsts:
                    response = await send(port, first.id)
                    assert response.sticky == "HIT"
                    tally.follow_up(first, response)
    finally:
        for replica in servers:
            replica.stop()
    report(f"{tally}; {dns.asked} resolutions")
    assert tally.misrouted == 0


def many(servers: list[str], size: str, port: int, directive: str = "sticky_learn") -> str:
    """Servers, each of which opens a session for whoever comes."""
    return f"""
    upstream mcp {{
        zone mcp 4m;
        {directive} zone=sessions:{size};
        {"".join(f"server {address};" for address in servers)}
    }}
    server {{
        {"".join(f"listen {address.split()[0]};" for address in servers)}
        add_header Mcp-Session-Id $request_id;
        location / {{ return 200 ""; }}
    }}
    """ + listen(port, "mcp")


def hosts(count: int, backend: int, first: int = 0) -> list[str]:
    return [f"127.1.{number // 250}.{number % 250 + 1}:{backend}" for number in range(first, first + count)]


async def are_all_learned(port: int, count: int) -> None:
    assert {(await send(port)).sticky for _ in range(count)} == {"NEW"}


@pytest.mark.parametrize(("size", "servers"), [("32k", 16), ("1m", 360)])
async def test_a_zone_has_room_for_servers(nginx, size, servers):
    """For as many as docs/directives.md says."""
    port, backend = free_ports(2)
    nginx.start(many(hosts(servers, backend), size, port))
    await are_all_learned(port, servers)


def size_needed(nginx, size: str, servers: int) -> str:
    """The size that nginx asks for in place of one that is too small for so many servers."""
    nginx.allowed.append(r"\[emerg\].* zone \"sessions\" is too small for")
    conf = (nginx.home / "nginx.conf").read_text()
    line = next(number for number, line in enumerate(conf.splitlines(), 1) if f"zone=sessions:{size}" in line)
    pattern = (
        rf'^nginx: \[emerg\] zone "sessions" is too small for the {servers} servers of its upstreams, '
        rf"it needs (\d+k) or more in .*/nginx\.conf:{line}$"
    )
    return re.search(pattern, nginx.check(), re.M)[1]


@pytest.mark.parametrize("count", [17, 24, 100, 500])
@pytest.mark.parametrize("kind", ["address", "unix socket"])
async def test_a_zone_too_small_for_its_servers_is_refused(nginx, report, tmp_path_factory, kind, count):
    """With the size that is needed: there all servers get sessions, and a page less is too small as well."""
    port, backend = free_ports(2)
    if kind == "address":
        servers = hosts(count, backend)
    else:
        # Long enough to take two cells of the zone's list, of 48 bytes each, and short enough for Linux.
        folder = tmp_path_factory.mktemp("s")
        servers = [f"unix:{folder}/{number}".ljust(100, "x") for number in range(count)]
    nginx.configure(many(servers, "32k", port))
    size = size_needed(nginx, "32k", count)
    report(f"{count} servers, {kind}: {size}")
    less = f"{int(size[:-1]) - 4}k"
    nginx.configure(many(servers, less, port))
    assert size_needed(nginx, less, count) == size
    nginx.start(many(servers, size, port))
    await are_all_learned(port, count)


def test_servers_of_all_upstreams_of_a_zone_count_once(nginx):
    (port,) = free_ports(1)
    learn = "create=$sent_http_x lookup=$http_x"
    first, second = hosts(10, port), hosts(16, port)

    def two(first: list[str], second: list[str]) -> str:
        return "".join(
            f"upstream {name} {{ sticky_learn {zone} {learn}; {''.join(f'server {address};' for address in servers)} }}\n"
            for name, zone, servers in (("u", "zone=sessions", first), ("v", "zone=sessions:32k", second))
        )

    # Backup servers count as well. Servers of another zone, or of no zone, do not.
    backup = [*second[:8], *(f"{address} backup" for address in second[8:])]
    others = "".join(f"server {address};" for address in hosts(100, port, 100))
    nginx.configure(two(first, backup) + f"upstream w {{ {others} }}")
    assert nginx.check() == ""
    nginx.configure(two([*first, hosts(1, port, 50)[0]], backup))
    assert size_needed(nginx, "32k", 17)


@pytest.mark.plus_syntax
def test_servers_of_sticky_learn_of_nginx_plus_count(nginx):
    (port,) = free_ports(1)
    directive = "sticky learn create=$upstream_cookie_a lookup=$cookie_a"
    nginx.configure(many(hosts(17, port), "32k", port, directive))
    assert size_needed(nginx, "32k", 17)


async def test_a_server_without_room_in_the_zone_is_told_of_once_a_minute(nginx):
    """Here those of a reload: the servers before them still have their sessions."""
    port, backend = free_ports(2)
    nginx.allowed.append(r"\[error\].* zone \"sessions\" has no room for server")
    nginx.start(many(hosts(16, backend), "32k", port))
    await are_all_learned(port, 16)
    nginx.reload(many(hosts(16, backend, first=100), "32k", port))
    assert {(await send(port)).sticky for _ in range(100)} == {"NONE"}
    assert len([line for line in nginx.errors() if "has no room for server" in line]) == 1
