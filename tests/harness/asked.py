"""Clients of people: SDKs and bridges, each of which keeps its session until somebody starts it again."""

import asyncio
import importlib.util
import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Self

from harness.patience import PATIENCE
from harness.sdk import BRIDGES, NODE, PYTHON_1, PYTHON_2, script

# A bridge is a server on standard input and output, and a client of HTTP.
BRIDGE = {
    "mcp-remote": lambda url: [
        *NODE,
        str(BRIDGES / "mcp-remote/dist/proxy.js"),
        url,
        "--allow-http",
        "--transport",
        "http-only",
    ],
    "mcp-proxy": lambda url: [*PYTHON_1, "-m", "mcp_proxy", "--transport", "streamablehttp", url],
    "supergateway": lambda url: [
        *NODE,
        str(BRIDGES / "supergateway/dist/index.js"),
        "--streamableHttp",
        url,
        "--logLevel",
        "none",
    ],
}
ASKED = ["typescript", "python-1", *BRIDGE]


def missing() -> set[str]:
    """Clients and servers that could not be installed."""
    packages = {
        "mcp-remote": (BRIDGES / "mcp-remote").exists(),
        "supergateway": (BRIDGES / "supergateway").exists(),
        "mcp-proxy": importlib.util.find_spec("mcp_proxy") is not None,
        "fastmcp": any(Path(PYTHON_2[0]).parents[1].glob("lib/python*/site-packages/fastmcp")),
    }
    return {name for name, is_there in packages.items() if not is_there}


class Asked:
    """Clients by name, each of a kind of `ASKED`, that call `tool` when they are asked to."""

    def __init__(self, clients: dict[str, str], port: int, tool: str, home: Path):
        self.names = list(clients)
        url = f"http://127.0.0.1:{port}/mcp"
        to = {name: BRIDGE[kind](url) if kind in BRIDGE else url for name, kind in clients.items()}
        python = {name: to.pop(name) for name, kind in clients.items() if kind == "python-1"}
        # A command, and the clients that it runs.
        self._commands = [
            ([*command, tool, json.dumps(wanted)], list(wanted))
            for command, wanted in [([*NODE, script("asked.mjs")], to), ([*PYTHON_1, script("asked.py")], python)]
            if wanted
        ]
        # What mcp-remote keeps of servers that ask for a login.
        self._environment = os.environ | {"MCP_REMOTE_CONFIG_DIR": str(home)}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._reading: list[asyncio.Task] = []
        self._said: dict[str, asyncio.Queue] = defaultdict(asyncio.Queue)

    async def __aenter__(self) -> Self:
        pipe = subprocess.PIPE
        for command, names in self._commands:
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=self._environment)
            self._processes |= dict.fromkeys(names, process)
            self._reading.append(asyncio.create_task(self._read(process)))
        opened = await self._results(self.names)
        assert all(result.keys() == {"name"} for result in opened.values()), opened
        return self

    async def __aexit__(self, *_) -> None:
        for process in {*self._processes.values()}:
            process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*self._reading)
        finally:
            for process in {*self._processes.values()}:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        async for line in process.stdout:
            said = json.loads(line)
            self._said[said["name"]].put_nowait(said)

    async def _results(self, names: list[str]) -> dict[str, dict]:
        async with asyncio.timeout(2 * PATIENCE):
            return dict(zip(names, await asyncio.gather(*(self._said[name].get() for name in names))))

    def ask(self, names: list[str]) -> asyncio.Task[dict[str, dict]]:
        """The results of one call of each of these clients."""
        for name in names:
            self._processes[name].stdin.write(f"{name}\n".encode())
        return asyncio.create_task(self._results(names))
