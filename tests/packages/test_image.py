"""The image of contrib/docker/Dockerfile: tools/test-image has carried it out in a chroot, and names that by IMAGE_ROOT, and
what stood for the official image by IMAGE_BASE."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.chroot import Chroot
from harness.nginx import ROOT

pytestmark = pytest.mark.skipif("IMAGE_ROOT" not in os.environ, reason="make test-image makes the chroot")

MODULE = "usr/lib/nginx/modules/ngx_http_sticky_learn_module.so"


@pytest.fixture
def chroot() -> Iterator[Chroot]:
    made = Chroot(Path(os.environ["IMAGE_ROOT"]))
    yield made
    made.unconfigure()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_it_adds_the_object_and_one_line(chroot):
    base = Path(os.environ["IMAGE_BASE"])
    # What nginx -t opens; a service that runs has them as well.
    run = {"run/nginx.pid", "var/log/nginx/error.log", "var/log/nginx/access.log"}
    assert files(chroot.root) - files(base) - run == {MODULE}
    assert (chroot.root / MODULE).stat().st_size <= 2_000_000
    conf = "etc/nginx/nginx.conf"
    assert (chroot.root / conf).read_text() == (
        "load_module modules/ngx_http_sticky_learn_module.so;\n" + (base / conf).read_text()
    )


async def test_an_mcp_session_works(chroot):
    await chroot.an_mcp_session_works()
