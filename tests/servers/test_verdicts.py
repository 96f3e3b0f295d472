"""The failure of one request moves no session of its server. nginx itself tries to connect to an unreachable server."""

import asyncio
import contextlib
import os
import time

import pytest

from harness.clients.api import Api, location
from harness.clients.crowds import Traffic, ask, ask_all, seats, traffic
from harness.clients.http import send, stream
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.nginx import BINARY, SLOW, UNREACHABLE, Nginx, version
from harness.patience import WHOLE_TEST, until
from harness.ports import free_ports
from harness.servers.faults import FAULTS, black_hole, picky_about_names
from harness.servers.replica import Replica, replicas
from harness.tls import Authority

LONG = bool(os.environ.get("STICKY_LONG"))

# nginx's log lines about a failed call.
TIMED_OUT = r"upstream timed out"
DISABLED = r"upstream server temporarily disabled"
ALL_DISABLED = r"no live upstreams"
CLOSED = r"upstream prematurely closed connection"
LOST = r"connect\(\) failed|Connection reset by peer"

WAIT = [("X-Wait", "1")]  # a call that gets no answer
IMPATIENT = "/impatient"
HIT = (200, "HIT")


def front(port: int, name: str, more: str = "", read_timeout: str = "60s") -> str:
    """Only what waits at `IMPATIENT` is to time out, and nothing that a busy machine delays."""
    impatient = f"location {IMPATIENT} {{ proxy_read_timeout {read_timeout}; proxy_pass http://{name}; }}"
    return listen(port, name, STREAMING + more + impatient + location())


def told(answers) -> set[tuple[int, str]]:
    return {(answer.status, answer.sticky) for answer in answers}


async def state(port: int, replica: Replica) -> dict:
    return await Api(port).get(f"upstreams/mcp/servers/{replica.address}", "server")


# A call that its server does not answer in time


def four_upstreams(ports: list[int], servers: list[Replica]) -> str:
    """Failures that count at once and later, peers that the workers share and peers of their own."""
    kinds = [(fails, shared) for fails in (1, 3) for shared in (True, False)]
    return "".join(
        upstream(
            f"u{port}",
            servers,
            f"sticky_learn zone=s{port}:1m;",
            f"max_fails={fails}",
            shared=shared,
        )
        + front(port, f"u{port}", read_timeout="1s")
        for port, (fails, shared) in zip(ports, kinds)
    )


async def test_a_slow_call_takes_no_other_session_away(new_nginx, report):
    calls, each = (60, 20) if LONG else (3, 20)
    ports = free_ports(8)
    async with replicas(3) as servers, contextlib.AsyncExitStack() as stack:
        for workers, some in ((1, ports[:4]), (4, ports[4:])):
            nginx = new_nginx()
            nginx.allowed += [TIMED_OUT, DISABLED]
            nginx.start(four_upstreams(some, servers), workers=workers)
        crowds: list[Traffic] = []
        slow_ids = []
        for seated, port in zip(await asyncio.gather(*(seats(port, servers, each + 1) for port in ports)), ports):
            ids = seated[servers[0].name]
            slow_ids.append(ids.pop())
            crowds.append(await stack.enter_async_context(traffic(port, ids, pause=2)))
        slow = []
        for _ in range(calls):
            slow += await asyncio.gather(*(ask(port, id, path=IMPATIENT, headers=WAIT) for port, id in zip(ports, slow_ids)))
            await asyncio.sleep(1)
        await asyncio.gather(*(crowd.round() for crowd in crowds))
    report(f"{len(slow)} slow calls, {sum(len(crowd.answers) for crowd in crowds)} others of the same server")
    assert {answer.status for answer in slow} == {504}
    for crowd in crowds:
        assert set(crowd.count()) == {(*HIT, servers[0].name)}


async def open_slowly(port: int, servers: list[Replica]) -> tuple[list[bytes], bytes]:
    """Sessions of the first server, and one of its sessions that has had three calls without an answer."""
    *ids, slow = (await seats(port, servers, 5))[servers[0].name]
    answers = await ask_all(port, [slow] * 3, path=IMPATIENT, headers=WAIT)
    assert {answer.status for answer in answers} == {504}
    return ids, slow


async def test_three_calls_without_an_answer_make_a_server_slow_and_one_answer_ends_it(nginx):
    (port,) = free_ports(1)
    nginx.allowed += [TIMED_OUT, DISABLED, SLOW]
    async with replicas(3) as servers:
        conf = upstream("mcp", servers, f"{LEARN} unavailable=reject;", "max_fails=0")
        nginx.start(conf + front(port, "mcp", read_timeout="300ms"))
        ids, _ = await open_slowly(port, servers)
        shown = await state(port, servers[0])
        fresh = [await send(port) for _ in range(9)]
        own = await ask_all(port, ids)
        await until(lambda: is_in_state(port, servers[0], "up"))
        later = [await send(port) for _ in range(3)]
    assert (shown["state"], shown["reason"], shown["seen_by"]) == ("slow", "read timed out", "request")
    assert shown["since"] and shown["last_failure"]
    assert {response.replica for response in fresh} == {servers[1].name, servers[2].name}
    assert told(own) == {HIT}
    assert {response.replica for response in later} == {replica.name for replica in servers}


async def is_in_state(port: int, replica: Replica, wanted: str) -> bool:
    return (await state(port, replica))["state"] == wanted


async def test_a_slow_server_gets_new_sessions_again_after_fail_timeout(nginx):
    (port,) = free_ports(1)
    nginx.allowed += [TIMED_OUT, DISABLED, SLOW]
    async with replicas(2) as servers:
        conf = upstream("mcp", servers, f"{LEARN};", "max_fails=0 fail_timeout=1s")
        nginx.start(conf + front(port, "mcp", read_timeout="200ms"))
        await open_slowly(port, servers)
        avoided = {(await send(port)).replica for _ in range(4)}
        await until(lambda: opens_at(port, servers[0]))
        shown = await state(port, servers[0])
    assert avoided == {servers[1].name}
    assert shown["state"] == "up"


async def opens_at(port: int, replica: Replica) -> bool:
    return (await send(port, patient=True)).replica == replica.name


async def test_calls_that_their_clients_end_make_no_server_slow(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN};") + front(port, "mcp"))
        ids = (await seats(port, servers, 1))[servers[0].name]
        for _ in range(4):
            with pytest.raises(TimeoutError):
                await send(port, ids[0], headers=WAIT, timeout=0.1)
        await until(lambda: not servers[0].waiting)
        shown = await state(port, servers[0])
    assert shown["state"] == "up"


async def test_where_all_servers_are_slow_none_is_passed_over(nginx):
    (port,) = free_ports(1)
    nginx.allowed += [TIMED_OUT, DISABLED, SLOW]
    async with replicas(2) as servers:
        conf = upstream("mcp", servers, f"{LEARN};", "max_fails=0 fail_timeout=60s")
        nginx.start(conf + front(port, "mcp", read_timeout="1s"))
        ids = await seats(port, servers, 1)
        for of_it in ids.values():
            await ask_all(port, of_it * 3, path=IMPATIENT, headers=WAIT)
        states = [(await state(port, replica))["state"] for replica in servers]
        fresh = [asyncio.create_task(ask(port, b"", headers=WAIT)) for _ in range(4)]
        await until(lambda: all(replica.waiting for replica in servers))
        for replica in servers:
            replica.answer_now.set()
        answers = await asyncio.gather(*fresh)
    assert states == ["slow", "slow"]
    assert told(answers) == {(200, "NEW")}
    assert {answer.replica for answer in answers} == {replica.name for replica in servers}


# A server that comes back


class Streams:
    """Clients of a stream each, which they open again when it ends."""

    def __init__(self, port: int, ids: list[bytes]):
        self.port = port
        self.tries: list[tuple[bytes, float, bool]] = []
        self.open: set[bytes] = set()
        self._tasks = [asyncio.create_task(self._keep_open(id)) for id in ids]

    async def _keep_open(self, id: bytes) -> None:
        while True:
            began = time.monotonic()
            try:
                opened = await stream(self.port, id)
            except (AssertionError, OSError, asyncio.IncompleteReadError):
                self.tries.append((id, began, False))
                await asyncio.sleep(0.5)
                continue
            self.tries.append((id, began, True))
            self.open.add(id)
            try:
                await opened.end(timeout=WHOLE_TEST)
            finally:
                opened.close()
                self.open.discard(id)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_after_an_outage_streams_and_calls_go_on_at_once(nginx, report):
    outage = 15 if LONG else 4
    (port,) = free_ports(1)
    nginx.allowed += [LOST, DISABLED, CLOSED, UNREACHABLE]
    async with replicas(3) as servers:
        conf = upstream("mcp", servers, "sticky_learn zone=sessions:1m gone_after=60s;", "fail_timeout=10s")
        nginx.start(conf + front(port, "mcp"))
        home = servers[0]
        *ids, posting = (await seats(port, servers, 21))[home.name]
        streams = Streams(port, ids)
        async with traffic(port, [posting], pause=0.1) as posts:
            await until(lambda: len(streams.open) == len(ids))
            home.stop()
            await asyncio.sleep(outage)
            await home.start()
            back = time.monotonic()
            await until(lambda: len(streams.open) == len(ids))
            reopened = time.monotonic() - back
            await asyncio.sleep(max(0, back + 3 - time.monotonic()))
        await streams.stop()
    late = [try_ for try_ in streams.tries if try_[1] > back + 2]
    served = [answer for answer in posts.answers if answer.status == 200 and answer.began > back]
    report(f"{outage} s away: first call {served[0].began - back:.1f} s after, all streams open after {reopened:.1f} s")
    assert told(posts.since(back + 2)) == {HIT}
    assert all(opened for _, _, opened in late)
    assert {answer.status for answer in posts.answers} <= {200, 502, 503}


def unavailable(nginx: Nginx) -> list[str]:
    """Lines of the access log, which are written when requests have ended."""
    return [line for line in nginx.access() if "UNAVAILABLE" in line]


async def test_no_request_waits_twice_for_a_black_hole(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [TIMED_OUT, DISABLED, LOST, UNREACHABLE]
    async with replicas(3) as servers:
        conf = upstream("mcp", servers, f"{LEARN} unavailable=reject gone_after=60s;")
        nginx.start(conf + front(port, "mcp", "proxy_connect_timeout 1s;"))
        home = servers[0]
        ids = (await seats(port, servers, 20))[home.name]
        home.stop()
        with black_hole((home.host, home.port)):
            first = await ask_all(port, ids)
            await until(lambda: len(unavailable(nginx)) == len(first))
            rest = [answer for _ in range(3) for answer in await ask_all(port, ids)]
            await until(lambda: len(unavailable(nginx)) == len(first + rest))
            tried = [line for line in unavailable(nginx)[len(first) :] if home.address in line]
            shown = await state(port, home)
        await home.start()
        await until(lambda: is_in_state(port, home, "up"))
        after = await ask_all(port, ids)
    report(f"first answers within {max(a.took for a in first):.1f} s, the others {max(a.took for a in rest):.2f} s")
    assert told(first) == told(rest) == {(503, "UNAVAILABLE")}
    assert tried == []
    assert (shown["state"], shown["reason"]) == ("unreachable", "connect timed out")
    assert told(after) == {HIT}


async def test_a_connection_that_was_begun_before_its_server_was_back_proves_nothing(nginx, report):
    """It times out later, when others have been served again: the kernel had no reason to try once more meanwhile."""
    (port,) = free_ports(1)
    nginx.allowed += [TIMED_OUT, DISABLED, LOST, UNREACHABLE]
    async with replicas(3) as servers:
        conf = upstream("mcp", servers, f"{LEARN} unavailable=reject gone_after=2s;")
        nginx.start(conf + front(port, "mcp", "proxy_connect_timeout 2s;"))
        home = servers[0]
        early, late, *ids = (await seats(port, servers, 12))[home.name]
        home.stop()
        with black_hole((home.host, home.port)):
            first = asyncio.create_task(ask(port, early))
            await asyncio.sleep(1.2)  # and the kernel tries again a second later, and then two
            second = asyncio.create_task(ask(port, late))
            await first
            await asyncio.sleep(0.4)
        await home.start()
        await until(lambda: is_in_state(port, home, "up"))
        async with traffic(port, ids, pause=0.05) as requests:
            stale = await second
            await requests.round()
    report(f"{len(requests.answers)} answers, the stale one after {stale.took:.1f} s")
    assert told([first.result()]) == {(503, "UNAVAILABLE")}
    assert told([stale]) <= {(503, "UNAVAILABLE"), HIT}
    assert told(requests.answers) == {HIT}


# TLS to the servers


def tls_conf(nginx: Nginx, port: int, servers: list[tuple[Replica, int]]) -> str:
    """Servers of TLS; the first has what is picky about names before it."""
    backends = "".join(
        f"""server {{
            listen 127.0.0.1:{behind} ssl;
            ssl_certificate {nginx.home}/server.pem;
            ssl_certificate_key {nginx.home}/server.key;
            location / {{ add_header X-Replica {replica.name}; add_header Mcp-Session-Id $opened; return 200 '{{}}'; }}
        }}"""
        for replica, behind in servers
    )
    return f"""
    map "$http_mcp_session_id" $opened {{ "" $request_id; default ""; }}
    {backends}
    upstream mcp {{
        zone mcp 128k;
        {LEARN} unavailable=reject gone_after=1s;
        {"".join(f"server {replica.address};" for replica, _ in servers)}
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_connect_timeout 500ms;
        {location()}
        location / {{ proxy_pass https://mcp; }}
        location /named {{ proxy_ssl_server_name on; proxy_ssl_name $host; proxy_pass https://mcp; }}
        location /wrong-ca {{
            proxy_ssl_verify on;
            proxy_ssl_name server.test;
            proxy_ssl_trusted_certificate {nginx.home}/stranger.pem;
            proxy_pass https://mcp;
        }}
    }}
    """


@pytest.mark.parametrize("bad", ["wrong-ca", *FAULTS])
async def test_a_handshake_that_fails_takes_no_other_session_away(nginx, bad):
    authority = Authority(nginx.home, "ca")
    Authority(nginx.home, "stranger")
    authority.issue("server", "server.test")
    path = "/wrong-ca" if bad == "wrong-ca" else f"http://{bad}.bad/named"
    # Round robin's own rules apply to a request without a session: it disables all three servers.
    nginx.allowed += [r"SSL|handshak", TIMED_OUT, DISABLED, ALL_DISABLED, r"Connection reset by peer"]
    port, *ports = free_ports(7)
    servers = [Replica(name) for name in ("amber", "birch", "cedar")]
    async with contextlib.AsyncExitStack() as stack:
        for replica, front_port, behind in zip(servers, ports[:3], ports[3:]):
            replica.port = front_port
            await stack.enter_async_context(picky_about_names((replica.host, front_port), behind))
        nginx.start(tls_conf(nginx, port, list(zip(servers, ports[3:]))))
        seated = await seats(port, servers, 5)
        bad_id, *ids = seated[servers[0].name]
        others = [id for replica in servers[1:] for id in seated[replica.name]]
        spoilt, untouched = [], []
        for _ in range(4):
            # With a session of the first server, and without a session.
            spoilt += await asyncio.gather(ask(port, bad_id, path=path), ask(port, b"", path=path))
            untouched += await ask_all(port, ids + others)
        states = [(await state(port, replica))["state"] for replica in servers]
    assert {answer.status for answer in spoilt} <= {502, 504}
    assert told(untouched) == {HIT}
    assert states == ["up"] * 3


# Resources of the machine that are exhausted


async def test_exhausted_local_ports_take_no_session_away(nginx):
    """One local port alone, and a stream that has it: no second connection to the same server."""
    port, local = free_ports(2)
    nginx.allowed += [r"Cannot assign requested address", r"Address already in use", DISABLED]
    async with replicas(2) as servers:
        conf = upstream("mcp", servers, f"{LEARN} unavailable=reject gone_after=1s;")
        one_port = f"location /one-port {{ proxy_bind 127.0.0.77:{local}; proxy_pass http://mcp; }}"
        nginx.start(conf + front(port, "mcp", one_port))
        holder, *ids = (await seats(port, servers, 4))[servers[0].name]
        opened = await stream(port, holder, path="/one-port")
        failed, untouched = [], []
        for _ in range(4):
            failed.append(await ask(port, holder, path="/one-port"))
            untouched += await ask_all(port, ids)
        shown = await state(port, servers[0])
        opened.close()
        await until(lambda: not servers[0].streams)
    assert {answer.status for answer in failed} <= {500, 502}
    assert told(untouched) == {HIT}
    assert shown["state"] == "up"


# A request that its server answers by closing the connection

KEPT = 30
AT_MOST = {"GET": 2, "DELETE": 2, "PUT": 2, "POST": 1}

LEARNED = f"{LEARN} unavailable=reject;"
PLUS_COOKIE = "sticky cookie srv;"
PLUS_ROUTE = "sticky route $cookie_srv;"


async def keep_connections(port: int, home: Replica, headers: list, count: int) -> None:
    """Leaves nginx with so many idle connections to a server."""
    before = home.accepted
    answers = [asyncio.create_task(send(port, headers=headers + WAIT, patient=True)) for _ in range(count)]
    await until(lambda: len(home.waiting) == count)
    home.answer_now.set()
    await asyncio.gather(*answers)
    home.answer_now.clear()
    assert home.accepted > before or count <= 2


async def poison(port: int, servers: list[Replica], own: list, others: list, count: int) -> dict[str, int]:
    """Sends each kind of poisoned request of a session; how often a server has seen it at most."""
    seen = {}
    for method in AT_MOST:
        await keep_connections(port, servers[0], own, count)
        for replica in servers:
            replica.closed = 0
        answer = await send(port, method=method, headers=own + [("X-Close", "1")])
        seen[method] = max(replica.closed for replica in servers)
        assert answer.status == 502
        assert servers[0].closed > 0
        after = await send(port, headers=others)
        assert (after.status, after.replica) == (200, servers[0].name)
    return seen


def kept(directive: str) -> str:
    """By default, from nginx 1.29.7 on."""
    return f"{directive} keepalive {KEPT};" if version(BINARY) < (1, 29, 7) else directive


async def test_a_poisoned_request_of_a_session_is_sent_twice_at_most(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed += [CLOSED, DISABLED, r"Connection reset by peer"]
    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, kept(LEARNED)) + front(port, "mcp"), workers=1)
        own, other = (await seats(port, servers, 2))[servers[0].name]
        as_header = [[("Mcp-Session-Id", id)] for id in (own, other)]
        seen = await poison(port, servers, *as_header, count=KEPT)
    report(f"{KEPT} kept connections: {seen}")
    assert all(seen[method] <= AT_MOST[method] for method in AT_MOST)


@pytest.mark.plus_syntax
@pytest.mark.parametrize("directive", [PLUS_COOKIE, PLUS_ROUTE])
async def test_a_poisoned_request_of_a_sticky_client_is_sent_twice_at_most(nginx, report, directive):
    (port,) = free_ports(1)
    nginx.allowed += [CLOSED, ALL_DISABLED, r"Connection reset by peer"]
    async with replicas(3) as servers:
        text = upstream("mcp", servers, kept(directive), "max_fails=0")
        for route, replica in zip("abc", servers):
            text = text.replace(replica.address, f"{replica.address} route={route}")
        nginx.start(text + listen(port, "mcp"), workers=1)
        own = [("Cookie", "srv=a"), ("Mcp-Session-Id", b"one")]
        for replica in servers:
            replica.sessions.add(b"one")
        seen = await poison(port, servers, own, own, count=KEPT)
    report(f"{KEPT} kept connections: {seen}")
    assert all(seen[method] <= AT_MOST[method] for method in AT_MOST)
