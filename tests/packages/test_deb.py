"""The Debian package, installed in a fresh chroot of its release: tools/test-deb makes both and names them by DEB_FILE and
DEB_ROOT. A chroot shares the network of this machine, so servers and clients of the SDKs run outside of it."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.conf import STREAMING, upstream
from harness.patience import WHOLE_TEST
from harness.ports import free_ports
from harness.sdk import live, servers

PACKAGE = "libnginx-mod-http-sticky-learn"

pytestmark = pytest.mark.skipif("DEB_FILE" not in os.environ, reason="make test-deb makes the package and the chroot")


class Chroot:
    """A Debian without nginx, and the package in it as a file."""

    def __init__(self, root: Path, package: Path):
        self.root = root
        self.file = f"/{package.name}"
        (root / package.name).write_bytes(package.read_bytes())

    def run(self, *command: str) -> subprocess.CompletedProcess:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            ["chroot", self.root, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def done(self, *command: str) -> str:
        """What a command says that has to succeed."""
        result = self.run(*command)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def install(self) -> None:
        # Also what the package recommends: nginx itself.
        self.done("apt-get", "-o", "APT::Install-Recommends=1", "install", "-y", "--reinstall", self.file)

    def purge(self) -> None:
        (self.root / "etc/nginx/conf.d/sticky.conf").unlink(missing_ok=True)
        self.done("dpkg", "--purge", PACKAGE)

    def configure(self, http: str) -> None:
        (self.root / "etc/nginx/conf.d/sticky.conf").write_text(http)

    @property
    def link(self) -> Path:
        return self.root / "etc/nginx/modules-enabled/50-mod-http-sticky-learn.conf"

    def has_files(self) -> list[str]:
        places = ["usr/lib/nginx", "usr/share/lua", "usr/share/nginx", "usr/share/doc", "etc/nginx", "var/lib/dpkg/info"]
        return [str(it) for place in places for it in (self.root / place).rglob("*sticky*learn*")]


@pytest.fixture
def chroot() -> Iterator[Chroot]:
    made = Chroot(Path(os.environ["DEB_ROOT"]), Path(os.environ["DEB_FILE"]))
    made.install()
    # nginx's default site takes port 80 of this machine.
    (made.root / "etc/nginx/sites-enabled/default").unlink(missing_ok=True)
    yield made
    made.purge()


STICKY = "sticky_learn zone=sessions:1m;"


def test_installation_brings_nginx_and_enables_the_module(chroot):
    assert chroot.link.is_symlink()
    assert "successful" in chroot.done("nginx", "-t")
    chroot.configure(f"upstream mcp {{ {STICKY} server 127.0.0.1:1; }}")
    assert "successful" in chroot.done("nginx", "-t")


async def test_an_mcp_session_works(chroot):
    (port,) = free_ports(1)
    with servers("python-1") as replicas:
        site = f"server {{ listen 127.0.0.1:{port}; location / {{ {STREAMING} proxy_set_header Host $http_host; proxy_pass http://mcp; }} }}"
        chroot.configure(upstream("mcp", replicas, STICKY) + site)
        nginx = subprocess.Popen(["chroot", chroot.root, "/usr/sbin/nginx", "-g", "daemon off;"])
        try:
            deadline = time.monotonic() + WHOLE_TEST
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/")
                    break
                except httpx.TransportError:
                    assert nginx.poll() is None and time.monotonic() < deadline
            lives = await live("python-1", "http", port, 12)
        finally:
            nginx.terminate()
            nginx.wait()
    assert lives.failures == []
    assert len(lives.transcripts) == 1


def test_removal_names_the_files_that_still_use_it(chroot):
    chroot.configure(f"upstream mcp {{\n    {STICKY}\n    server 127.0.0.1:1;\n}}\n")
    said = chroot.done("apt-get", "remove", "-y", PACKAGE)
    assert "/etc/nginx/conf.d/sticky.conf" in said
    chroot.configure("")
    assert "successful" in chroot.done("nginx", "-t")


def test_purge_leaves_no_file(chroot):
    chroot.purge()
    assert chroot.has_files() == []
    assert "successful" in chroot.done("nginx", "-t")


def test_a_disabled_module_stays_disabled(chroot):
    chroot.link.unlink()
    chroot.install()
    assert not chroot.link.is_symlink()
    assert "successful" in chroot.done("nginx", "-t")


def test_a_removed_one_can_be_installed_again(chroot):
    chroot.done("apt-get", "remove", "-y", PACKAGE)
    assert "successful" in chroot.done("nginx", "-t")
    chroot.install()
    assert chroot.link.is_symlink()
    assert "successful" in chroot.done("nginx", "-t")


def test_apt_names_the_conflict_with_an_nginx_of_another_abi(chroot, tmp_path):
    """An nginx that is newer than the one that the package was built for."""
    made = tmp_path / "nginx"
    (made / "DEBIAN").mkdir(parents=True)
    (made / "DEBIAN" / "control").write_text(
        "Package: nginx\nVersion: 99.0-1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n"
        "Provides: nginx-abi-99.0-1\nBreaks: nginx-common (<< 99)\nConflicts: nginx-core\nDescription: test\n"
    )
    subprocess.run(["dpkg-deb", "--build", made, chroot.root / "nginx.deb"], check=True, stdout=subprocess.DEVNULL)
    asked = chroot.run("apt-get", "install", "-s", "/nginx.deb", PACKAGE)
    assert asked.returncode != 0
    assert f"{PACKAGE} : Depends: nginx-abi-" in asked.stdout


def test_copyright_and_docs_are_there(chroot):
    folder = chroot.root / "usr/share/doc" / PACKAGE
    assert "vendor/nginx-sys-" in (folder / "copyright").read_text()
    assert (folder / "examples/nginx-conf/mcp.conf").exists()
    assert (folder / "README.md").exists()


def test_lua_finds_its_part(chroot):
    chroot.done("apt-get", "install", "-y", "libnginx-mod-http-lua")
    chroot.configure("init_by_lua_block { require 'resty.sticky_learn' }")
    assert "successful" in chroot.done("nginx", "-t")
