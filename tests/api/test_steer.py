"""What sticky_api changes: drain, wait until empty, forget, find. And which requests it refuses."""

import asyncio
import json
import random
import re
import time

import pytest

from harness.clients.api import JSON, Api, adds_up, check, location
from harness.clients.http import Response, crowd, send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

TICK = 0.1  # seconds; the module's clock is no finer

BALANCERS = ["", "least_conn;", "ip_hash;", "hash $request_id;", "hash $request_id consistent;", "random;", "random two;"]


def conf(
    port: int, servers, *, balancer: str = "", directives: str = f"{LEARN};", write: bool = True, size: str = "1m"
) -> str:
    directives = balancer + directives.replace("1m", size)
    return upstream("mcp", servers, directives) + listen(port, "mcp", STREAMING + location(write))


def path_of(server: Replica) -> str:
    return f"upstreams/mcp/servers/{server.address}"


async def learn(port: int, count: int) -> list[Response]:
    firsts: list[Response] = []

    async def begin(_: int) -> None:
        firsts.append(await send(port))

    await crowd(count, 20, begin)
    return firsts


def holder_of(first: Response, servers: list[Replica]) -> Replica:
    (holder,) = (server for server in servers if server.name == first.replica)
    return holder


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_drain(nginx, balancer):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, balancer=balancer))
        firsts = await learn(port, 60)
        target = holder_of(firsts[0], servers)
        shown = await api.change("PATCH", path_of(target), "server", {"drain": True})
        assert (shown["state"], shown["admin"], shown["drain"]) == ("up", "draining", True)
        # No new session on any worker. Existing sessions continue, and the reason is shown.
        later = await learn(port, 60)
        # On a busy machine one worker may accept all connections.
        while {first.worker for first in later} != set(map(str, nginx.workers)):
            later += await learn(port, 60)
        assert target.name not in {first.replica for first in later}
        for first in firsts + later:
            response = await send(port, first.id)
            assert (response.status, response.replica, response.sticky) == (200, first.replica, "HIT")
        await api.change("PATCH", path_of(target), "server", {"drain": False})
        if balancer != "ip_hash;":
            assert target.name in {first.replica for first in await learn(port, 60)}


async def test_drain_outlives_reload_and_resize(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(3) as servers:
        nginx.start(conf(port, servers))
        # The client has no session yet.
        await api.change("PATCH", path_of(servers[0]), "server", {"drain": True, "deadline": "1h"})
        for size in ("1m", "2m", "256k"):
            await asyncio.to_thread(nginx.reload, conf(port, servers, size=size))
            shown = await api.get(path_of(servers[0]), "server")
            assert (shown["admin"], bool(shown["drain_deadline"])) == ("draining", True)
            assert servers[0].name not in {first.replica for first in await learn(port, 30)}


async def test_all_servers_drain(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(3) as servers:
        for count in (1, 3):
            some = servers[:count]
            (nginx.reload if count > 1 else nginx.start)(conf(port, some))
            first = await send(port)
            for server in some:
                await api.change("PATCH", path_of(server), "server", {"drain": True})
            refused = await send(port)
            assert (refused.status, refused.headers["retry-after"]) == (503, b"1")
            assert (await send(port, first.id)).replica == first.replica
            for server in some:
                await api.change("PATCH", path_of(server), "server", {"drain": False})
            assert (await send(port)).status == 200
        report = await api.settled(8)
        assert report["zones"]["sessions"]["rejected"]["unavailable"] == 2
        assert not [line for line in nginx.errors() if "no live upstreams" in line]


async def test_backup_servers_take_over_unless_they_drain(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(3) as servers:
        primary, *backups = servers
        text = conf(port, servers)
        for backup in backups:
            text = text.replace(f"server {backup.address} ;", f"server {backup.address} backup;")
        nginx.start(text)
        assert {first.replica for first in await learn(port, 10)} == {primary.name}
        await api.change("PATCH", path_of(primary), "server", {"drain": True})
        assert {first.replica for first in await learn(port, 20)} == {backup.name for backup in backups}
        shown = await api.change("PATCH", path_of(backups[0]), "server", {"drain": True})
        assert shown["backup"] is True
        assert {first.replica for first in await learn(port, 20)} == {backups[1].name}


async def test_sessions_left_at_the_deadline_are_forgotten(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, directives=f"{LEARN} unknown=reject;"))
        firsts = await learn(port, 200)
        target = holder_of(firsts[0], servers)
        begun = time.monotonic()
        await api.change("PATCH", path_of(target), "server", {"drain": True, "deadline": "1s"})
        response = await api.send(path_of(target) + "?wait=empty&timeout=1h")
        assert json.loads(response.body)["live"] == 0
        assert time.monotonic() - begun > 1 - TICK
        for first in firsts:
            expected = 404 if first.replica == target.name else 200
            assert (await send(port, first.id)).status == expected
        state = await api.get()
        adds_up(state)
        assert state["zones"]["sessions"]["forgotten"] == sum(first.replica == target.name for first in firsts)


async def test_deadlines_of_several_servers_in_several_zones(nginx):
    ports = dict(zip(("mcp", "others"), free_ports(2)))
    api = Api(ports["mcp"])
    async with replicas(3) as servers:
        others = upstream("others", servers, f"{LEARN.replace('=sessions', '=more')};")
        nginx.start(conf(ports["mcp"], servers) + others + listen(ports["others"], "others", STREAMING))
        leaving = [f"upstreams/{name}/servers/{server.address}" for name in ports for server in servers[:2]]
        for port in ports.values():
            assert len({first.replica for first in await learn(port, 60)}) == 3
        for path in leaving:
            await api.change("PATCH", path, "server", {"drain": True, "deadline": "1s"})
        for path in leaving:
            response = await api.send(path + "?wait=empty&timeout=1h")
            assert json.loads(response.body)["live"] == 0
        state = await api.get()
        adds_up(state)
        for zone in state["zones"].values():
            assert zone["live"] > 0
            assert zone["forgotten"] + zone["live"] == 60


async def test_wait_until_empty(nginx, report):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers))
        first = await send(port)
        target = holder_of(first, servers)
        (other,) = (server for server in servers if server is not target)

        async def wait(server: Replica, timeout: str) -> tuple[int, float]:
            begun = time.monotonic()
            response = await api.send(path_of(server) + f"?wait=empty&timeout={timeout}")
            assert response.status == 200
            document = json.loads(response.body)
            check("server", document)
            return document["live"], time.monotonic() - begun

        # A wait of one hour is longer than this test.
        live, _ = await wait(other, "1h")
        assert live == 0
        live, seconds = await wait(target, "500ms")
        assert live == 1 and seconds > 0.5 - TICK
        waiting = asyncio.ensure_future(wait(target, "1h"))
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await api.change("DELETE", "zones/sessions/session", "forgotten", {"id": first.id.decode()})
        live, _ = await waiting
        report(f"answered {(time.monotonic() - begun) * 1000:.0f} ms after the last session went")
        assert live == 0


async def test_expired_sessions_do_not_keep_a_wait(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(1) as servers:
        nginx.start(conf(port, servers, directives=f"{LEARN} timeout=1s;"))
        await learn(port, 50)
        response = await api.send(path_of(servers[0]) + "?wait=empty&timeout=1h")
        assert json.loads(response.body)["live"] == 0


async def test_a_wait_holds_up_no_reload_and_outlives_no_client(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(1) as servers:
        counting = "location = /active { stub_status; }\nlocation /sticky/"
        nginx.start(conf(port, servers).replace("location /sticky/", counting))

        async def has_requests(count: int) -> bool:
            """Without the connection that asks."""
            active = (await send(port, method="GET", path="/active", body=b"")).body
            return int(re.search(rb"Writing: (\d+)", active)[1]) - 1 == count

        await send(port)
        path = path_of(servers[0]) + "?wait=empty&timeout=1h"
        leaving = asyncio.ensure_future(api.send(path))
        await until(lambda: has_requests(1))
        leaving.cancel()
        await until(lambda: has_requests(0))
        waiting = [asyncio.ensure_future(api.send(path)) for _ in range(10)]
        await until(lambda: has_requests(len(waiting)))
        old = set(nginx.workers)
        await asyncio.to_thread(nginx.reload)
        for response in await asyncio.gather(*waiting):
            assert (response.status, response.headers["retry-after"]) == (503, b"1")
        await until(lambda: not old & set(nginx.workers))


@pytest.mark.parametrize("resized", [False, True], ids=["", "after_a_resize"])
async def test_forget_a_server(nginx, resized):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers))
        firsts = await learn(port, 500)
        if resized:
            await asyncio.to_thread(nginx.reload, conf(port, servers, size="2m"))
        target = holder_of(firsts[0], servers)
        count = sum(first.replica == target.name for first in firsts)
        done = await api.change("DELETE", path_of(target) + "/sessions", "forgotten")
        assert done == {"forgotten": count}
        for first in firsts[:100]:
            sticky = (await send(port, first.id)).sticky
            assert sticky == ("UNKNOWN" if first.replica == target.name else "HIT")
        assert (await api.get(path_of(target), "server"))["live"] == 0
        adds_up(await api.get())


async def test_forget_a_server_that_has_lost_its_sessions(nginx):
    """The server answers 400, which a client cannot interpret."""
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, directives="sticky_learn zone=sessions:1m;"))
        first = await send(port)
        target = holder_of(first, servers)
        target.status = 400
        for _ in range(3):
            lost = await send(port, first.id)
            assert (lost.status, lost.sticky) == (400, "HIT")
        assert await api.change("DELETE", path_of(target) + "/sessions", "forgotten") == {"forgotten": 1}
        forgotten = await send(port, first.id)
        assert (forgotten.status, forgotten.sticky) == (404, "UNKNOWN")
        assert json.loads(forgotten.body)["error"]["message"] == "Session not found"


async def test_find_and_forget_a_session(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    path = "zones/sessions/session"
    async with replicas(2) as servers:
        nginx.start(conf(port, servers))
        begun = time.monotonic()
        first = await send(port)
        learned = time.monotonic()
        await asyncio.sleep(0.3)
        for method, asked in [("GET", {"id": first.id}), ("POST", {"body": {"id": first.id.decode()}, "headers": [JSON]})]:
            least = time.monotonic() - learned
            found = json.loads((await api.send(path, method, **asked)).body)
            most = time.monotonic() - begun
            check("session", found)
            assert found["server"] == holder_of(first, servers).address
            assert least - TICK < found["age_ms"] / 1000 < most + TICK
            assert found["idle_ms"] <= found["age_ms"]
        for body in ({"id": "stranger"}, {"id": first.id.decode(), "kind": "task"}, {"id": first.id.decode(), "bind": "x"}):
            assert (await api.send(path, "POST", body, headers=[JSON])).status == 404
        # Reading a session does not refresh it.
        assert (await api.get())["zones"]["sessions"]["refreshed"] == 0
        deleted = await api.send(path, "DELETE", id=first.id, headers=[JSON])
        assert json.loads(deleted.body) == {"forgotten": 1}
        assert (await api.send(path, "DELETE", id=first.id, headers=[JSON])).status == 404
        assert (await send(port, first.id)).sticky == "UNKNOWN"
        adds_up(await api.get())


async def test_a_bound_session_is_found_with_what_it_is_bound_to(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers, directives=f"{LEARN} bind=$http_x_user;"))
        first = await send(port, headers=[("X-User", "me")])
        found = await api.change("POST", "zones/sessions/session", "session", {"id": first.id.decode(), "bind": "me"})
        assert found["server"] == holder_of(first, servers).address


async def test_nothing_changes_without_write(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(1) as servers:
        nginx.start(conf(port, servers, write=False))
        first = await send(port)
        before = await api.settled(1)
        for method, path, body in [
            ("PATCH", path_of(servers[0]), {"drain": True}),
            ("DELETE", path_of(servers[0]) + "/sessions", None),
            ("DELETE", "zones/sessions/session", {"id": first.id.decode()}),
        ]:
            response = await api.send(path, method, body, headers=[JSON])
            assert response.status == 405
            check("error", json.loads(response.body))
        assert without_time(await api.get()) == without_time(before)


def without_time(report: dict) -> dict:
    return {name: value for name, value in report.items() if name != "uptime_ms"}


async def test_no_page_of_somebody_else_changes_anything(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(1) as servers:
        nginx.start(conf(port, servers))
        for status, headers in [
            (415, []),
            (415, [("Content-Type", "text/plain")]),
            (403, [JSON, ("Origin", "http://example.com")]),
            (403, [JSON, ("Origin", "null")]),
            (403, [JSON, ("Origin", "http://localhost"), ("Origin", "http://example.com")]),
            (200, [JSON, ("Origin", "http://localhost")]),
        ]:
            response = await api.send(path_of(servers[0]), "PATCH", {"drain": True}, headers=headers)
            assert response.status == status, headers


def malformed(random: random.Random, server: str) -> tuple[str, str, bytes, list[tuple[str, str]]]:
    """A request that is right in all parts but one or two."""
    words = ["zones", "upstreams", "mcp", "sessions", "servers", "session", server, ".", "%00x", "%ff%fe", "a" * 2000, "*"]
    text = bytes(random.choices(range(256), k=random.randrange(60)))
    bodies = [
        text,
        b"{" * random.randrange(1, 4000),
        b'{"drain":' + text + b"}",
        b'{"drain":true,"x":1}',
        b'{"id":"' + b"x" * random.randrange(5000, 20000) + b'"}',
        b"\xef\xbb\xbf{}",
        '{"drain":true}'.encode("utf-16"),
        b'{"id":"\\ud800"}',
        b"[" * 2000 + b"]" * 2000,
        b'{"drain":1e999}',
        b"",
    ]
    wrong = random.randrange(4)
    if wrong == 0:  # the path
        return "GET", "/".join(random.choices(words, k=random.randrange(1, 6))) + "/nothing", b"", [JSON]
    if wrong == 1:  # the method
        method = random.choice(["PUT", "POST", "OPTIONS", "MKCOL", "LOCK", "BREW", "A" * 500, "PATCH", "DELETE"])
        return method, random.choice(["", "zones", "upstreams/mcp"]), random.choice(bodies), [JSON]
    if wrong == 2:  # the arguments
        names = ["wait=full", "timeout=1s", "wait=empty&timeout=x", "format=", "format=" + "y" * 999, "%77ait=empty", "=", "&x"]
        return "GET", f"upstreams/mcp/servers/{server}?{random.choice(names)}", b"", []
    headers = random.choice([[JSON], [JSON, ("Transfer-Encoding", "chunked")], [], [JSON, ("Content-Encoding", "gzip")]])
    method, path = random.choice([("PATCH", f"upstreams/mcp/servers/{server}"), ("POST", "zones/sessions/session")])
    return method, path, random.choice(bodies), headers


async def test_malformed_requests(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed.append(r"\[error\].*invalid")
    async with replicas(1) as servers:
        server = servers[0].address
        nginx.start(conf(port, servers))
        await learn(port, 5)
        before = await Api(port).settled(5)
        dice = random.Random(6)
        statuses: dict[int, int] = {}
        for _ in range(1000):
            method, path, body, headers = malformed(dice, server)
            names = [name for name, _ in headers]
            if "Transfer-Encoding" in names:
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            else:
                headers = [*headers, ("Content-Length", str(len(body)))]
            raw = [f"{method} /sticky/{path} HTTP/1.1", "Host: localhost", "Connection: close"]
            raw += [f"{name}: {value}" for name, value in headers]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write("\r\n".join(raw).encode() + b"\r\n\r\n" + body)
            try:
                answer = await asyncio.wait_for(reader.read(), PATIENCE)
            except TimeoutError:
                raise AssertionError(f"no answer to {raw} {body[:100]!r}") from None
            writer.close()
            head, _, text = answer.partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            statuses[status] = statuses.get(status, 0) + 1
            assert 400 <= status < 500, (method, path, body, head)
            if b"<html>" in text:
                # nginx could not parse the request, so it never reached a location.
                assert status == 400 and "%00" in path, (method, path, head)
                continue
            check("error", json.loads(text))
        report(f"1,000 malformed requests: {dict(sorted(statuses.items()))}")
        assert without_time(await Api(port).get()) == without_time(before)
