"""A server is removed while real MCP clients use it: drained first, or, with plain nginx, by a reload without it."""

import asyncio
import json
import logging
import random
import time
import uuid
from collections import Counter
from datetime import timedelta

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from harness.clients.api import Api, location
from harness.conf import listen, upstream
from harness.patience import PATIENCE, WHOLE_TEST, until
from harness.ports import free_ports, is_connected
from harness.sdk import FRONT, Server, servers

CLIENTS = 50
CALLS = range(2, 6)  # in a session
PAUSE = 1  # seconds between two calls, on average
OPEN = 5  # sessions that the server has at least when it is taken away
AFTER = 20  # sessions that end when it is no more


class Clients:
    """Each lives one session after the other, ends it, and tells of every call that failed."""

    def __init__(self, port: int):
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self.started: dict[str, float] = {}  # when the last session of each replica began
        self._url = f"http://127.0.0.1:{port}/mcp"
        self._stopping = False
        logging.getLogger("mcp").setLevel(logging.CRITICAL)

    async def _session(self) -> None:
        begun = time.monotonic()
        async with (
            httpx.AsyncClient(timeout=PATIENCE, headers={"X-Client": uuid.uuid4().hex}) as http,
            streamable_http_client(self._url, http_client=http) as (read, write, _),
            # Without it a client whose server dies in the middle of an answer waits for ever.
            ClientSession(read, write, read_timeout_seconds=timedelta(seconds=PATIENCE)) as session,
        ):
            await session.initialize()
            for number in range(random.choice(CALLS)):
                await asyncio.sleep(random.uniform(0, 2 * PAUSE))
                result = await session.call_tool("count", {})
                if result.isError or result.structuredContent["count"] != number + 1:
                    raise ValueError(f"call {number + 1} got {result.content}")
                replica = result.structuredContent["replica"]
                self.started[replica] = max(begun, self.started.get(replica, 0))
                self.done["calls"] += 1
        self.done["sessions"] += 1

    async def _client(self) -> None:
        await asyncio.sleep(random.uniform(0, 3))
        while not self._stopping:
            try:
                await self._session()
            except* Exception as group:
                self.failures.append(str(group.exceptions[0]))
                await asyncio.sleep(PAUSE)

    async def __aenter__(self) -> "Clients":
        self._tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def until(self, sessions: int) -> None:
        """So many more sessions have ended, well or not."""
        have = self.done["sessions"] + len(self.failures)
        while self.done["sessions"] + len(self.failures) < have + sessions:
            await asyncio.sleep(0.1)

    def __str__(self) -> str:
        return f"{self.done['calls']} calls in {self.done['sessions']} sessions, {len(self.failures)} sessions failed"


async def test_drained_under_clients(nginx, report):
    (port,) = free_ports(1)
    api = Api(port)
    with servers("python-1") as three:
        nginx.start(upstream("mcp", three, "sticky_learn zone=sessions:1m;") + listen(port, "mcp", FRONT + location(True)))
        target = f"upstreams/mcp/servers/{three[0].address}"

        async def empty_at() -> float:
            while (await api.get(target, "server"))["live"]:
                await asyncio.sleep(0.02)
            return time.monotonic()

        async with Clients(port) as clients:
            while (await api.get(target, "server"))["live"] < OPEN:
                await asyncio.sleep(0.1)
            open_ones = (await api.change("PATCH", target, "server", {"drain": True}))["live"]
            drained_at = time.monotonic()
            counting = asyncio.create_task(empty_at())
            # Long before its time is over: else the test is.
            answer = await api.send(target + "?wait=empty&timeout=1h", timeout=WHOLE_TEST)
            answered_at = time.monotonic()
            late = answered_at - await counting
            assert json.loads(answer.body)["live"] == 0
            # Its last client has left. Wait until nginx has noticed.
            await until(lambda: not is_connected(three[0].port))
            three[0].kill()
            await clients.until(AFTER)
        report(f"drain: {clients}; {open_ones} open, empty after {answered_at - drained_at:.1f} s, told {late * 1000:.0f} ms later")
        assert clients.failures == []
        # The clock of a session starts before its first request.
        assert clients.started[three[0].name] < drained_at


async def test_removed_from_plain_nginx(new_nginx, report):
    """The same clients, each held to one server by a hash, and the usual way to take one away."""
    (port,) = free_ports(1)
    nginx = new_nginx(module=None)
    nginx.allowed += [r"\[error\]", r"\[warn\]"]

    def conf(some: list[Server]) -> str:
        return upstream("mcp", some, "hash $http_x_client consistent;") + listen(port, "mcp", FRONT)

    with servers("python-1") as three:
        nginx.start(conf(three))
        async with Clients(port) as clients:
            await clients.until(AFTER)
            before = len(clients.failures)
            await asyncio.to_thread(nginx.reload, conf(three[1:]))
            three[0].kill()
            await clients.until(AFTER)
    report(f"plain nginx: {clients}")
    assert before == 0
    assert len(clients.failures) > 0
