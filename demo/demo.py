"""Runs the same real MCP clients twice: through plain round robin, then through sticky_learn.

Called by demo/run, which builds the module, installs the SDK, and passes the paths of module and nginx.
"""

import argparse
import asyncio
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "demo"
MODULE = Path(os.environ["STICKY_MODULE"])
NGINX = os.environ["NGINX"]

REPLICAS = ["amber", "birch", "cedar"]
CLIENTS = 12
WORDS = ["one", "two", "three", "four", "five"]
CALLS = len(WORDS) + 1  # one "remember" for each word, then "recall"

# The ports in the files of nginx-conf/.
STICKY, ROUND_ROBIN, SERVERS = 8000, 8080, [8001, 8002, 8003]


@dataclass
class Outcome:
    """The result of one client's session."""

    issuer: str = "?"
    landed: list[str] = field(default_factory=list)
    failed: int = 0
    recalled: bool = False

    @property
    def stuck(self) -> bool:
        return self.failed == 0 and self.recalled and set(self.landed) == {self.issuer}


# Clients


async def client(url: str, replica_at: dict[str, str]) -> Outcome:
    """One session: sends some words to its server, then asks for them."""
    outcome = Outcome()
    seen: list[str] = []

    async def note(response: httpx.Response) -> None:
        if response.request.method == "POST":
            seen.append(replica_at.get(response.headers.get("x-served-by", ""), "?"))

    # A new connection for each request, so that any worker may accept it.
    async with (
        httpx.AsyncClient(
            timeout=10,
            limits=httpx.Limits(max_keepalive_connections=0),
            event_hooks={"response": [note]},
        ) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        outcome.issuer = seen[0]

        async def call(tool: str, **arguments: str) -> dict | None:
            await asyncio.sleep(random.uniform(0, 0.1))  # the calls of real clients are not synchronous
            seen.clear()
            try:
                result = await session.call_tool(tool, arguments)
            except Exception:
                result = None
            outcome.landed.append(seen[-1] if seen else "?")
            if result is None or result.isError:
                outcome.failed += 1
                return None
            return result.structuredContent

        for word in WORDS:
            await call("remember", word=word)
        answer = await call("recall")
        outcome.recalled = bool(answer) and answer["words"] == WORDS
    return outcome


async def clients(port: int, replica_at: dict[str, str]) -> list[Outcome]:
    url = f"http://127.0.0.1:{port}/mcp"
    return await asyncio.gather(*(client(url, replica_at) for _ in range(CLIENTS)))


# Servers


def free_port(wanted: int) -> int:
    """The wanted port, or any free port if it is taken."""
    for port in (wanted, 0):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return s.getsockname()[1]
    raise SystemExit("demo: no free port")


def configure(ports: dict[int, int]) -> None:
    """Copies the configuration into the demo's folder and replaces the ports by free ones."""
    for folder in ("conf", "modules", "tmp"):
        (HOME / folder).mkdir(parents=True, exist_ok=True)
    link = HOME / "modules" / MODULE.name
    link.unlink(missing_ok=True)
    link.symlink_to(MODULE)
    for name in ("demo.conf", "mcp.conf"):
        text = (ROOT / "nginx-conf" / name).read_text().replace("/var/log/nginx/", "")
        text = re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{ports[int(m[1])]}", text)
        (HOME / "conf" / name).write_text(text)


def start(*command: str, log: str) -> subprocess.Popen:
    # nginx reads the variable NGINX as its list of inherited sockets.
    environment = {name: value for name, value in os.environ.items() if name != "NGINX"}
    with open(HOME / log, "wb") as out:
        # In a process session of its own: Ctrl-C ends only the demo, which then stops this process.
        return subprocess.Popen(command, cwd=HOME, env=environment, stdout=out, stderr=out, start_new_session=True)


def wait_for(port: int, process: subprocess.Popen, log: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise SystemExit(f"demo: {process.args[0]} did not start:\n{(HOME / log).read_text().strip()}")


def stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def stop_earlier() -> None:
    """Ends the processes of an earlier demo. A pid that now belongs to another process is left alone."""

    def ours(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == HOME
        except OSError:
            return False

    pids = HOME / "pids"
    left = [pid for pid in map(int, pids.read_text().split()) if ours(pid)] if pids.exists() else []
    for pid in left:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while any(map(ours, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    pids.unlink(missing_ok=True)


# Output

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS else text


def bold(text: str) -> str:
    return paint("1", text)


def good(text: str) -> str:
    return paint("32", text)


def bad(text: str) -> str:
    return paint("31", text)


def row(outcome: Outcome) -> str:
    landed = "".join((good if name == outcome.issuer else bad)(name[0].upper()) for name in outcome.landed)
    failed = bad(f"{outcome.failed} of {CALLS}") if outcome.failed else good("none".rjust(6))
    return f"{outcome.issuer.title():<9}  {landed}{' ' * (12 - len(outcome.landed))}  {failed}"


def total(label: str, outcomes: list[Outcome]) -> str:
    failed = sum(o.failed for o in outcomes)
    recalled = sum(o.recalled for o in outcomes)
    colour = bad if failed else good
    return (
        f"  {label:<13} {colour(f'{failed:>2} of {CLIENTS * CALLS} calls failed')}, "
        f"{recalled:>2} of {CLIENTS} sessions got their words back"
    )


def show(before: list[Outcome], after: list[Outcome]) -> None:
    columns = "issued by  calls landed  failed"
    print(f"          {bold('round robin'.ljust(len(columns)))}     {bold('sticky_learn')}")
    print(f"  client  {columns}     {columns}")
    for number, (left, right) in enumerate(zip(before, after), 1):
        print(f"  {number:>6}  {row(left)}     {row(right)}")
    print()
    print(total("round robin", before))
    print(total("sticky_learn", after))


def nginx_version() -> str:
    return subprocess.run([NGINX, "-v"], capture_output=True, text=True).stderr.strip().rpartition("/")[2]


def main() -> int:
    arguments = argparse.ArgumentParser(prog="demo/run", description=__doc__.splitlines()[0])
    arguments.add_argument("--once", action="store_true", help="stop nginx and the servers at the end; status 0 only if every session stayed on its server")
    once = arguments.parse_args().once
    logging.disable(logging.CRITICAL)  # the SDK logs each failure; the table has them already

    stop_earlier()
    HOME.mkdir(parents=True, exist_ok=True)
    ports = {port: free_port(port) for port in (STICKY, ROUND_ROBIN, *SERVERS)}
    configure(ports)
    replica_at = {f"127.0.0.1:{ports[port]}": name for name, port in zip(REPLICAS, SERVERS)}

    started: list[subprocess.Popen] = []
    keep = False
    try:
        for name, port in zip(REPLICAS, SERVERS):
            replica = str(ROOT / "demo" / "replica.py")
            started.append(start(sys.executable, replica, name, str(ports[port]), log=f"{name}.log"))
        started.append(
            start(
                NGINX, "-p", str(HOME), "-c", "conf/demo.conf", "-e", "error.log", "-g", "daemon off;", log="nginx.log"
            )
        )
        (HOME / "pids").write_text(" ".join(str(p.pid) for p in started))
        for name, port, process in zip(REPLICAS, SERVERS, started):
            wait_for(ports[port], process, f"{name}.log")
        wait_for(ports[STICKY], started[-1], "nginx.log")

        print(
            f"\n  {len(REPLICAS)} MCP servers ({', '.join(n.title() for n in REPLICAS)}; official Python SDK "
            f"{version('mcp')})\n  behind nginx {nginx_version()} with 2 workers. {CLIENTS} clients at once: "
            f"each opens a\n  session, tells its server {len(WORDS)} words, then asks for them back.\n"
        )
        before = asyncio.run(clients(ports[ROUND_ROBIN], replica_at))
        after = asyncio.run(clients(ports[STICKY], replica_at))
        show(before, after)
        print()

        stuck = all(outcome.stuck for outcome in after)
        keep = not once
        if keep:
            print(
                f"  Running   http://127.0.0.1:{ports[STICKY]}/mcp  "
                f"(round robin: http://127.0.0.1:{ports[ROUND_ROBIN]}/mcp)"
            )
            print(f"  Files     {HOME.relative_to(ROOT)}/")
            print(f"  Stop      kill {' '.join(str(p.pid) for p in reversed(started))}\n")
        return 0 if stuck else 1
    except KeyboardInterrupt:
        print()
        return 130
    finally:
        if not keep:
            stop(started[::-1])
            (HOME / "pids").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
