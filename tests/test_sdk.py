"""Real clients and real servers of the official SDKs."""

import asyncio
import contextlib
import json
import logging
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client

from harness.conf import sample
from harness.http import crowd, send
from harness.nginx import ROOT
from harness.ports import free_ports

SDK = Path(__file__).parent / "sdk"
NAMES = ["amber", "birch", "cedar"]

CLIENTS = 30
STEPS = 5


class Process:
    """A replica in a process of its own."""

    def __init__(self, command: list[str], name: str, port: int):
        self.name = name
        self.port = port
        self._process = subprocess.Popen([*command, name, str(port)], stderr=subprocess.DEVNULL)

    def wait_for(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5) and None
            except httpx.TransportError:
                assert self._process.poll() is None and time.monotonic() < deadline, f"{self.name} did not start"
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def processes(*command: str) -> Iterator[list[Process]]:
    started: list[Process] = []
    try:
        for name, port in zip(NAMES, free_ports(len(NAMES))):
            started.append(Process(list(command), name, port))
        for process in started:
            process.wait_for()
        yield started
    finally:
        for process in started:
            process.stop()


@pytest.fixture(scope="module")
def python_replicas() -> Iterator[list[Process]]:
    with processes(sys.executable, str(SDK / "replica.py")) as started:
        yield started


@pytest.fixture(scope="module")
def typescript() -> Path:
    """A folder with the TypeScript SDK installed and our scripts beside it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node and npm in PATH")
    home = ROOT / "build" / "typescript"
    home.mkdir(parents=True, exist_ok=True)
    lock = "package-lock.json"
    fresh = not (home / lock).exists() or (home / lock).read_bytes() != (SDK / lock).read_bytes()
    for file in SDK.glob("*"):
        if file.suffix in (".json", ".mjs"):
            shutil.copy(file, home)
    if fresh or not (home / "node_modules").exists():
        (home / lock).unlink()  # there again only when the install is complete
        shutil.copy(SDK / lock, home / lock)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=home, check=True)
    return home


@pytest.fixture(scope="module")
def typescript_replicas(typescript: Path) -> Iterator[list[Process]]:
    with processes("node", str(typescript / "replica.mjs")) as started:
        yield started


async def answer_sampling(context, params) -> types.CreateMessageResult:
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="pong"), model="none"
    )


async def answer_elicitation(context, params) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"colour": "green"})


async def live_a_session(url: str, done: Counter) -> tuple[bytes, set[str]]:
    """Everything that a client does in a session's life; the session's id and the replicas that it met."""
    announced = asyncio.Event()
    met: set[str] = set()

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        done["announced"] += 1
        announced.set()

    async def progress(now: float, total: float | None, message: str | None) -> None:
        done["progress"] += 1

    async with (
        # A connection for every request: each may meet another worker.
        httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as http,
        streamable_http_client(url, http_client=http) as (read, write, id),
        ClientSession(
            read,
            write,
            sampling_callback=answer_sampling,
            elicitation_callback=answer_elicitation,
            logging_callback=hear,
        ) as session,
    ):

        async def call(tool: str, **arguments):
            result = await session.call_tool(tool, arguments, progress_callback=progress)
            assert not result.isError, result.content
            done["calls"] += 1
            return result.structuredContent

        await session.initialize()
        assert len((await session.list_tools()).tools) == 5
        for number in range(1, 6):
            counted = await call("count")
            met.add(counted["replica"])
            assert counted["count"] == number
        assert (await call("work", steps=STEPS))["result"] == STEPS
        assert (await call("think"))["result"] == "pong"
        assert (await call("choose"))["result"] == "green"
        while not announced.is_set():  # the GET stream may not be open yet
            await call("announce")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(announced.wait(), 0.2)
        issued = id().encode()
    done["sessions"] += 1
    return issued, met


@pytest.mark.parametrize("replicas", ["python_replicas", "typescript_replicas"])
async def test_python_clients(nginx, report, request, replicas):
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    (port,) = free_ports(1)
    servers = request.getfixturevalue(replicas)
    nginx.start(sample("mcp.conf", port, servers))
    done, met = Counter(), Counter()
    ended: list[bytes] = []

    async def client(_: int) -> None:
        id, names = await live_a_session(f"http://127.0.0.1:{port}/mcp", done)
        assert len(names) == 1
        met.update(names)
        ended.append(id)

    await crowd(CLIENTS, CLIENTS, client)
    # Each session was ended with DELETE, by the replica that had it.
    after = Counter([(await send(port, id, path="/mcp")).status for id in ended])
    report(f"{dict(done)} over {dict(met)}; after DELETE {dict(after)}")
    assert done["sessions"] == CLIENTS
    assert done["progress"] == CLIENTS * STEPS
    assert set(met) == set(NAMES)
    assert set(after) == {404}


@pytest.mark.parametrize("replicas", ["python_replicas", "typescript_replicas"])
async def test_typescript_clients(nginx, report, request, typescript, replicas):
    (port,) = free_ports(1)
    nginx.start(sample("mcp.conf", port, request.getfixturevalue(replicas)))
    node = await asyncio.create_subprocess_exec(
        "node",
        str(typescript / "client.mjs"),
        f"http://127.0.0.1:{port}/mcp",
        str(CLIENTS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await node.communicate()
    assert node.returncode == 0, err.decode()
    done = json.loads(out)
    met = done.pop("met")
    report(f"{done} over {met}")
    assert done["sessions"] == CLIENTS
    assert done["progress"] == CLIENTS * STEPS
    assert set(met) == set(NAMES)
