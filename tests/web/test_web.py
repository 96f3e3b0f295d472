"""What web applications need from sticky sessions, with the figures from users' reports."""

import asyncio

import pytest

from harness.clients.multiplex import http2, http3
from harness.nginx import BINARY, HTTP2_ON, OWN_STICKY, version, was_built_with
from harness.patience import until
from harness.ports import free_ports
from harness.servers.webapp import App, Browser, apps
from harness.tls import Authority

LEARN = "create=$upstream_cookie_sid lookup=$cookie_sid"
DOWN = r"connect\(\) failed \(111|reset by peer|temporarily disabled|no live upstreams|is (unreachable|gone): "

# Each method of affinity, and the cookie that the browser gets.
DIRECTIVES = {
    "sticky_learn": f"sticky_learn zone=s:1m {LEARN};",
    "learn": f"sticky learn zone=s:1m {LEARN};",
    "learn-header": f"sticky learn zone=s:1m {LEARN} header;",
    "cookie": "sticky cookie lb path=/;",
}


def skip_own_sticky(directive: str) -> None:
    if not directive.startswith("sticky_learn") and version(BINARY) >= OWN_STICKY:
        pytest.skip("`sticky` is nginx's own here")


def site(port: int, servers: list[App | str], directive: str, beside: str = "", http: str = "") -> str:
    lines = "".join(
        f"server {server if isinstance(server, str) else server.address + ' max_fails=0'};\n" for server in servers
    )
    return f"""
        upstream app {{ zone app 128k; {directive} {lines} }}
        {http}
        server {{
            listen 127.0.0.1:{port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
            location / {{ proxy_pass http://app; }}
            {beside}
        }}"""


async def visit(port: int, count: int) -> list[tuple[Browser, str]]:
    """Browsers with a session, each with the name of its server."""
    browsers = [Browser(port) for _ in range(count)]
    return [(browser, (await browser.get()).replica) for browser in browsers]


async def at_home(browsers: list[tuple[Browser, str]]) -> int:
    answers = [(await browser.get(), home) for browser, home in browsers]
    return sum(answer.replica == home and answer.known for answer, home in answers)


# A backup server answers


async def test_20_of_20_sessions_come_home_from_a_maintenance_page(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed.append(DOWN)
    async with apps("a", "b", "m", maintenance=("m",)) as (a, b, m):
        learn = f"sticky_learn zone=s:1m {LEARN};"
        up = site(port, [a, b, f"{m.address} backup"], learn)
        nginx.start(up)
        browsers = await visit(port, 20)
        down = up.replace("max_fails=0;", "max_fails=0 down;")
        await asyncio.to_thread(nginx.reload, down)
        away = [await browser.get() for browser, _ in browsers for _ in range(2)]
        await asyncio.to_thread(nginx.reload, up)
        home = await at_home(browsers)
    report(f"{home} of 20 sessions at home after a maintenance page")
    assert {(answer.status, answer.replica) for answer in away} == {(200, "m")}
    assert home == 20


async def test_the_same_without_a_reload_and_for_longer_than_gone_after(nginx, report):
    (port,) = free_ports(1)
    nginx.allowed.append(DOWN)
    async with apps("a", "b", "m", "n", maintenance=("m", "n")) as (a, b, m, n):
        learn = f"sticky_learn zone=s:1m {LEARN} gone_after=1s;"
        nginx.start(site(port, [a, b, f"{m.address} backup", f"{n.address} backup"], learn))
        browsers = await visit(port, 20)
        a.stop(), b.stop()
        stand_ins: dict[int, set[str]] = {}
        said = set()

        async def outage_is_long() -> bool:
            for number, (browser, _) in enumerate(browsers):
                answer = await browser.get()
                stand_ins.setdefault(number, set()).add(answer.replica)
                said.add(answer.sticky)
            return "GONE" in said

        await until(outage_is_long)
        await outage_is_long()
        await a.start()
        await b.start()

        async def is_back() -> bool:
            return {(await Browser(port).get()).replica for _ in range(4)} == {"a", "b"}

        await until(is_back)
        home = await at_home(browsers)
    report(f"{home} of 20 sessions at home after an outage that said {sorted(said)}")
    # Each session had one of the backups, and both had some.
    assert all(len(names) == 1 for names in stand_ins.values())
    assert {name for names in stand_ins.values() for name in names} == {"m", "n"}
    assert home == 20


async def test_a_login_made_at_the_backup_stays_there(nginx):
    (port,) = free_ports(1)
    nginx.allowed.append(DOWN)
    async with apps("a", "m") as (a, m):
        nginx.start(site(port, [a, f"{m.address} backup"], f"sticky_learn zone=s:1m {LEARN};"))
        old = (await visit(port, 1))[0][0]
        a.stop()
        fresh = (await visit(port, 1))[0]
        # The backup server does not know the id and issues another one.
        moved = (old, (await old.get()).replica)
        await a.start()

        async def is_back() -> bool:
            return (await Browser(port).get()).replica == "a"

        await until(is_back)
        assert (fresh[1], moved[1]) == ("m", "m")
        assert await at_home([fresh, moved]) == 2


# A full server


async def test_12_of_12_sessions_outlive_a_full_server(nginx, report):
    (port,) = free_ports(1)
    async with apps("a", "b") as (a, b):
        servers = [f"{a.address} max_conns=2", f"{b.address} max_conns=50"]
        nginx.start(site(port, servers, f"sticky_learn zone=s:1m {LEARN};"))
        browsers = [(browser, home) for browser, home in await visit(port, 24) if home == "a"]
        elsewhere = 0
        for browser, _ in browsers:
            # Another cookie from the server of the login form would log the browser out.
            lines = "Cookie: sid=" + browser.jar["sid"]
            answers = await asyncio.gather(*(browser.get("/slow", lines, cookies=False) for _ in range(6)))
            elsewhere += sum(answer.replica == "b" for answer in answers)
        home = await at_home(browsers)
    report(f"{home} of {len(browsers)} sessions at home, {elsewhere} requests elsewhere")
    assert len(browsers) == 12 and elsewhere >= 12
    assert home == 12


@pytest.mark.plus_syntax
async def test_a_full_server_leaves_the_cookie_as_it_is(nginx):
    (port,) = free_ports(1)
    async with apps("a", "b") as (a, b):
        servers = [f"{a.address} max_conns=2 route=a", f"{b.address} max_conns=50 route=b"]
        nginx.start(site(port, servers, "sticky cookie lb path=/;"))
        changed = 0
        for _ in range(10):
            browser = Browser(port, {"lb": "a"})
            answers = await asyncio.gather(*(browser.get("/slow") for _ in range(6)))
            assert {answer.replica for answer in answers} == {"a", "b"}
            changed += browser.jar["lb"] != "a"
    assert changed == 0


# X-Accel-Redirect

COLUMNS = {"none": "/new", "file": "/accel?/file", "same": "/accel?/same", "other": "/accel?/other"}


@pytest.mark.parametrize("directive", DIRECTIVES)
async def test_60_of_60_after_an_answer_with_x_accel_redirect(nginx, report, directive):
    skip_own_sticky(DIRECTIVES[directive])
    port, *_ = free_ports(1)
    inner = """
        location = /file { internal; return 200 "file"; }
        location = /same { internal; proxy_pass http://app/plain; }
        location = /other { internal; proxy_pass http://other/plain; }
    """
    async with apps("a", "b", "c", "d", "e") as (a, b, c, d, e):
        beside = DIRECTIVES[directive].replace("zone=s:1m", "zone=t:1m")
        other = f"upstream other {{ zone other 128k; {beside} server {d.address}; server {e.address}; }}"
        nginx.start(site(port, [a, b, c], DIRECTIVES[directive], inner, other))
        right = {}
        for column, uri in COLUMNS.items():
            browsers = [Browser(port) for _ in range(60)]
            for browser in browsers:
                answer = await browser.get(uri)
                assert len([1 for name, value in answer.headers if (name, value[:3]) == ("set-cookie", "lb=")]) <= 1
            right[column] = sum([(await browser.get()).known for browser in browsers])
    report(right)
    assert right == dict.fromkeys(COLUMNS, 60)


# Taking over


async def test_an_upgrade_by_the_server_that_takes_over_moves_the_session(nginx):
    (port,) = free_ports(1)
    nginx.allowed.append(DOWN)
    async with apps("a", "b", "c") as servers:
        nginx.start(site(port, servers, f"sticky_learn zone=s:1m {LEARN};"))
        for uri, status in [("/websocket", 101), ("/status/304", 304), ("/status/302", 302)]:
            browser = Browser(port)
            home = (await browser.get()).replica
            lost = next(app for app in servers if app.name == home)
            lost.stop()
            line = "Cookie: sid=" + browser.jar["sid"]
            upgrade = ["Upgrade: websocket", "Connection: Upgrade"] if status == 101 else []
            moved = await browser.get(uri, line, *upgrade, cookies=False)
            after = [await browser.get("/plain", line, cookies=False) for _ in range(6)]
            assert (moved.status, moved.sticky) == (status, "REBOUND")
            assert {(answer.replica, answer.sticky) for answer in after} == {(moved.replica, "HIT")}
            await lost.start()

            async def is_back(name: str = home) -> bool:
                return name in {(await Browser(port).get()).replica for _ in range(6)}

            await until(is_back)


async def test_a_redirect_to_the_login_after_the_home_has_failed_moves_nothing(nginx):
    (port,) = free_ports(1)
    async with apps("a", "b") as (a, b):
        text = site(port, [a, b], f"sticky_learn zone=s:1m {LEARN};", "proxy_next_upstream error timeout http_500;")
        nginx.start(text)
        browser, home = (await visit(port, 1))[0]
        (a if home == "a" else b).fails = True
        line = "Cookie: sid=" + browser.jar["sid"]
        answers = [await browser.get("/fail", line, cookies=False) for _ in range(3)]
        assert {answer.sticky for answer in answers} == {"UNAVAILABLE"}
        assert home not in {answer.replica for answer in answers}
        assert await at_home([(browser, home)]) == 1


# Several cookies of one name


async def test_40_of_40_with_a_stale_cookie_in_either_order(nginx, report):
    (port,) = free_ports(1)
    async with apps("a", "b", "c") as servers:
        # Two buffers of 64k take the largest header below.
        nginx.start("large_client_header_buffers 4 64k;" + site(port, servers, f"sticky_learn zone=s:1m {LEARN};"))
        browsers = await visit(port, 40)
        right = {}
        for order in ["sid=stale; sid={}", "sid={}; sid=stale", "a=b; sid=1; sid=2; sid=3; sid={}"]:
            answers = [
                (await browser.get("/plain", "Cookie: " + order.format(browser.jar["sid"]), cookies=False), home)
                for browser, home in browsers
            ]
            right[order] = sum(answer.replica == home for answer, home in answers)
        lines = [
            (await browser.get("/plain", "Cookie: sid=stale", f"Cookie: sid={browser.jar['sid']}", cookies=False), home)
            for browser, home in browsers
        ]
        right["two lines"] = sum(answer.replica == home for answer, home in lines)
        # No more than four of them are looked up.
        many = await Browser(port).get("/plain", "Cookie: " + "; ".join(["sid=stale"] * 3000), cookies=False)
    report(right)
    assert set(right.values()) == {40}
    assert (many.status, many.sticky) == (200, "UNKNOWN")


@pytest.mark.parametrize("client", [http2, http3])
async def test_cookies_that_come_as_crumbs(nginx, client):
    option = f"--with-http_v{client.__name__[-1]}_module"
    if not was_built_with(BINARY, option):
        pytest.skip(f"nginx was built without {option}")
    authority = Authority(nginx.home, "ca")
    authority.issue("front", "localhost")
    port, secure = free_ports(2)
    listen = f"listen 127.0.0.1:{secure} ssl http2;"
    if client is http3:
        listen = f"listen 127.0.0.1:{secure} quic reuseport;"
    elif nginx.version >= HTTP2_ON:
        listen = f"listen 127.0.0.1:{secure} ssl; http2 on;"
    front = f"""server {{
        {listen}
        ssl_certificate {nginx.home}/front.pem;
        ssl_certificate_key {nginx.home}/front.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ proxy_pass http://app; }}
    }}"""
    async with apps("a", "b", "c") as servers:
        nginx.start(site(port, servers, f"sticky_learn zone=s:1m {LEARN};", http=front))
        browsers = await visit(port, 12)
        async with client(secure, nginx.home / "ca.pem") as connection:
            for browser, home in browsers:
                crumbs = ["a=b", "sid=stale", f"sid={browser.jar['sid']}"]
                answer = await connection.send_whole("GET", "/plain", headers=[("cookie", crumb) for crumb in crumbs])
                assert (answer.status, answer.sticky, answer.replica) == (200, "HIT", home)


async def test_60_of_60_sessions_regenerated_in_the_answer_that_began_them(nginx, report):
    (port,) = free_ports(1)
    async with apps("a", "b", "c") as servers:
        nginx.start(site(port, servers, f"sticky_learn zone=s:1m {LEARN};"))
        browsers = [Browser(port) for _ in range(60)]
        homes = [(await browser.get("/regenerate")).replica for browser in browsers]
        right = await at_home(list(zip(browsers, homes, strict=True)))
    report(f"{right} of 60")
    assert right == 60


# An id made by the client


async def test_30_first_requests_at_once_are_balanced_and_the_first_answer_binds(nginx, report):
    (port,) = free_ports(1)
    own = "create=$http_authorization lookup=$http_authorization"
    async with apps("a", "b", "c") as servers:
        nginx.start(site(port, servers, f"sticky_learn zone=s:1m {own};"), workers=1)

        async def ask(uri: str):
            return await Browser(port).get(uri, "Authorization: Bearer one", cookies=False)

        first = [answer.replica for answer in await asyncio.gather(*(ask("/slow") for _ in range(30)))]
        then = [answer.replica for answer in await asyncio.gather(*(ask("/plain") for _ in range(30)))]
    report(f"first {[first.count(name) for name in 'abc']}, then {[then.count(name) for name in 'abc']}")
    assert [first.count(name) for name in "abc"] == [10, 10, 10]
    assert len(set(then)) == 1
