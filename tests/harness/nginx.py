"""An nginx for one test. Its configuration, processes and logs are in a folder that is removed with it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
MODULE = Path(os.environ.get("STICKY_MODULE", ROOT / "build" / "ngx_http_sticky_learn_module.so")).resolve()
# The object that also has the directives of module/testing/.
TESTING_MODULE = Path(
    os.environ.get("STICKY_TESTING_MODULE", MODULE.with_name("ngx_http_sticky_learn_testing.so"))
).resolve()
BINARY = os.environ.get("NGINX") or "nginx"

# From this version on, `sticky` is nginx's own.
OWN_STICKY = (1, 29, 6)

# From this version on, `http2 on;`, and before it a parameter of `listen`.
HTTP2_ON = (1, 25, 1)

# The alert of nginx's master about a killed worker: the only alert that a test may expect.
KILLED = r"\[alert\] .* worker process \d+ exited on signal 9"

# The module's log lines about the state of a server, for tests that stop servers on purpose.
SLOW, UNREACHABLE, GONE = (rf'\[warn\] .* server "\S+" of zone "\S+" is {state}: ' for state in ("slow", "unreachable", "gone"))


# Its advice about locations of MCP. Most tests do without these settings; tests/samples/test_advice.py.
ADVICE = r'\[warn\] .*\bMCP servers of upstream "'


def version(binary: str) -> tuple[int, ...]:
    text = subprocess.run([binary, "-v"], capture_output=True, text=True, env=environment(), check=True).stderr
    return tuple(map(int, re.search(r"version: \w+/(\d+)\.(\d+)\.(\d+)", text).groups()))


def was_built_with(binary: str, option: str) -> bool:
    text = subprocess.run([binary, "-V"], capture_output=True, text=True, env=environment(), check=True).stderr
    return option in text.split()


def environment() -> dict[str, str]:
    # nginx takes the variable NGINX for sockets that it inherits.
    return {name: value for name, value in os.environ.items() if name != "NGINX"}


class Nginx:
    """`http` is what stands in http {}; `module=None` runs nginx without ours."""

    def __init__(self, home: Path, binary: str = BINARY, module: Path | None = MODULE):
        self.home = home
        self.binary = binary
        self.module = module
        self.modules = [module] if module else []  # in the order in which they are loaded
        self.version = version(binary)
        self.connections = 4096  # of each worker
        self.allowed: list[str] = []  # patterns of log lines at warn and above that the test expects
        self._process: subprocess.Popen | Master | None = None
        home.mkdir(parents=True, exist_ok=True)

    # Configuration

    def configure(self, http: str, *, workers: int = 2, module_loaded: bool = True) -> None:
        load = "\n".join(f"load_module {module};" for module in self.modules)
        sticky = "$upstream_sticky_status" if self.module else "-"
        (self.home / "nginx.conf").write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
{load}
worker_processes {workers};
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections {self.connections}; }}
http {{
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    log_format sticky '$pid $status "{sticky}" "$upstream_addr"';
    access_log access.log sticky;
    add_header X-Worker $pid always;
    {f"add_header X-Sticky {sticky} always;" if self.module else ""}
    {f"server {{ listen unix:{self.api}; location / {{ sticky_api; access_log off; }} }}" if self.module else ""}
{http}
}}
""")
        (self.home / "tmp").mkdir(exist_ok=True)

    @property
    def api(self) -> Path:
        """The address of sticky_api."""
        return self.home / "api.sock"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _command(self, *arguments: str) -> list[str]:
        return [self.binary, "-p", f"{self.home}/", "-c", "nginx.conf", "-e", "error.log", *arguments]

    def check(self) -> str:
        """`nginx -t`: what it says, empty if the configuration is good and nothing is warned of."""
        done = subprocess.run(self._command("-t"), capture_output=True, text=True, env=environment())
        return done.stderr if done.returncode or "[warn]" in done.stderr else ""

    def check_memory(self) -> int:
        """Bytes that `nginx -t` has in memory at its peak, shared ones included."""
        # A process inherits the peak of its parent, and the peak of this process is high.
        count = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        count += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        command = [sys.executable, "-I", "-S", "-c", count, *self._command("-t", "-q")]
        return int(subprocess.run(command, stdout=subprocess.PIPE, env=environment(), check=True).stdout) << 10

    # Processes

    def start(self, http: str, *, workers: int = 2, daemon: bool = False) -> None:
        """`daemon`: as nginx starts by itself. Only such a one can be upgraded."""
        self.configure(http, workers=workers)
        self._workers = workers
        self.start_again(daemon=daemon)

    def start_again(self, *, daemon: bool = False) -> None:
        """Starts with the configuration as it is."""
        # A killed nginx leaves both.
        (self.home / "nginx.pid").unlink(missing_ok=True)
        self.api.unlink(missing_ok=True)
        with open(self.home / "stderr", "wb") as stderr:
            if daemon:
                subprocess.run(self._command(), stderr=stderr, env=environment(), check=True)
                self._process = Master(int((self.home / "nginx.pid").read_text()))
            else:
                command = self._command("-g", "daemon off;")
                self._process = subprocess.Popen(command, stderr=stderr, env=environment())
        self._wait("start", lambda: len(self.workers) == self._workers)

    def reload(self, http: str | None = None) -> None:
        """Returns when the new workers run and the old ones take no more connections."""
        if http is not None:
            self.configure(http, workers=self._workers)
        old, listening = set(self.workers), _listening_sockets()
        self.signal_reload()
        self._wait("reload", lambda: len(set(self.workers) - old) >= self._workers)
        self._wait("close the old workers' sockets", lambda: not any(_files(pid) & listening for pid in old))

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs nginx until it ends: its status, and what it says."""
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, env=environment(), timeout=PATIENCE)
        return done.returncode, done.stderr

    def quit(self) -> None:
        self.end(Master(self._process.pid, self._process))
        self._process = None

    def kill_all(self) -> None:
        """SIGKILL to the master and all workers at once."""
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while not all(_is_zombie(pid) for pid in pids):
            assert time.monotonic() < deadline, "killed processes live"
            time.sleep(0.005)
        self.leave().wait()

    def leave(self) -> "Master":
        """Another master may be started beside the one of now, which is returned."""
        process, self._process = self._process, None
        return process if isinstance(process, Master) else Master(process.pid, process)

    def take(self, master: "Master") -> None:
        """The master of another generation is the one of this nginx."""
        self._process = master

    def workers_of(self, master: "Master") -> set[int]:
        return self._workers_of(master.pid)

    def forget(self) -> None:
        """The master is dead."""
        self._process = None

    def signal_reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def signal_quit(self) -> None:
        self._process.send_signal(signal.SIGQUIT)

    # An upgrade of the binary

    @property
    def master(self) -> int:
        return self._process.pid

    def upgrade(self) -> "Master":
        """Starts another master beside this one (USR2), which is from now on the one of this nginx. Returns the old one
        when both accept connections."""
        old, known = self._process, set(self.workers)
        known_masters = set(_children(old.pid))
        old.send_signal(signal.SIGUSR2)
        new: list[int] = []

        def started() -> bool:
            new[:] = [pid for pid in _children(old.pid) if pid not in known_masters]
            # It has another program name only when it runs: until then it is a copy of the old one.
            return bool(new) and len(self._workers_of(new[0]) - known) >= self._workers

        self._wait("start another binary", started)
        self._process = Master(new[0])
        return Master(old.pid, old)

    def end(self, master: "Master") -> None:
        """Quits a master; returns when it has gone."""
        master.send_signal(signal.SIGQUIT)
        master.wait(PATIENCE)

    def roll_back(self, old: "Master") -> None:
        """Ends the new master, so that this nginx is the old one again."""
        new, self._process = self._process, old
        new.send_signal(signal.SIGQUIT)
        self._wait("end the new binary", lambda: new.poll() is not None)

    def accepts(self, master: "Master") -> bool:
        """Whether any worker of a master listens."""
        listening = _listening_sockets()
        return any(_files(pid) & listening for pid in self._workers_of(master.pid))

    def memories(self, pid: int) -> int:
        """The descriptors of zones that a process has."""
        return sum("sticky_learn" in name for name in _descriptors(pid))

    def kill_worker(self, pid: int) -> None:
        """Kills a worker with SIGKILL. Returns when the master has started another."""
        old = set(self.workers)
        os.kill(pid, signal.SIGKILL)
        self._wait("respawn", lambda: pid not in self.workers and len(set(self.workers) - old) >= 1)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in self.workers:
                os.kill(pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            raise AssertionError("nginx did not stop") from None
        finally:
            self._process = None

    @property
    def workers(self) -> list[int]:
        """Every living worker, of every generation, oldest first."""
        workers = self._workers_of(self._process.pid)
        return [pid for pid in _children(self._process.pid) if pid in workers]

    def _workers_of(self, master: int) -> set[int]:
        # The cache manager is a child process as well.
        started = {int(m[1]) for line in self.errors() if (m := re.search(r" start worker process (\d+)$", line))}
        return {pid for pid in _children(master) if pid in started and not _is_zombie(pid)}

    def _wait(self, what: str, done) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.home / "stderr").read_text() + "\n".join(self.errors())
                raise AssertionError(f"nginx did not {what}:\n{said}")
            time.sleep(0.01)

    # Logs

    def errors(self) -> list[str]:
        path = self.home / "error.log"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def access(self) -> list[str]:
        return (self.home / "access.log").read_text().splitlines()

    def unexpected(self) -> list[str]:
        """Lines at warn and above that no pattern allows."""
        loud = re.compile(r"\[(warn|error|crit|alert|emerg)\]")
        return [
            line
            for line in self.errors()
            if loud.search(line) and not any(re.search(pattern, line) for pattern in [ADVICE, *self.allowed])
        ]


class Master:
    """A master that may not be a child of this process: the binary of an upgrade."""

    def __init__(self, pid: int, process: subprocess.Popen | None = None):
        self.pid = pid
        self._process = process

    def poll(self) -> int | None:
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return 0 if _is_zombie(self.pid) else None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"nginx {self.pid}", timeout)
            time.sleep(0.01)


def _children(pid: int) -> list[int]:
    """The child processes, oldest first."""
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def _listening_sockets() -> set[str]:
    """The listening sockets of this machine, by their names in /proc/PID/fd."""
    found = set()
    for table in Path("/proc/net").glob("tcp*"):
        with table.open() as lines:
            next(lines)
            # Listening sockets come first, before thousands of connections.
            for _, _, _, state, _, _, _, _, _, inode, *_ in map(str.split, lines):
                if state != "0A":
                    break
                found.add(f"socket:[{inode}]")
    return found


def _files(pid: int) -> set[str]:
    """The open files of a process, without those closed meanwhile."""
    return set(_descriptors(pid))


def _descriptors(pid: int) -> list[str]:
    names = []
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return names


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
