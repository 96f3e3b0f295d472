"""Real applications with the configurations of docs/web.md: three instances and a reload. No client gets an error."""

import asyncio
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.nginx import ROOT, Nginx
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.sdk import beside_packages

SCRIPTS = ROOT / "tests" / "web"
NODE = ROOT / "build" / "node-web"
JUPYTER = ROOT / "build" / "venv-jupyter" / "bin" / "python"
GRADIO = ROOT / "build" / "venv-gradio" / "bin" / "python"
NAMES = ["amber", "birch", "cedar"]

# An application starts slowly on a busy machine.
START = 3 * PATIENCE


def page(title: str, port: int, servers: list[int]) -> str:
    """The configuration of docs/web.md under a title, with our addresses."""
    section = (ROOT / "docs" / "web.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    text = re.search(r"^```nginx\n(.*?)^```$", section, re.S | re.M)[1]
    lines = "".join(f"    server 127.0.0.1:{server};\n" for server in servers)
    text = re.sub(r"(    server 10\.\S+;\n)+", lines, text)
    return text.replace("listen 80;", f"listen 127.0.0.1:{port};")


def need(path: Path, what: str) -> None:
    if not path.exists():
        pytest.skip(f"{what} could not be installed: {path.relative_to(ROOT)} is missing")


@asynccontextmanager
async def running(*commands: list, home: Path) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes with a folder each; killed at the end, with all that they have started."""
    processes = []
    try:
        for number, command in enumerate(commands):
            folder = home / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *map(str, command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=folder,
                    env={**os.environ, "HOME": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"},
                    start_new_session=True,
                    limit=1 << 22,
                )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def answers(port: int, path: str) -> None:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    async with asyncio.timeout(START):
        while not await asyncio.to_thread(ask):
            await asyncio.sleep(0.2)


async def told(process: asyncio.subprocess.Process) -> list:
    """Asks a client for its results."""
    process.stdin.write(b"\n")
    async with asyncio.timeout(START):
        return json.loads(await process.stdout.readline())


async def reload(nginx: Nginx) -> None:
    await asyncio.to_thread(nginx.reload)


@pytest.mark.parametrize("transports", ["polling,websocket", "polling"])
async def test_socket_io(nginx, tmp_path, report, transports):
    need(NODE / "node_modules" / "socket.io", "Socket.IO")
    for script in SCRIPTS.glob("*.mjs"):
        beside_packages(script, NODE)
    port, *ports = free_ports(4)
    nginx.allowed.append(r"connect\(\) failed \(111|prematurely closed|reset by peer|temporarily disabled|unreachable")
    nginx.start(page("Socket.IO", port, ports))
    servers = [["node", NODE / "socketio-server.mjs", str(p), name] for p, name in zip(ports, NAMES, strict=True)]
    client = ["node", NODE / "socketio-client.mjs", f"http://127.0.0.1:{port}", "12", transports]
    async with running(*servers, home=tmp_path / "servers") as started:
        for server in started:
            assert await server.stdout.readline() == b"ready\n"
        async with running(client, home=tmp_path / "client") as (clients,):

            async def go_on(count: int) -> bool:
                """All have their answers, of the transport that they end with."""
                said = await told(clients)
                ready = [
                    state["answers"] >= count and (transports == "polling" or state["upgraded"] == state["connected"])
                    for state in said
                ]
                return all(ready) and all(state["server"] for state in said)

            await until(lambda: go_on(20))
            assert {state["server"] for state in await told(clients)} == set(NAMES)
            await reload(nginx)
            done = max(state["answers"] for state in await told(clients))
            await until(lambda: go_on(done + 20))
            before = await told(clients)
            assert [state["errors"] for state in before] == [[]] * 12
            # One server dies: its clients connect again, to the others.
            started[0].kill()
            await until(lambda: moved(clients, before))
            done = max(state["answers"] for state in await told(clients))
            await until(lambda: go_on(done + 20))
            after = await told(clients)
    report(
        f"{sum(state['answers'] for state in after):,} answers, {sum(state['upgraded'] for state in after)} upgrades,"
        f" {sum(state['connected'] for state in after) - 12} clients connected again"
    )
    assert [state["errors"] for state in after] == [[]] * 12


async def moved(clients: asyncio.subprocess.Process, before: list) -> bool:
    """Whether the clients of the first server are with others, and none has lost its own."""
    now = await told(clients)
    return all(
        state["server"] in NAMES[1:] and (state["server"] == old["server"] or old["server"] == NAMES[0])
        for state, old in zip(now, before, strict=True)
    )


async def test_jupyter(nginx, tmp_path, report):
    need(JUPYTER, "Jupyter server")
    port, *ports = free_ports(4)
    nginx.start(page("Jupyter", port, ports))
    options = [
        "--IdentityProvider.token=secret",
        "--ServerApp.open_browser=False",
        "--ServerApp.port_retries=0",
        "--allow-root",
    ]
    servers = [[JUPYTER, "-m", "jupyter_server", f"--ServerApp.port={p}", *options] for p in ports]
    async with running(*servers, home=tmp_path / "servers"):
        await asyncio.gather(*(answers(p, "/api") for p in ports))
        person = [JUPYTER, SCRIPTS / "jupyter_client.py", f"http://127.0.0.1:{port}", "secret", "6"]
        async with running(person, home=tmp_path / "people") as (people,):
            await told(people)
            await reload(nginx)
            await told(people)
            said = await told(people)
    report(f"{sum(counted for counted, _ in said)} cells of 6 notebooks")
    assert said == [[9, []]] * 6


async def test_gradio(nginx, tmp_path, report):
    need(GRADIO, "Gradio")
    port, *ports = free_ports(4)
    nginx.start(page("Gradio and Streamlit", port, ports))
    servers = [[GRADIO, SCRIPTS / "gradio_app.py", str(p), name] for p, name in zip(ports, NAMES, strict=True)]
    async with running(*servers, home=tmp_path / "servers"):
        await asyncio.gather(*(answers(p, "/") for p in ports))
        person = [GRADIO, SCRIPTS / "gradio_people.py", f"http://127.0.0.1:{port}", "6"]
        async with running(person, home=tmp_path / "people") as (people,):
            async with asyncio.timeout(START):
                assert await people.stdout.readline() == b"ready\n"
            await told(people)
            await reload(nginx)
            said = await told(people)
    report(f"{sum(len(seen) for seen, _ in said)} events of 6 people")
    assert [errors for _, errors in said] == [[]] * 6
    # Each client stayed on one server. Its session has counted the calls.
    for seen, _ in said:
        name = seen[0].split()[0]
        assert seen == [f"{name} {count}" for count in range(1, 7)]
    assert len({seen[0].split()[0] for seen, _ in said}) == 3
