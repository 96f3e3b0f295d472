"""Configures, starts and measures the load balancers that are compared."""

import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

CONF = Path(__file__).parent / "conf"
BACKENDS = 3


@dataclass(frozen=True)
class Balancer:
    """One line of the tables."""

    name: str
    title: str
    binary: str
    """The name of round robin of the same binary, with which this one is compared."""
    baseline: str
    module: str = ""
    sticky: bool = False

    @property
    def is_nginx(self):
        return not self.name.startswith("haproxy")

    def directive(self, sessions):
        """The directive that keeps sessions. The size of its zone follows from their number."""
        if self.name.split("-")[0] == "hash":
            return "hash $http_mcp_session_id;"
        if not self.sticky:
            return ""
        if not self.is_nginx:
            return (
                f"stick-table type string len 32 size {sessions * 5 // 4} expire 1h\n"
                "    stick match req.hdr(mcp-session-id)\n"
                "    stick store-response res.hdr(mcp-session-id)"
            )
        values = "create=$upstream_http_mcp_session_id lookup=$http_mcp_session_id timeout=1h"
        if self.module:
            if self.name.split("-")[0] == "mcp":
                values = "timeout=1h"
            # A megabyte for 31,250 sessions.
            return f"sticky_learn zone=sessions:{max(1, -(-sessions // 31250))}m {values};"
        # nginx's own needs more: a megabyte for 3,200 sessions.
        return f"sticky learn zone=sessions:{max(1, -(-sessions // 3200))}m {values};"


def version(binary):
    """The version of a binary; None if it cannot be run."""
    try:
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"(?:nginx/|version )([0-9.]+)", said.stdout + said.stderr)
    return found and found[1]


def contestants(nginx, module, newer, newer_module, haproxies):
    """All balancers of this machine, in the order of the tables."""
    found = []

    def add_nginx(suffix, binary, so, own):
        title = f"nginx {version(binary)}"
        rr = f"rr{suffix}"
        found.append(Balancer(rr, f"{title}, round robin", binary, rr))
        found.append(Balancer(f"loaded{suffix}", f"{title}, module loaded, unused", binary, rr, so))
        found.append(Balancer(f"hash{suffix}", f"{title}, hash of the id", binary, rr))
        if own:
            found.append(Balancer(f"own{suffix}", f"{title}, its own sticky learn", binary, rr, sticky=True))
        found.append(Balancer(f"mcp{suffix}", f"{title}, sticky_learn in MCP mode", binary, rr, so, sticky=True))
        found.append(Balancer(f"ours{suffix}", f"{title}, sticky_learn", binary, rr, so, sticky=True))

    add_nginx("", nginx, module, False)
    if newer:
        add_nginx("-newer", newer, newer_module, True)
    for binary in haproxies:
        title = f"HAProxy {version(binary)}"
        rr = f"haproxy-{version(binary)}-rr"
        found.append(Balancer(rr, f"{title}, round robin", binary, rr))
        found.append(Balancer(f"haproxy-{version(binary)}", f"{title}, stick table", binary, rr, sticky=True))
    return found


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def fill_in(template, **values):
    text = (CONF / template).read_text()
    return re.sub(r"@(\w+)@", lambda found: str(values[found[1]]), text)


def on_cpus(cpus):
    """Arguments for Popen that bind the child to these CPUs; None for all CPUs."""
    return {"preexec_fn": lambda: os.sched_setaffinity(0, cpus)} if cpus else {}


class Process:
    """A server in the foreground."""

    def __init__(self, command, port, log, cpus=None):
        self.command = command
        self.port = port
        self.log = Path(log)
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **on_cpus(cpus)
            )
        self.wait_until_listening()

    def wait_until_listening(self, timeout=60):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self.command[0]} does not listen:\n{self.log.read_text(errors='replace')}")

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def workers(self):
        """The processes that serve requests: the children of a master, or the process itself."""
        pid = self.child.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children] or [pid]

    def replace_workers(self, timeout=20):
        """Ends the workers; their master starts new ones. HAProxy has no master and stays as it is."""
        old = self.workers()
        if old == [self.child.pid]:
            return
        for pid in old:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + timeout
        # While there is no worker, workers() returns the master itself.
        while len(new := self.workers()) < len(old) or set(new) & {*old, self.child.pid}:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.command[0]} has no new workers:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.005)

    def cpu_ns(self):
        """CPU time of all threads of all workers, as the scheduler counts it."""
        return sum(
            int((task / "schedstat").read_text().split()[0])
            for pid in self.workers()
            for task in Path(f"/proc/{pid}/task").iterdir()
        )

    def memory(self):
        """Resident memory of the largest worker, and the shared part of it, in bytes."""
        def of(pid):
            text = Path(f"/proc/{pid}/status").read_text()
            field = lambda name: int(re.search(rf"^{name}:\s+(\d+) kB", text, re.M)[1]) * 1024
            return field("VmRSS"), field("RssShmem")

        return max(of(pid) for pid in self.workers())


class Backend(Process):
    def __init__(self, nginx, directory, workers, cpus=None):
        self.ports = free_ports(BACKENDS)
        conf = directory / "backend.conf"
        conf.write_text(fill_in("backend.conf", DIR=directory, WORKERS=workers, **self.substitutes()))
        log = directory / "backend.log"
        super().__init__([nginx, "-p", f"{directory}/", "-e", str(log), "-c", str(conf)], self.ports[0], log, cpus)

    def substitutes(self):
        return {f"PORT{i}": port for i, port in enumerate(self.ports, 1)}


def start(balancer, backend, directory, workers, sessions, cpus=None, under=()):
    """Starts a balancer. With `under`, the command of a tool (valgrind), it runs under that tool as a single process."""
    (port,) = free_ports(1)
    values = {
        "DIR": directory,
        "NAME": balancer.name,
        "PORT": port,
        "WORKERS": workers,
        "STICKY": balancer.directive(sessions),
        **backend.substitutes(),
    }
    log = directory / f"{balancer.name}.log"
    if balancer.is_nginx:
        conf = directory / f"{balancer.name}.conf"
        values["LOAD_MODULE"] = f"load_module {balancer.module};" if balancer.module else ""
        values["PROCESSES"] = "master_process off;" if under else f"worker_processes {workers};"
        conf.write_text(fill_in("nginx.conf", **values))
        command = [balancer.binary, "-p", f"{directory}/", "-e", str(log), "-c", str(conf)]
    else:
        conf = directory / f"{balancer.name}.cfg"
        conf.write_text(fill_in("haproxy.cfg", **values))
        command = [balancer.binary, "-db", "-f", str(conf)]
    return Process([*under, *command], port, log, cpus)
