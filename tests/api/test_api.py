"""What sticky_api shows: JSON by its schema, and numbers that add up. Any other request gets an error."""

import asyncio
import collections
import contextlib
import json
import random
import re
import shutil
import subprocess

import httpx
import pytest

from harness.clients.api import JSON, Api, adds_up, check, location
from harness.clients.http import Response, crowd, send, stream
from harness.conf import LEARN, SAMPLES, STREAMING, listen, sample, upstream
from harness.nginx import KILLED, ROOT
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.servers.replica import replicas

HTTP = httpx.Client(timeout=PATIENCE)

PROMETHEUS = """
global: {{ scrape_interval: 1s }}
scrape_configs:
  - job_name: nginx
    metrics_path: /sticky/
    static_configs: [{{ targets: ["{address}"] }}]
"""


def tool(name: str) -> str:
    """A program of Debian's package prometheus."""
    return shutil.which(name) or pytest.skip(f"no {name} in PATH")


DASHBOARD = (ROOT / "contrib" / "grafana.json").read_text()


def dashboard() -> list[str]:
    """The queries of the dashboard for Grafana, with its variables filled in."""
    panels = json.loads(DASHBOARD)["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    return [re.sub(r"\$(zone|instance)", ".*", query).replace("$__rate_interval", "1m") for query in queries]


def conf(port: int, servers, directives: str = f"{LEARN};", write: bool = False, server: str = "") -> str:
    return upstream("mcp", servers, directives, server) + listen(port, "mcp", STREAMING + location(write))


def logged(nginx) -> collections.Counter:
    """Requests by $upstream_sticky_status, as the access log has them."""
    return collections.Counter(line.split('"')[1].lower() for line in nginx.access())


async def test_state_is_shown_by_resource(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers:
        nginx.start(conf(port, servers))
        first = await send(port)
        await send(port, first.id)
        await send(port, b"stranger")
        report = await api.settled(3)
        assert report["nginx_version"] == ".".join(map(str, nginx.version))
        assert report["write"] is False
        zone = report["zones"]["sessions"]
        assert (zone["size_bytes"], zone["timeout_ms"], zone["live"]) == (1 << 20, 600_000, 1)
        assert zone["requests"]["new"] == zone["requests"]["hit"] == zone["requests"]["unknown"] == 1
        shown = report["upstreams"]["mcp"]
        assert shown["zone"] == "sessions"
        assert set(shown["servers"]) == {replica.address for replica in servers}
        assert {server["state"] for server in shown["servers"].values()} == {"up"}
        (holder,) = (server for server in servers if server.name == first.replica)
        assert shown["servers"][holder.address]["live"] == shown["servers"][holder.address]["hits"] == 1

        for path, kind, part in [
            ("zones/sessions", "zone", zone),
            ("upstreams/mcp", "upstream", shown),
            (f"upstreams/mcp/servers/{holder.address}", "server", shown["servers"][holder.address]),
            (f"upstreams%2Fmcp/servers/{holder.address}/", "server", shown["servers"][holder.address]),
        ]:
            assert await api.get(path, kind) == part


async def test_state_of_a_server(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    nginx.allowed += [r"\[error\]", r"\[warn\]"]
    async with replicas(2) as servers:
        reject = f"{LEARN} unavailable=reject;"
        nginx.start(conf(port, servers, reject))
        first = await send(port)
        holder = next(server for server in servers if server.name == first.replica)
        other = next(server for server in servers if server is not holder)
        path = f"upstreams/mcp/servers/{holder.address}"
        holder.stop()
        assert (await send(port, first.id)).status == 503
        shown = await api.get(path, "server")
        assert (shown["state"], shown["reason"]) == ("unreachable", "connection refused")
        assert shown["since"] and shown["last_failure"] and shown["seen_by"]
        assert shown["admin"] == "in_service"
        await asyncio.to_thread(nginx.reload, conf(port, [other], reject))
        shown = await api.get(path, "server")
        assert (shown["state"], shown["reason"], shown["live"]) == ("gone", "not in the configuration", 1)
        report = await api.settled(2)
        assert report["zones"]["sessions"]["rejected"] == {"unknown": 0, "gone": 0, "unavailable": 1}


async def test_parameters_of_a_server_are_shown(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        text = conf(port, servers, server="route=a")
        nginx.start(text.replace(f"{servers[1].address} route=a", f"{servers[1].address} route=b drain"))
        shown = (await Api(port).get("upstreams/mcp", "upstream"))["servers"]
        first, second = (shown[server.address] for server in servers)
        assert (first["route"], first["state"], first["drain"]) == ("a", "up", False)
        assert (second["route"], second["state"], second["admin"], second["drain"]) == ("b", "up", "draining", True)


async def test_numbers_add_up(nginx, report):
    """Through a load with everything in it: rebinds, expiry, eviction, unknown ids, streams and reloads."""
    (port,) = free_ports(1)
    api = Api(port)
    nginx.allowed += [r"\[error\]", r"\[warn\]"]
    small = LEARN.replace("1m", "32k") + " timeout=2s unavailable=rebind;"
    async with replicas(3) as servers:
        # One failure makes a server unavailable for a second.
        nginx.start(conf(port, servers, small, server="fail_timeout=1s"))
        firsts: list[Response] = []
        sent = 0

        async def one(_: int) -> None:
            nonlocal sent
            sent += 1
            choice = random.random()
            if not firsts or choice < 0.5:
                firsts.append(await send(port))
            elif choice < 0.9:
                # Any server accepts the request, and the session moves there.
                await send(port, random.choice(firsts[-50:]).id, headers=[("X-Status", "201")])
            elif choice < 0.95:
                await send(port, b"stranger")
            else:
                (await stream(port, headers=[("X-Stream", "1")])).close()

        for turn in range(3):
            await crowd(700, 20, one)
            servers[turn].stop()
            await crowd(200, 20, one)
            await servers[turn].start()
            await asyncio.to_thread(nginx.reload)
        for replica in servers:
            replica.end_streams()
        state = await api.settled(sent)
        adds_up(state)
        (zone,) = state["zones"].values()
        assert zone["requests"] == {status: logged(nginx)[status] for status in zone["requests"]}
        assert sum(zone["requests"].values()) == sent
        # Which of the two removes a session depends on this machine's speed.
        assert zone["rebound"] > 0 and zone["expired"] + zone["evicted"] > 0
        report(f"{sent:,} requests: {zone['requests']}, evicted {zone['evicted']}, rebound {zone['rebound']}")


async def test_numbers_add_up_after_kills(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    nginx.allowed += [KILLED, r"\[warn\]"]
    async with replicas(3) as servers:
        nginx.start(conf(port, servers, LEARN.replace("1m", "32k") + ";"))

        async def learn(_: int) -> None:
            with contextlib.suppress(OSError):
                await send(port)

        for _ in range(5):
            killer = asyncio.to_thread(nginx.kill_worker, random.choice(nginx.workers))
            await asyncio.gather(crowd(400, 20, learn), killer)
        adds_up(await api.get())


async def test_samples_of_logs(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as servers:
        nginx.start((SAMPLES / "logs.conf").read_text() + conf(port, servers))
        first = await send(port, patient=True)
        await send(port, first.id, path='/mcp/"quoted"')
        await Api(port).settled(2)
        lines = [json.loads(line) for line in (nginx.home / "sticky.json.log").read_text().splitlines()]
        # Each worker writes its line when it has sent the answer: maybe after the next request's.
        assert sorted(line["sticky_status"] for line in lines) == ["HIT", "NEW"]
        assert {line["sticky_server"] for line in lines} == {servers[0].address}
        for log in ("sticky.log", "sticky.json.log"):
            text = (nginx.home / log).read_text()
            assert f"{servers[0].address}" in text and first.id.decode() not in text


async def test_sample_of_the_api(nginx):
    """Those of this machine may look, under its name only; who changes something has a password."""
    port, sessions_port = free_ports(2)
    async with replicas(1) as servers:
        nginx.start(sample("api.conf", port, []) + conf(sessions_port, servers))
        url = f"http://127.0.0.1:{port}"
        assert HTTP.get(f"{url}/sticky/").json()["write"] is False
        assert HTTP.get(f"{url}/sticky/", headers={"Host": "example.com"}).status_code == 421
        path = f"/sticky-admin/upstreams/mcp/servers/{servers[0].address}"
        assert HTTP.patch(url + path, json={"drain": True}).status_code == 401
        assert HTTP.patch(url + path.replace("-admin", ""), json={"drain": True}).status_code == 405


async def test_head_is_answered_without_a_body(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as servers:
        nginx.start(conf(port, servers))
        head = HTTP.head(f"http://127.0.0.1:{port}/sticky/")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0
        assert head.headers["cache-control"] == "no-store"


async def test_prometheus_scrapes(nginx, tmp_path):
    """promtool has nothing to say, and a Prometheus takes the numbers."""
    port, prometheus_port = free_ports(2)
    url = f"http://127.0.0.1:{port}/sticky/"
    async with replicas(2) as servers:
        nginx.start(conf(port, servers))
        first = await send(port)
        for _ in range(3):
            await send(port, first.id)
        await Api(port).settled(4)

        text = HTTP.get(url, params={"format": "prometheus"})
        assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert HTTP.get(url, headers={"Accept": "text/plain; version=0.0.4"}).text.count("# HELP") > 20
        lint = subprocess.run([tool("promtool"), "check", "metrics"], input=text.text, capture_output=True, text=True)
        assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")

        config = tmp_path / "prometheus.yml"
        config.write_text(PROMETHEUS.format(address=f"127.0.0.1:{port}"))
        arguments = [
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
        ]
        with open(tmp_path / "prometheus.log", "wb") as log:
            prometheus = subprocess.Popen([tool("prometheus"), *arguments], stderr=log)
        try:

            async def ask(query: str) -> dict[str, float]:
                async with httpx.AsyncClient(timeout=PATIENCE) as http:
                    answer = await http.get(
                        f"http://127.0.0.1:{prometheus_port}/api/v1/query", params={"query": query}
                    )
                answer.raise_for_status()
                return {
                    "/".join(series["metric"].get(label, "") for label in ("status", "server")): float(series["value"][1])
                    for series in answer.json()["data"]["result"]
                }

            async def has_scraped() -> bool:
                with contextlib.suppress(httpx.HTTPError, ValueError):  # it is starting
                    return bool(await ask("nginx_sticky_info"))
                return False

            await until(has_scraped)
            assert (await ask('nginx_sticky_requests_total{status="hit",zone="sessions"}')) == {"hit/": 3}
            live = await ask("nginx_sticky_server_live_sessions")
            (holder,) = (server for server in servers if server.name == first.replica)
            assert live == {f"/{holder.address}": 1}
            up = await ask('nginx_sticky_server_state{state="up"} == 1')
            assert set(up) == {f"/{server.address}" for server in servers}
            for query in dashboard():
                await ask(query)
                assert "nginx_sticky_" in query
            # The queries of its variables as well.
            for metric in re.findall(r"nginx_sticky_\w+", DASHBOARD):
                assert f"# TYPE {metric} " in text.text, metric
        finally:
            prometheus.terminate()
            prometheus.wait(PATIENCE)


async def test_whoever_asks_wrongly_is_told(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(1) as servers:
        nginx.start(conf(port, servers, write=True))
        for status, allow, method, path in [
            (404, "", "GET", "nothing"),
            (404, "", "GET", "zones/other"),
            (404, "", "GET", "upstreams/other"),
            (404, "", "GET", "upstreams/mcp/servers/127.0.0.1:1"),
            (405, "GET, HEAD", "POST", ""),
            (405, "GET, HEAD", "DELETE", "zones/sessions"),
            (405, "GET, HEAD", "BREW", ""),
            (400, "", "GET", "?format=xml"),
        ]:
            response = await api.send(path, method, headers=[JSON])
            assert (response.status, response.text("allow")) == (status, allow), path
            assert response.text("content-type") == "application/json"
            document = json.loads(response.body)
            check("error", document)
            assert document["error"]["status"] == status
