"""nginx accepts each file in nginx-conf/ without a warning, and each file does what it is for."""

import asyncio
import json
import os
import re
import ssl
import time
from pathlib import Path

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from harness.clients.http import Response, send, stream
from harness.conf import SAMPLES, sample
from harness.lua import HAS_CJSON, HAS_LUA, LUA, PATH, needs_lua
from harness.nginx import HTTP2_ON, ROOT, UNREACHABLE, Nginx
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.sdk import NAMES, live, servers
from harness.servers.replica import Replica, replicas
from harness.servers.validator import CHALLENGE, token, validator
from harness.tls import Authority

MODSECURITY = os.environ.get("TEST_NGINX_MODSECURITY")
CRS = Path("/usr/share/modsecurity-crs/rules")

# `http2 on;`, and the line that stands for it in an older nginx.
HTTP2 = re.compile(r" +listen .*;\n +http2 on;\n +# .*\n( +)# (listen .* http2 .*;\n)")

CLIENTS = 3


def conf(nginx: Nginx, name: str, *arguments) -> str:
    """The sample for this version of nginx, with the files that it asks for."""
    text = sample(name, *arguments)
    if ".pem" in text:
        servers = Authority(nginx.home, "mcp-ca")
        servers.issue("mcp", "localhost")
        servers.issue("upstream", "mcp.internal")
        clients = Authority(nginx.home, "mcp-clients-ca")
        clients.issue("alice", "alice")
        clients.issue("mallory", "mallory")
        (nginx.home / "mcp.key").chmod(0o600)
    if "http2" in text and nginx.version < HTTP2_ON:
        text, replaced = HTTP2.subn(r"\1\2", text)
        assert replaced == 1
    if "modsecurity on;" in text:
        nginx.modules.insert(0, MODSECURITY)
    if "_by_lua_block" in text:
        nginx.modules = LUA + nginx.modules
        text = PATH + text
    return text


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.conf")))
def test_nginx_takes(nginx, name):
    if name == "mcp-modsecurity.conf" and not MODSECURITY:
        pytest.skip("ModSecurity is not installed for this nginx")
    text = (SAMPLES / name).read_text()
    if "_by_lua_block" in text and not HAS_LUA:
        pytest.skip("no Lua module, and no OpenResty")
    if re.search(r"^events\b", text, re.MULTILINE):
        # A whole nginx.conf. The module and the included files are where the demo puts them.
        for path in SAMPLES.glob("*.conf"):
            (nginx.home / path.name).write_text(path.read_text().replace("/var/log/nginx/", ""))
        (nginx.home / "modules").mkdir()
        (nginx.home / "modules" / "ngx_http_sticky_learn_module.so").symlink_to(nginx.module)
        (nginx.home / "tmp").mkdir()
        (nginx.home / "nginx.conf").write_text(text)
    else:
        port, backend, validator = free_ports(3)
        replica = Replica("none")
        replica.port = backend
        nginx.configure(conf(nginx, name, port, [replica] * 3, validator))
    assert nginx.check() == ""


# mcp.conf. With real clients: tests/mcp/test_sdk.py


async def test_a_message_goes_to_one_server_only(nginx):
    """Not to the next one when its server dies of it; to the next one when its server takes no connection."""
    nginx.allowed = ["prematurely closed", "Connection refused", "reset by peer", UNREACHABLE]
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.start(conf(nginx, "mcp.conf", port, three))
        pending = asyncio.create_task(send(port, path="/mcp", headers=[("X-Wait", "1")]))
        await until(lambda: any(replica.waiting for replica in three))
        (holder,) = (replica for replica in three if replica.waiting)
        for replica in three:
            if replica is not holder:
                replica.answer_now.set()
        holder.stop()
        assert (await pending).status == 502
        assert [replica.requests for replica in three] == [0, 0, 0]

        opened = [await send(port, path="/mcp") for _ in range(4)]
        assert {response.status for response in opened} == {200}
        assert {response.replica for response in opened} == {replica.name for replica in three} - {holder.name}


async def test_one_failure_turns_nobody_away(nginx):
    nginx.allowed = ["prematurely closed", "reset by peer"]
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.start(conf(nginx, "mcp.conf", port, three))
        first = await send(port, path="/mcp")
        server = next(replica for replica in three if replica.name == first.replica)
        pending = asyncio.create_task(send(port, first.id, path="/mcp", headers=[("X-Wait", "1")]))
        await until(lambda: server.waiting)
        server.stop()
        assert (await pending).status == 502
        await server.start()
        again = await send(port, first.id, path="/mcp")
        assert (again.status, again.replica) == (200, first.replica)


async def test_events_come_at_once_even_where_gzip_is_on(nginx):
    (port,) = free_ports(1)
    async with replicas() as three:
        # Some servers do not send X-Accel-Buffering: no. Ours do.
        nginx.start(
            "gzip on; gzip_types *; gzip_min_length 0; proxy_ignore_headers X-Accel-Buffering;\n"
            + conf(nginx, "mcp.conf", port, three)
        )
        first = await send(port, path="/mcp")
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n")
            writer.write(b"Mcp-Session-Id: " + first.id + b"\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            # The stream stays open: a buffered event would not have arrived.
            assert b"gzip" in head and await reader.read(1)
            writer.close()


async def test_large_messages_and_the_log(nginx):
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.allowed = ["buffered to a temporary file"]
        nginx.start(conf(nginx, "mcp.conf", port, three))
        first = await send(port, path="/mcp", body=b" " * 3_000_000)
        await send(port, first.id, path="/mcp", patient=True)
        unknown = await send(port, b"unknown", path="/mcp", patient=True)
        assert (first.status, unknown.status) == (200, 404)
        log = nginx.home / "mcp.log"
        await until(lambda: log.read_text().count("\n") == 3)
    assert {line.split()[-1] for line in log.read_text().splitlines()} == {"NEW", "HIT", "UNKNOWN"}
    assert first.id.decode() not in log.read_text()


# README.md, and mcp-sse.conf, mcp-both.conf


@pytest.fixture(scope="module")
def python_servers():
    with servers("python-1") as three:
        yield three


@pytest.mark.parametrize(("name", "transports"), [("mcp-sse.conf", ["sse"]), ("mcp-both.conf", ["http", "sse"])])
async def test_every_transport_keeps_its_sessions(nginx, report, python_servers, name, transports):
    (port,) = free_ports(1)
    nginx.start(conf(nginx, name, port, python_servers))
    for lives in await asyncio.gather(*(live("python-1", transport, port, CLIENTS) for transport in transports)):
        report(lives)
        assert lives.failures == []
        assert len(lives.transcripts) == 1


# mcp-tls.conf, mcp-tls-upstream.conf


async def test_http2_carries_a_real_client(nginx, python_servers):
    (port,) = free_ports(1)
    nginx.start(conf(nginx, "mcp-tls.conf", port, python_servers))
    versions: list[str] = []

    async def note(response: httpx.Response) -> None:
        versions.append(response.http_version)

    context = ssl.create_default_context(cafile=nginx.home / "mcp-ca.pem")
    async with (
        httpx.AsyncClient(http2=True, verify=context, timeout=PATIENCE, event_hooks={"response": [note]}) as http,
        streamable_http_client(f"https://localhost:{port}/mcp", http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        counts = [(await session.call_tool("count")).structuredContent for _ in range(3)]
    assert [counted["count"] for counted in counts] == [1, 2, 3]
    assert {counted["replica"] for counted in counts} < set(NAMES)
    assert set(versions) == {"HTTP/2"}


async def test_tls_to_the_servers_is_verified_and_resumed(nginx, new_nginx):
    """Three servers {} of another nginx stand for the servers; each connection carries one request."""
    port, *ports = free_ports(4)
    three = [Replica(name) for name in NAMES]
    for replica, replica_port in zip(three, ports):
        replica.port = replica_port
    text = conf(nginx, "mcp-tls-upstream.conf", port, three)

    def backends(certificate: str) -> str:
        common = 'keepalive_timeout 0; map $http_mcp_session_id $new { "" $request_id; default ""; }'
        return common + "".join(
            f"""server {{
                listen {replica.address} ssl;
                ssl_certificate {nginx.home}/{certificate}.pem;
                ssl_certificate_key {nginx.home}/{certificate}.key;
                add_header Mcp-Session-Id $new;
                add_header X-Replica {replica.name};
                add_header X-Resumed $ssl_session_reused;
                return 200 "";
            }}\n"""
            for replica in three
        )

    backend = new_nginx(module=None)
    backend.start(backends("upstream"), workers=1)
    nginx.start(text, workers=1)
    opened = [await send(port, path="/mcp") for _ in three]
    assert {response.replica for response in opened} == set(NAMES)
    for first in opened:
        again = await send(port, first.id, path="/mcp")
        assert (again.sticky, again.replica, again.text("x-resumed")) == ("HIT", first.replica, "r")

    # A server without the name is refused.
    nginx.allowed = ["upstream SSL certificate does not match"]
    backend.reload(backends("mcp"))
    assert (await send(port, path="/mcp")).status == 502


# mcp-limits.conf


async def test_a_flood_of_sessions_stops_nobody_at_work(nginx, report):
    (port,) = free_ports(1)
    async with replicas() as three:
        text = conf(nginx, "mcp-limits.conf", port, three)
        rate = int(re.search(r"zone=opens:1m +rate=(\d+)r/s", text)[1])
        burst = int(re.search(r"zone=opens +burst=(\d+)", text)[1])
        nginx.start(text)
        begun = time.monotonic()
        first = await send(port, path="/mcp")
        flood = asyncio.gather(*(send(port, path="/mcp") for _ in range(100)))
        at_work = [await send(port, first.id, path="/mcp") for _ in range(50)]
        statuses = [response.status for response in await flood]
        seconds = time.monotonic() - begun
        opened = sum(len(replica.sessions) for replica in three)
        report(f"{statuses.count(200)} of {len(statuses)} opened a session, {statuses.count(429)} got 429")
        assert set(statuses) == {200, 429}
        assert statuses.count(200) <= burst + rate * seconds
        assert opened == statuses.count(200) + 1
        assert {(response.status, response.sticky) for response in at_work} == {(200, "HIT")}

        # An invented id does not bypass the limit.
        reached = sum(replica.requests for replica in three)
        invented = [await send(port, b"invented-%d" % number, path="/mcp") for number in range(50)]
        assert {response.status for response in invented} == {404}
        assert sum(replica.requests for replica in three) == reached


async def test_streams_are_counted(nginx):
    (port,) = free_ports(1)
    async with replicas() as three:
        text = conf(nginx, "mcp-limits.conf", port, three)
        nginx.start(text)
        first = await send(port, path="/mcp")
        allowed = int(re.search(r"limit_conn streams (\d+);", text)[1])
        streams = [await stream(port, first.id, path="/mcp") for _ in range(allowed)]
        assert (await send(port, first.id, method="GET", path="/mcp", body=b"")).status == 429
        assert (await send(port, first.id, path="/mcp")).status == 200
        for one in streams:
            one.close()


# mcp-client-certificate.conf, mcp-jwt.conf


def answer(response: Response) -> tuple:
    """All of it that a thief could learn from."""
    return response.status, {**response.headers, "date": b"", "x-worker": b""}, response.body


async def test_a_session_belongs_to_a_certificate(nginx):
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.start(conf(nginx, "mcp-client-certificate.conf", port, three))

        async def post(name: str, id: bytes = b"") -> Response:
            context = ssl.create_default_context(cafile=nginx.home / "mcp-ca.pem")
            if name:
                context.load_cert_chain(nginx.home / f"{name}.pem", nginx.home / f"{name}.key")
            return await send(port, id, path="/mcp", tls=context)

        first = await post("alice")
        assert (first.status, first.sticky) == (200, "NEW")
        again = await post("alice", first.id)
        assert (again.status, again.replica) == (200, first.replica)

        stolen = await post("mallory", first.id)
        assert stolen.status == 404
        assert answer(stolen) == answer(await post("mallory", b"unknown"))
        assert (await post("", first.id)).status == 400


async def test_a_session_belongs_to_the_subject_of_a_token(nginx):
    (port,) = free_ports(1)
    with validator() as validator_port:
        async with replicas() as three:
            nginx.start(conf(nginx, "mcp-jwt.conf", port, three, validator_port))

            async def post(token: str, id: bytes = b"") -> Response:
                return await send(port, id, path="/mcp", headers=[("Authorization", f"Bearer {token}")])

            alice, renewed, mallory = token(sub="alice", exp=1), token(sub="alice", exp=2), token(sub="mallory")
            first = await post(alice)
            assert (first.status, first.sticky) == (200, "NEW")
            again = await post(renewed, first.id)
            assert (again.status, again.replica) == (200, first.replica)

            stolen = await post(mallory, first.id)
            assert stolen.status == 404
            assert answer(stolen) == answer(await post(mallory, b"unknown"))

            forged = await post(alice[:-4] + "AAAA", first.id)
            assert (forged.status, forged.text("www-authenticate")) == (401, CHALLENGE)
            pretended = await send(port, first.id, path="/mcp", headers=[("X-Subject", "alice")])
            assert pretended.status == 401
            # A client without a token may ask how to get one.
            assert (await send(port, path="/.well-known/oauth-protected-resource")).status == 200


# mcp-browser.conf, mcp-errors.conf


async def test_a_page_of_an_allowed_origin_sees_every_answer(nginx):
    origin = "https://app.example.com"
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.start(conf(nginx, "mcp-browser.conf", port, three))

        async def visit(origin: str, id: bytes = b"", method: str = "POST") -> Response:
            return await send(port, id, method=method, path="/mcp", headers=[("Origin", origin)])

        asked = await visit(origin, method="OPTIONS")
        assert (asked.status, asked.replica) == (204, "")
        assert "Mcp-Session-Id" in asked.text("access-control-allow-headers")
        first = await visit(origin)
        for response, status in [(first, 200), (await visit(origin, b"unknown"), 404)]:
            assert response.status == status
            assert response.text("access-control-allow-origin") == origin
            assert "Mcp-Session-Id" in response.text("access-control-expose-headers")
        assert (await visit(origin, first.id)).replica == first.replica

        reached = sum(replica.requests for replica in three)
        assert (await visit("https://evil.example.com", first.id)).status == 403
        assert sum(replica.requests for replica in three) == reached
        program = await send(port, first.id, path="/mcp")
        assert (program.status, program.text("access-control-allow-origin")) == (200, "")


async def test_errors_are_json(nginx):
    nginx.allowed = ["too large body", "prematurely closed", "reset by peer"]
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.start(conf(nginx, "mcp-errors.conf", port, three))
        large = await send(port, path="/mcp", body=b" " * 5_000_000)
        pending = asyncio.create_task(send(port, path="/mcp", headers=[("X-Wait", "1")]))
        await until(lambda: any(replica.waiting for replica in three))
        for replica in three:
            replica.stop()
        for response, status in [(large, 413), (await pending, 502)]:
            assert response.status == status
            assert response.text("content-type") == "application/json"
            assert json.loads(response.body)["error"]["message"] == f"HTTP {status}"

        unknown = await send(port, b"unknown", path="/mcp")
        assert unknown.status == 404
        assert json.loads(unknown.body)["error"]["code"] == -32001


# mcp-modsecurity.conf


@pytest.mark.skipif(not MODSECURITY, reason="ModSecurity is not installed for this nginx")
@pytest.mark.parametrize("rules", ["own", "crs"])
async def test_what_a_firewall_blocks_is_no_session(nginx, rules):
    nginx.allowed = ["ModSecurity: Access denied with code 40[03]"]
    attack = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read","arguments":{"path":"%s"}}}'
    injection = b"1 union select password from users -- "
    headers = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
    headers.append(("User-Agent", "test"))
    (port,) = free_ports(1)

    async def post(body: bytes, id: bytes = b"") -> Response:
        return await send(port, id, path="/mcp", headers=headers, body=body)

    async with replicas() as three:
        text = conf(nginx, "mcp-modsecurity.conf", port, three)
        if rules == "crs":
            if not CRS.exists():
                pytest.skip("modsecurity-crs is not installed")
            text, replaced = re.subn(r"^( +)#(?! )|^( +)#(?=    )", r"\1\2", text, flags=re.MULTILINE)
            assert replaced > 1
        nginx.start(text)
        harmless = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
        first = await post(harmless)
        assert (first.status, first.sticky) == (200, "NEW")
        reached = sum(replica.requests for replica in three)
        for id in (b"", first.id):
            assert (await post(attack % b"../../etc/passwd", id)).status == 403
            assert (await post(b'{"jsonrpc": ', id)).status == 400
        assert sum(replica.requests for replica in three) == reached
        assert (await post(attack % injection, first.id)).status == (403 if rules == "crs" else 200)
        assert (await post(harmless, first.id)).replica == first.replica

        # Streams are not buffered, and the end of the session passes.
        events = await stream(port, first.id, path="/mcp", headers=headers)
        for replica in three:
            replica.tell()
        assert b"more" in await events.event()
        events.close()
        ended = await send(port, first.id, method="DELETE", path="/mcp", headers=headers, body=b"")
        assert (ended.status, ended.replica) == (200, first.replica)


# mcp-lua.conf, lua-token.conf


@needs_lua
async def test_a_canary_gets_a_part_of_the_new_sessions(nginx):
    port, admin = free_ports(2)
    async with replicas() as three:
        nginx.start(conf(nginx, "mcp-lua.conf", port, three, admin))
        canary = three[2].name

        async def ask(path: str, method: str = "GET", id: bytes = b"", body: bytes = b"") -> tuple[int, str]:
            # The answers are chunked: over HTTP/1.0 they end with the connection.
            reader, writer = await asyncio.open_connection("127.0.0.1", admin)
            session = b"Mcp-Session-Id: " + id + b"\r\n" if id else b""
            writer.write(f"{method} {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n".encode() + session + b"\r\n" + body)
            head, _, answer = (await reader.read(-1)).partition(b"\r\n\r\n")
            writer.close()
            return int(head.split()[1]), answer.decode().strip()

        async def begin() -> set[str]:
            begun = [await send(port, path="/mcp") for _ in range(20)]
            assert all((first.status, first.sticky) == (200, "NEW") for first in begun)
            sessions.extend(begun)
            return {first.replica for first in begun}

        sessions: list[Response] = []
        assert canary not in await begin()
        assert await ask("/canary", "PUT", body=b"100") == (200, "100")
        assert await begin() == {canary}
        assert (await ask("/canary", "PUT", body=b"101"))[0] == 400
        assert await ask("/canary", "PUT", body=b"0") == (200, "0")
        assert canary not in await begin()
        for first in sessions:
            response = await send(port, first.id, path="/mcp")
            assert (response.sticky, response.replica) == ("HIT", first.replica)

        one = sessions[20]
        assert await ask("/session", id=one.id) == (200, three[2].address)
        assert await ask("/session", "DELETE", id=one.id) == (200, "true")
        assert await ask("/session", id=one.id) == (404, "unknown session")
        assert (await send(port, one.id, path="/mcp")).status == 404

        # A canary that is down takes no new session along.
        nginx.allowed = ["Connection refused", UNREACHABLE]
        await ask("/canary", "PUT", body=b"100")
        three[2].stop()
        assert canary not in await begin()


@needs_lua
@pytest.mark.skipif(not HAS_CJSON, reason="no cjson")
async def test_a_user_has_one_server(nginx):
    (port,) = free_ports(1)
    async with replicas() as three:
        nginx.start(conf(nginx, "lua-token.conf", port, three))
        home = {}
        for number in range(60):
            user = f"user {number % 12}"
            bearer = f"Bearer {token(sub=user, exp=number)}"
            response = await send(port, headers=[("Authorization", bearer)])
            assert response.sticky == ("NEW" if number < 12 else "HIT")
            assert home.setdefault(user, response.replica) == response.replica
        assert set(home.values()) == {replica.name for replica in three}
        for bearer in ("", "Bearer", "Bearer a.b.c", "Bearer a.e30.c", f"Basic {token(sub='user 1')}"):
            assert (await send(port, headers=[("Authorization", bearer)] if bearer else [])).sticky == "NONE"
