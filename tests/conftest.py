"""Fixtures of the process-level tests. NGINX names the nginx to test, STICKY_MODULE the module built for it,
STICKY_TESTING_MODULE the object that also has the directives of module/testing/, NGINX_130 an nginx that has `sticky` of
its own, to compare with."""

import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from harness.clients.api import last_report, sessions_add_up  # noqa: E402
from harness.nginx import BINARY, MODULE, OWN_STICKY, ROOT, TESTING_MODULE, Nginx, environment, version  # noqa: E402
from harness.patience import WHOLE_TEST  # noqa: E402

numbers: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plus_syntax: needs `sticky` to be ours, that is an nginx before 1.29.6")
    config.addinivalue_line("markers", "alone: measures what a busy machine would spoil; runs when all others are done")
    if not MODULE.exists():
        raise pytest.UsageError(f"{MODULE} is missing: make module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # The servers that the tests of a file share are started in one process.
        shared = any(made[-1].scope == "module" for made in item._fixtureinfo.name2fixturedefs.values())
        if shared and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    if version(BINARY) < OWN_STICKY:
        return
    reason = pytest.mark.skip(reason="`sticky` is nginx's own here")
    for item in items:
        if "plus_syntax" in item.keywords:
            item.add_marker(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine. By hand: pytest-asyncio has no time limit for a test."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with asyncio.timeout(WHOLE_TEST):
            await pyfuncitem.obj(**arguments)

    uvloop.run(run())
    return True


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        numbers.extend(text for name, text in report.user_properties if name == "number")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if numbers:
        terminalreporter.section(f"numbers, nginx {'.'.join(map(str, version(BINARY)))}")
        for line in numbers:
            terminalreporter.write_line(line)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Prints a number when all tests are done."""
    name = request.node.name.partition("@")[0]  # less the group of pytest-xdist
    return lambda text: request.node.user_properties.append(("number", f"{name:<44} {text}"))


@pytest.fixture
def new_nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    """Makes an nginx; at the end of the test counts its sessions, stops it and looks into its log."""
    made: list[Nginx] = []

    def make(**arguments) -> Nginx:
        made.append(Nginx(tmp_path / f"nginx{len(made)}", **arguments))
        return made[-1]

    yield make
    reports = [last_report(nginx) for nginx in made if nginx.is_running and nginx.api.exists()]
    for nginx in made:
        nginx.stop()
    for report in reports:
        sessions_add_up(report)
    for nginx in made:
        assert nginx.unexpected() == []


@pytest.fixture
def nginx(new_nginx: Callable[..., Nginx]) -> Nginx:
    """The nginx under test, with the module."""
    return new_nginx()


@pytest.fixture
def testing_nginx(new_nginx: Callable[..., Nginx]) -> Nginx:
    """The nginx under test, with the object that also has the directives of module/testing/."""
    if not TESTING_MODULE.exists():
        raise pytest.UsageError(f"{TESTING_MODULE} is missing: tools/module --testing")
    return new_nginx(module=TESTING_MODULE)


@pytest.fixture
def own_nginx(new_nginx: Callable[..., Nginx]) -> Nginx:
    """An nginx that has `sticky` of its own, without the module."""
    binary = os.environ.get("NGINX_130")
    if not binary:
        pytest.skip("NGINX_130 names no nginx to compare with")
    return new_nginx(binary=binary, module=None)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file with the secret of machines that share sessions."""
    path = tmp_path / "secret"
    path.write_bytes(os.urandom(48))
    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles a module of tests/modules/ against the sources of the nginx under test."""

    def compile(name: str, *options: str) -> Path:
        done = subprocess.run([ROOT / "tools" / "tree", BINARY], capture_output=True, text=True, env=environment())
        if done.returncode:
            pytest.skip(done.stderr.strip())
        tree, objs = done.stdout.split()
        source, to = ROOT / "tests" / "modules" / f"{name}.c", tmp_path_factory.mktemp("modules") / f"{name}.so"
        makefile = Path(objs, "Makefile").read_text()
        includes = re.search(r"^ALL_INCS = (.*?)\n\n", makefile, re.S | re.M)[1].replace("\\\n", " ").split()
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", *options, *includes, "-I", objs, source, "-o", to]
        subprocess.run(command, cwd=tree, check=True)
        return to

    return compile
