"""A system in a folder, with an nginx in it. It shares the network of this machine: servers and clients run outside of it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from harness.conf import STREAMING, upstream
from harness.patience import WHOLE_TEST
from harness.ports import free_ports
from harness.sdk import live, servers

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


class Chroot:
    def __init__(self, root: Path):
        self.root = root

    def without_default_site(self) -> None:
        """nginx's default site takes port 80 of this machine."""
        for name in ("sites-enabled/default", "conf.d/default.conf"):
            (self.root / "etc/nginx" / name).unlink(missing_ok=True)

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["chroot", self.root, *command], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def done(self, *command: str) -> str:
        """What a command says that has to succeed."""
        result = self.run(*command)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def configure(self, http: str) -> None:
        (self.root / "etc/nginx/conf.d").mkdir(exist_ok=True)
        (self.root / "etc/nginx/conf.d/sticky.conf").write_text(http)

    def unconfigure(self) -> None:
        (self.root / "etc/nginx/conf.d/sticky.conf").unlink(missing_ok=True)

    def starts(self) -> None:
        """nginx takes its configuration, and runs until it is told to end."""
        assert "successful" in self.done("nginx", "-t")
        with self._nginx() as nginx:
            pid = self.root / "run/nginx.pid"
            self._wait(nginx, lambda: pid.exists() and pid.read_text().strip() == str(nginx.pid))
        assert nginx.returncode == 0

    @contextmanager
    def _nginx(self) -> Iterator[subprocess.Popen]:
        """nginx in the foreground, as an image runs it."""
        nginx = subprocess.Popen(["chroot", self.root, "/usr/sbin/nginx", "-g", "daemon off;"], env=ENVIRONMENT)
        try:
            yield nginx
        finally:
            nginx.terminate()
            nginx.wait()

    @staticmethod
    def _wait(nginx: subprocess.Popen, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WHOLE_TEST
        while not done():
            assert nginx.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)

    @contextmanager
    def running(self, port: int) -> Iterator[None]:
        """nginx from its first answer at `port` on."""

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/") is not None
            except httpx.TransportError:
                return False

        with self._nginx() as nginx:
            self._wait(nginx, answers)
            yield

    async def an_mcp_session_works(self, sticky: str = "sticky_learn zone=sessions:1m;") -> None:
        """A client of the SDK keeps its session, at one of three servers."""
        (port,) = free_ports(1)
        with servers("python-1") as replicas:
            location = f"location / {{ {STREAMING} proxy_set_header Host $http_host; proxy_pass http://mcp; }}"
            site = f"server {{ listen 127.0.0.1:{port}; {location} }}"
            self.configure(upstream("mcp", replicas, sticky) + site)
            with self.running(port):
                lives = await live("python-1", "http", port, 12)
        assert lives.failures == []
        assert len(lives.transcripts) == 1
