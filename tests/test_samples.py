"""Every file in nginx-conf/ is a configuration that nginx takes."""

import re

import pytest

from harness.conf import SAMPLES


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.conf")))
def test_nginx_takes(nginx, name):
    text = (SAMPLES / name).read_text()
    if re.search(r"^events\b", text, re.MULTILINE):
        # A main configuration; it finds its module and its neighbours where the demo puts them.
        for sample in SAMPLES.glob("*.conf"):
            (nginx.home / sample.name).write_text(sample.read_text())
        (nginx.home / "modules").mkdir()
        (nginx.home / "modules" / "ngx_http_sticky_learn_module.so").symlink_to(nginx.module)
        (nginx.home / "tmp").mkdir()
        (nginx.home / "nginx.conf").write_text(text)
    else:
        nginx.configure(text)
    assert nginx.check() == ""
