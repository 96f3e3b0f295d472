"""What Debian's package does when it is updated: /etc/init.d/nginx upgrade. In a mount namespace of its own, where nothing of
this machine's nginx is touched."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.clients.http import send
from harness.conf import LEARN, listen, upstream
from harness.nginx import BINARY, environment
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas

SCRIPT = Path("/etc/init.d/nginx")

pytestmark = [
    pytest.mark.skipif(not SCRIPT.exists() or os.geteuid() != 0, reason="needs Debian's nginx, and root"),
    pytest.mark.skipif(shutil.which(BINARY) != "/usr/sbin/nginx", reason="the script starts Debian's nginx"),
    pytest.mark.skipif(
        subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0, reason="no mount namespaces"
    ),
]


class Namespace:
    """A shell in which /etc/nginx and /run are a test's own."""

    def __init__(self, home: Path):
        self.run = home / "run"
        etc = home / "etc"
        for folder in (self.run, etc):
            folder.mkdir()
        shutil.copy(home / "nginx.conf", etc / "nginx.conf")
        self._shell = subprocess.Popen(
            ["unshare", "--mount", "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self.call(f"mount --bind {etc} /etc/nginx && mount --bind {self.run} /run") == 0

    def call(self, command: str) -> int:
        self._shell.stdin.write(f"{command} >&2; echo $?\n")
        self._shell.stdin.flush()
        return int(self._shell.stdout.readline())

    def close(self) -> None:
        self._shell.stdin.close()
        self._shell.wait()


@pytest.mark.parametrize("file", ["", " file=store/sessions"], ids=["memory", "file"])
async def test_upgrade_by_the_package(nginx, report, file):
    (port,) = free_ports(1)
    async with replicas(3) as servers:
        conf = upstream("mcp", servers, f"{LEARN}{file};") + listen(port, "mcp")
        nginx.configure(conf)
        path = nginx.home / "nginx.conf"
        text = path.read_text().replace("pid nginx.pid;", "pid /run/nginx.pid;")
        path.write_text(text.replace("error_log error.log", f"error_log {nginx.home}/error.log"))
        space = await asyncio.to_thread(Namespace, nginx.home)
        try:
            options = f"-p {nginx.home}/ -e error.log"
            assert await asyncio.to_thread(space.call, f"/usr/sbin/nginx {options}") == 0
            pid = space.run / "nginx.pid"
            await until(lambda: pid.exists() and pid.read_text().strip())
            before = int(pid.read_text())
            firsts = [await send(port) for _ in range(200)]
            assert {first.status for first in firsts} == {200}
            assert await asyncio.to_thread(space.call, f"{SCRIPT} upgrade") == 0
            await until(lambda: not Path(f"/proc/{before}").exists())
            after = int(pid.read_text())
            assert after != before
            said = [await send(port, first.id) for first in firsts]
            lost = sum(response.sticky != "HIT" for response in said)
            moved = sum(then.replica != now.replica for then, now in zip(firsts, said, strict=True))
            report(f"master {before} -> {after}, {len(firsts)} sessions, {lost} lost, {moved} moved")
            assert (lost, moved) == (0, 0)
            os.kill(after, 15)
            await until(lambda: not Path(f"/proc/{after}").exists())
        finally:
            space.close()
