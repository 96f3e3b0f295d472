"""Servers and clients of the official SDKs, in processes of their own."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from harness.conf import STREAMING
from harness.nginx import ROOT
from harness.patience import PATIENCE, WHOLE_TEST
from harness.ports import free_ports

SCRIPTS = ROOT / "tests" / "sdk"
PACKAGES = ROOT / "build" / "node"  # where node finds those of tests/sdk/node/package.json
BRIDGES = ROOT / "build" / "node-bridges" / "node_modules"  # those of tests/sdk/bridges/package.json
NAMES = ["amber", "birch", "cedar"]

PYTHON_1 = [sys.executable]
# The 2.x SDK calls sampling and logging deprecated. Sessions still have them.
PYTHON_2 = [str(ROOT / "build" / "venv-sdk2" / "bin" / "python"), "-W", "ignore"]
NODE = ["node", "--no-warnings", "--require", str(SCRIPTS / "node" / "node18.cjs")]


def script(name: str) -> str:
    """A file of tests/sdk/; those for node stand where their packages are found."""
    if not name.endswith(".mjs"):
        return str(SCRIPTS / "python" / name)
    beside_packages(SCRIPTS / "node" / "sessions.mjs", PACKAGES)  # client.mjs and caller.mjs import it
    return beside_packages(SCRIPTS / "node" / name, PACKAGES)


def beside_packages(script: Path, folder: Path) -> str:
    """A copy in the folder that node_modules/ is in. Another test may run the same file: it is replaced in one step."""
    new = folder / f".{script.name}.{os.getpid()}"
    shutil.copy(script, new)
    return str(new.rename(folder / script.name))


def by_port(command: list[str], further: list[str]) -> list[str]:
    """A command that gets its port as an option, and no name: both follow as arguments of the shell."""
    return ["sh", "-c", f'exec {shlex.join(command)} --port "$2" {shlex.join(further)}', "sh"]


SERVERS = {
    "python-1": lambda: [*PYTHON_1, script("replica.py")],
    "python-2": lambda: [*PYTHON_2, script("replica.py")],
    "typescript": lambda: [*NODE, script("replica.mjs")],
    "post-only-1": lambda: [*NODE, script("post_only.mjs")],
    "post-only-2": lambda: [*NODE, script("post_only.mjs")],
    "lenient": lambda: [*NODE, script("lenient.mjs")],
    "principals": lambda: [*PYTHON_1, script("principals.py")],
    "everything": lambda: [
        *NODE,
        str(PACKAGES / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"),
        "streamableHttp",
    ],
    "fastmcp": lambda: [*PYTHON_2, script("fastmcp_replica.py")],
    # These make a server of HTTP out of one on standard input and output.
    "supergateway": lambda: by_port(
        [*NODE, str(BRIDGES / "supergateway/dist/index.js"), "--outputTransport", "streamableHttp", "--stateful"],
        ["--stdio", shlex.join([*NODE, script("stdio.mjs")])],
    ),
    "mcp-proxy": lambda: by_port(
        [*PYTHON_1, "-m", "mcp_proxy", "--pass-environment"], ["--", *NODE, script("stdio.mjs")]
    ),
}

CLIENTS = {
    "python-1": lambda: [*PYTHON_1, script("client.py")],
    "python-2": lambda: [*PYTHON_2, script("client.py")],
    "typescript": lambda: [*NODE, script("client.mjs")],
    "tasks": lambda: [*PYTHON_2, script("task_client.py")],
    "steady": lambda: [*NODE, script("steady.mjs")],
    "caller": lambda: [*NODE, script("caller.mjs")],
    "returning-python-1": lambda: [*PYTHON_1, script("returning.py")],
    "returning-python-2": lambda: [*PYTHON_2, script("returning.py")],
    "returning-typescript": lambda: [*NODE, script("returning.mjs")],
}

PATHS = {"http": "/mcp", "sse": "/sse", "go": "/go"}

# What a server {} in front of SDKs needs. They compare Host with where they listen; and without keepalive each
# request is a connection of its own: it may meet another worker than the one before.
FRONT = f"""
    {STREAMING}
    proxy_set_header Host $http_host;
    keepalive_timeout 0;
"""


class Server:
    """A replica, with the attributes that harness.conf.upstream() uses."""

    def __init__(self, kind: str, name: str, port: int):
        self.kind = kind
        self.name = name
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts the replica without sessions, on the same port."""
        command = [*SERVERS[self.kind](), self.name, str(self.port), self.kind.rpartition("-")[2]]
        environment = os.environ | {"PORT": str(self.port), "REPLICA": self.name}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env=environment, **quiet)

    def wait(self) -> None:
        deadline = time.monotonic() + WHOLE_TEST
        while True:
            try:
                return httpx.get(f"http://{self.address}/", timeout=PATIENCE) and None
            except httpx.TransportError:
                assert self._process.poll() is None and time.monotonic() < deadline, f"{self.name} did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def servers(kind: str, count: int = len(NAMES)) -> Iterator[list[Server]]:
    made = [Server(kind, name, port) for name, port in zip(NAMES[:count], free_ports(count))]
    try:
        for server in made:
            server.start()
        for server in made:
            server.wait()
        yield made
    finally:
        for server in made:
            if server._process:
                server.kill()


@dataclass(frozen=True)
class Answer:
    """What a client of tests/sdk/node/steady.mjs got."""

    client: int
    session: int  # how many the client has started
    at: float  # seconds since the start of all clients
    took: float  # seconds
    status: int  # 0: no answer at all
    replica: str = ""
    count: int = 0  # of calls in this session, as the replica has counted them
    error: str = ""


class Steady:
    """Clients that call again and again while a test does something to their servers."""

    def __init__(self, port: int, count: int, pause: float, tool: str = "count"):
        self.answers: list[Answer] = []
        self.clients = range(count)
        self._arguments = (f"http://127.0.0.1:{port}/mcp", count, pause, tool)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *CLIENTS["steady"](), *map(str, self._arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_) -> None:
        self._process.stdin.close()
        await self._reading
        await self._process.wait()

    async def _read(self) -> None:
        async for line in self._process.stdout:
            self.answers.append(Answer(**json.loads(line)))

    @property
    def now(self) -> float:
        """The time of the latest answer."""
        return self.answers[-1].at

    def last(self, client: int) -> Answer | None:
        return next((answer for answer in reversed(self.answers) if answer.client == client), None)

    def since(self, time: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.at > time]


class Returning:
    """A client of tests/sdk/*/returning.* that has got its first answer."""

    def __init__(self, kind: str, port: int):
        self._command = [*CLIENTS[f"returning-{kind}"](), f"http://127.0.0.1:{port}{PATHS['http']}"]

    async def __aenter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.first = await self._said()
        return self

    async def __aexit__(self, *_) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def again(self) -> dict[str, str]:
        """Comes back with its old id."""
        self._process.stdin.write(b"\n")
        return await self._said()

    async def _said(self) -> dict[str, str]:
        line = await self._process.stdout.readline()
        assert line, (await self._process.stderr.read()).decode()
        return json.loads(line)


@dataclass(frozen=True)
class Lives:
    """The results of many sessions of tests/sdk/*/client.*."""

    transcripts: dict[str, int]  # how many sessions saw just this
    failures: list[str]
    met: dict[str, int]  # sessions of each replica

    def __str__(self) -> str:
        return f"{sum(self.transcripts.values())} sessions over {self.met}, {len(self.failures)} failed"


async def output(client: str, *arguments: object) -> dict:
    """The output of many clients, when all have finished."""
    process = await asyncio.create_subprocess_exec(
        *CLIENTS[client](), *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def live(client: str, transport: str, port: int, count: int) -> Lives:
    return Lives(**await output(client, transport, f"http://127.0.0.1:{port}{PATHS[transport]}", count))


async def call(major: str, port: int, count: int) -> Lives:
    """Clients of tests/sdk/node/caller.mjs."""
    return Lives(**await output("caller", major, f"http://127.0.0.1:{port}{PATHS['http']}", count))


@dataclass(frozen=True)
class Polled:
    """The results of tests/sdk/python/task_client.py."""

    done: Counter[str]  # tasks, polls that found theirs by method, and in which forms
    lost: Counter[str]  # polls that did not, by method
    met: Counter[str]  # tasks of each replica

    def __str__(self) -> str:
        found = sum(times for what, times in self.done.items() if what.startswith("tasks/"))
        return (
            f"{self.done['tasks']} tasks over {dict(self.met)}, {found} polls found theirs, {self.lost.total()} did "
            f"not; {self.done['=?base64?']} with Mcp-Name in base64; answers to tools/call: "
            f"{self.done['application/json']} JSON, {self.done['text/event-stream']} streams"
        )


async def poll(port: int, count: int) -> Polled:
    said = await output("tasks", f"http://127.0.0.1:{port}{PATHS['http']}", count)
    return Polled(**{name: Counter(counts) for name, counts in said.items()})
