"""README's "Install" without a package, in a chroot that had only make: tools/test-install has run `make module` there, and
names the folder by INSTALL_ROOT."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.chroot import Chroot
from harness.nginx import ROOT

pytestmark = pytest.mark.skipif("INSTALL_ROOT" not in os.environ, reason="make test-install makes the chroot")


@pytest.fixture
def chroot() -> Iterator[Chroot]:
    made = Chroot(Path(os.environ["INSTALL_ROOT"]))
    made.without_default_site()
    yield made
    made.unconfigure()


def readme_commands() -> str:
    """The commands after `make module` in README, without the reload: no service runs in a chroot."""
    block = re.search(r"^    make module\n((?:    .*\n)+)", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
    assert block.count(" && systemctl reload nginx") == 1
    return block.replace(" && systemctl reload nginx", "")


def test_rust_came_from_debian(chroot):
    for program in ("cargo", "rustc"):
        assert re.match(rf"{program}\S*: /usr/bin/{program}", chroot.done("dpkg", "-S", f"/usr/bin/{program}"))
    assert not (chroot.root / "root/.rustup").exists()


async def test_the_commands_of_the_readme_install_it(chroot):
    # As a newcomer has it, who has put the object nowhere yet.
    chroot.configure("upstream mcp { sticky_learn zone=sessions:1m; server 127.0.0.1:1; }")
    assert 'unknown directive "sticky_learn"' in chroot.run("nginx", "-t").stdout
    chroot.done("sh", "-ec", "cd /src\n" + readme_commands())
    await chroot.an_mcp_session_works()
