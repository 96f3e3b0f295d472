"""The Debian package, installed in a fresh chroot of its release: tools/test-deb makes both and names them by DEB_FILE and
DEB_ROOT. A chroot shares the network of this machine, so servers and clients of the SDKs run outside of it."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.chroot import Chroot

PACKAGE = "libnginx-mod-http-sticky-learn"
STICKY = "sticky_learn zone=sessions:1m;"

pytestmark = pytest.mark.skipif("DEB_FILE" not in os.environ, reason="make test-deb makes the package and the chroot")


class Package(Chroot):
    """A Debian without nginx, and the package in it as a file."""

    def __init__(self, root: Path, package: Path):
        self.file = f"/{package.name}"
        (root / package.name).write_bytes(package.read_bytes())
        super().__init__(root)

    def install(self) -> None:
        # Also what the package recommends: nginx itself.
        self.done("apt-get", "-o", "APT::Install-Recommends=1", "install", "-y", "--reinstall", self.file)

    def purge(self) -> None:
        self.unconfigure()
        self.done("dpkg", "--purge", PACKAGE)

    @property
    def link(self) -> Path:
        return self.root / "etc/nginx/modules-enabled/50-mod-http-sticky-learn.conf"

    def has_files(self) -> list[str]:
        places = ["usr/lib/nginx", "usr/share/lua", "usr/share/nginx", "usr/share/doc", "etc/nginx", "var/lib/dpkg/info"]
        return [str(it) for place in places for it in (self.root / place).rglob("*sticky*learn*")]


@pytest.fixture
def chroot() -> Iterator[Package]:
    made = Package(Path(os.environ["DEB_ROOT"]), Path(os.environ["DEB_FILE"]))
    made.install()
    made.without_default_site()
    yield made
    made.purge()


def test_installation_brings_nginx_and_enables_the_module(chroot):
    assert chroot.link.is_symlink()
    chroot.starts()
    chroot.configure(f"upstream mcp {{ {STICKY} server 127.0.0.1:1; }}")
    chroot.starts()


async def test_an_mcp_session_works(chroot):
    await chroot.an_mcp_session_works()


def test_removal_names_the_files_that_still_use_it(chroot):
    chroot.configure(f"upstream mcp {{\n    {STICKY}\n    server 127.0.0.1:1;\n}}\n")
    said = chroot.done("apt-get", "remove", "-y", PACKAGE)
    assert "/etc/nginx/conf.d/sticky.conf" in said
    chroot.configure("")
    chroot.starts()


def test_purge_leaves_no_file(chroot):
    chroot.purge()
    assert chroot.has_files() == []
    chroot.starts()


def test_a_disabled_module_stays_disabled(chroot):
    chroot.link.unlink()
    chroot.install()
    assert not chroot.link.is_symlink()
    chroot.starts()


def later(package: Path, to: Path) -> None:
    """The same package with a later version."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
        control = Path(folder, "DEBIAN", "control")
        control.write_text(re.sub(r"^(Version: .*)", r"\1+later", control.read_text(), flags=re.MULTILINE))
        subprocess.run(["dpkg-deb", "--build", folder, to], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("enabled", [True, False])
def test_an_upgrade_keeps_the_choice(chroot, enabled):
    if not enabled:
        chroot.link.unlink()
    later(chroot.root / chroot.file[1:], chroot.root / "later.deb")
    chroot.done("apt-get", "install", "-y", "/later.deb")
    assert "+later" in chroot.done("dpkg-query", "-W", PACKAGE)
    assert chroot.link.is_symlink() == enabled
    chroot.starts()


def test_a_purged_one_can_be_installed_again(chroot):
    chroot.purge()
    chroot.install()
    assert chroot.link.is_symlink()
    chroot.starts()


def test_a_removed_one_can_be_installed_again(chroot):
    chroot.done("apt-get", "remove", "-y", PACKAGE)
    chroot.starts()
    chroot.install()
    assert chroot.link.is_symlink()
    chroot.starts()


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
    assert (folder / "docs/directives.md").exists()


def test_lua_finds_its_part(chroot):
    chroot.done("apt-get", "install", "-y", "libnginx-mod-http-lua")
    chroot.configure("init_by_lua_block { require 'resty.sticky_learn' }")
    chroot.starts()


@pytest.mark.skipif("DEB_IMAGE" not in os.environ, reason="tools/test-deb carries out contrib/docker/Dockerfile.debian")
async def test_an_mcp_session_works_in_an_image():
    image = Chroot(Path(os.environ["DEB_IMAGE"]))
    image.without_default_site()
    for name in ("access", "error"):
        log = image.root / f"var/log/nginx/{name}.log"
        assert str(log.readlink()) == ("/dev/stdout" if name == "access" else "/dev/stderr")
        # A chroot has no /proc, where these links lead to.
        log.unlink()
    assert not list((image.root / "tmp").glob("*.deb"))
    await image.an_mcp_session_works()
