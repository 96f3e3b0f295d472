"""contrib/pkg-oss and contrib/docker/sticky-learn fit the tools of nginx.org that read them. The checkout of pkg-oss is a stand-in
here, with the few rules of its own that these files use."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.nginx import ROOT

VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
STEM = f"libnginx-mod-http-sticky-learn_{VERSION}"
SYSTEMS = ["debian", "rpm/SPECS", "alpine"]

# pkg-oss's contrib/Makefile: where archives are, and how their checksums are compared.
CONTRIB = """
TARBALLS := $(CURDIR)/tarballs
VPATH := $(TARBALLS)
include src/nginx-sticky-learn/Makefile
.sum-%: src/%/SHA512SUMS
	$(foreach file,$(filter $(TARBALLS)/%,$^),grep ' $(notdir $(file))$$' $< | (cd tarballs && sha512sum --check -) &&) touch $@
"""


def archive(to: Path, folder: str) -> None:
    (to.parent / folder).mkdir()
    (to.parent / folder / "file").touch()
    with tarfile.open(to, f"w:{to.suffix[1:]}") as out:
        out.add(to.parent / folder, folder)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """This folder as `make dist` leaves it, with small archives."""
    top = tmp_path / "ours"
    shutil.copytree(ROOT / "contrib" / "pkg-oss", top / "contrib" / "pkg-oss")
    for name in ("Cargo.toml", "LICENSE"):
        shutil.copy(ROOT / name, top)
    dist = top / "build" / "dist"
    dist.mkdir(parents=True)
    archive(dist / f"{STEM}.orig.tar.gz", f"libnginx-mod-http-sticky-learn-{VERSION}")
    archive(dist / f"{STEM}.orig-vendor.tar.xz", "vendor")
    sums = [f"{hashlib.sha512(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(dist.glob(f"{STEM}*"))]
    (dist / "SHA512SUMS").write_text("".join(sums))
    return top


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    made = tmp_path / "pkg-oss"
    for folder in ("contrib/src/nginx", "docs", *SYSTEMS):
        (made / folder).mkdir(parents=True)
    (made / "contrib" / "Makefile").write_text(CONTRIB)
    (made / "contrib" / "src" / "nginx" / "version").write_text("NGINX_VERSION := 1.30.0\n")
    return made


def add(ours: Path, checkout: Path) -> subprocess.CompletedProcess:
    return subprocess.run([ours / "contrib" / "pkg-oss" / "add", checkout], capture_output=True, text=True)


def make(*arguments, cwd: Path, **kwargs) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_package_finds_its_sources(ours, checkout, system):
    assert add(ours, checkout).returncode == 0
    make(".sum-nginx-sticky-learn", cwd=checkout / "contrib")
    names = ["MODULES", *(f"MODULE_{name}_sticky_learn" for name in ("VERSION_PREFIX", "VERSION", "SOURCES", "CONFARGS"))]
    program = f"CONTRIB := {checkout}/contrib\nMODULE_TARGET_PREFIX := 1.30.0+\nMODSRC_PREFIX := there/\n"
    program += f"include {checkout}/{system}/Makefile.module-sticky-learn\n"
    program += "show:\n" + "".join(f"\t@echo '$({name})'\n" for name in names)
    said = make("-f", "-", "show", cwd=checkout, input=program)
    modules, prefix, version, sources, arguments = said.splitlines()
    assert (modules, prefix, version) == ("sticky-learn", "1.30.0+", VERSION)
    folders = []
    for source in sources.split():
        with tarfile.open(checkout / "contrib" / "tarballs" / source) as made:
            folders.append(made.getnames()[0])
            assert made.getnames() == [folders[-1], f"{folders[-1]}/file"]
    assert arguments.rstrip("/").rpartition("=")[2].removeprefix("there/") == folders[0]
    # The crates are where cargo is told that they are.
    rules = (checkout / system / "Makefile.module-sticky-learn").read_text().replace("$(NGINX_STICKY_LEARN_VERSION)", version)
    assert re.search(rf"""directory = "(\S+/)?{re.escape(folders[1])}"'""", rules)


def test_other_archives_are_refused(ours, checkout):
    assert add(ours, checkout).returncode == 0
    other = ours / "other"
    other.mkdir()
    archive(other / f"{STEM}.orig.tar.gz", "other")
    shutil.copy(other / f"{STEM}.orig.tar.gz", checkout / "contrib" / "tarballs")
    done = subprocess.run(["make", ".sum-nginx-sticky-learn"], cwd=checkout / "contrib", capture_output=True)
    assert done.returncode != 0


def test_the_archives_come_first(ours, checkout):
    shutil.rmtree(ours / "build")
    done = add(ours, checkout)
    assert (done.returncode, done.stderr) == (1, f"error: no archives of {VERSION} in build/dist; run: make dist\n")


def test_a_folder_that_is_no_checkout_is_refused(ours, tmp_path):
    done = add(ours, tmp_path)
    assert (done.returncode, done.stderr) == (2, "usage: add PKG_OSS, the folder of a checkout\n")


def test_build_module_leaves_config_as_it_is():
    """build_module.sh of pkg-oss, which docker-nginx runs, rewrites a `config` that does not name auto/module."""
    assert re.search(r"\.\sauto/module", (ROOT / "config").read_text())


@pytest.mark.parametrize("program", ["apk", "apt-get"])
def test_docker_nginx_installs_rust(tmp_path, program):
    stub = tmp_path / program
    stub.write_text(f'#!/bin/sh\necho {program} "$@"\n')
    stub.chmod(0o755)
    script = ROOT / "contrib" / "docker" / "sticky-learn" / "prebuild"
    assert os.access(script, os.X_OK)
    done = subprocess.run(["/bin/sh", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(program) and "cargo" in done.stdout and "clang" in done.stdout
