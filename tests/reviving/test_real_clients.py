"""Clients that people use go on after a restart of all their servers. None starts a new session by itself."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from harness.asked import ASKED, Asked, missing
from harness.nginx import Nginx
from harness.patience import until
from harness.reviving import REVIVE, revived, start
from harness.sdk import Server, servers

# With STICKY_LONG=1 each client both calls and rests while its server is away; otherwise the half of these pairs.
LONG = bool(os.environ.get("STICKY_LONG"))
KINDS = ["python-1", "everything", "supergateway", "mcp-proxy", "fastmcp"]
# They are back before they count as gone.
AWAY = REVIVE.replace("gone_after=1s", "gone_after=60s")


def tool(kind: str) -> str:
    return "get-env" if kind == "everything" else "count"


def chosen(kind: str) -> dict[str, str]:
    """The kinds of clients by their names; those that call while their server is away are called `busy`."""
    names = {}
    for number, client in enumerate(ASKED, KINDS.index(kind)):
        for word in ["busy", "idle"] if LONG else [["busy", "idle"][number % 2]]:
            names[f"{client} {word}"] = client
    return {name: client for name, client in names.items() if client not in missing()}


@pytest.fixture
def two(request) -> Iterator[list[Server]]:
    kind = request.param
    if kind in missing():
        pytest.skip(f"{kind} is not installed")
    with servers(kind, 2) as made:
        yield made


async def restart_all(nginx: Nginx, two: list[Server], asked: Asked, busy: list[str]) -> dict[str, dict]:
    """The results of the clients that call while no server is there."""
    for server in two:
        server.kill()
    calls = asked.ask(busy)
    if busy:
        await until(lambda: any("is unreachable" in line for line in nginx.errors()))
    for server in two:
        server.start()
    for server in two:
        await asyncio.to_thread(server.wait)
    return await calls


def went_wrong(results: dict[str, dict]) -> dict[str, str]:
    return {name: result["error"] for name, result in results.items() if "error" in result}


@pytest.mark.parametrize(("two", "kind"), [(kind, kind) for kind in KINDS], indirect=["two"], ids=KINDS)
async def test_after_a_restart_of_all_servers_clients_go_on(nginx, report, tmp_path, two, kind):
    port = start(nginx, two, AWAY)
    names = chosen(kind)
    busy = [name for name in names if name.endswith("busy")]
    async with Asked(names, port, tool(kind), tmp_path) as asked:
        assert went_wrong(await asked.ask(asked.names)) == {}
        during = await restart_all(nginx, two, asked, busy)
        after = await asked.ask(asked.names)
        again = await asked.ask(asked.names)
        report(f"{len(names)} clients, {revived(nginx)} revived: {went_wrong(during) | went_wrong(after)}")
        assert [went_wrong(results) for results in (during, after, again)] == [{}, {}, {}]
        # Some clients have more than one session.
        sessions = Counter(re.findall(r"session revived at server \S+ \(hash (\w+)\)", "\n".join(nginx.errors())))
        assert len(sessions) >= len(names) and set(sessions.values()) == {1}
