"""Instructions that nginx executes, counted by callgrind: unlike times they repeat, whatever else the machine does."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.nginx import Nginx, environment
from harness.patience import until

needs_callgrind = pytest.mark.skipif(not shutil.which("callgrind_control"), reason="no valgrind")


class Counter:
    """An nginx of one process, whose instructions are counted while it is told to."""

    def __init__(self, process: asyncio.subprocess.Process, profile: Path):
        self._process = process
        self._profile = profile
        self._dumps = 0

    async def during(self, work: Awaitable[object]) -> Path:
        """The profile of what nginx executes meanwhile."""
        await self._control("--instr=on")
        await work
        await self._control("--instr=off")
        return await self.dump()

    async def dump(self) -> Path:
        """The profile since the last one."""
        await self._control("--dump")
        self._dumps += 1
        return self._profile.with_suffix(f".{self._dumps}")

    def kill(self) -> None:
        self._process.kill()

    async def _control(self, order: str) -> None:
        done = await asyncio.create_subprocess_exec(
            "callgrind_control", order, str(self._process.pid), stdout=subprocess.DEVNULL
        )
        assert await done.wait() == 0


@asynccontextmanager
async def counted(
    nginx: Nginx, http: str, port: int, without: str = r"(?!)", *, at_start: bool = False
) -> AsyncIterator[Counter]:
    """Runs nginx under callgrind until it listens at a port. `without`: lines of its configuration that are left out.
    `at_start`: what it executes until then is counted as well."""
    nginx.api.unlink(missing_ok=True)
    nginx.configure(http, workers=1)
    conf = nginx.home / "nginx.conf"
    text = re.sub(without, "", conf.read_text(), flags=re.MULTILINE)
    conf.write_text("master_process off; daemon off;" + text)
    profile = nginx.home / "callgrind"
    process = await asyncio.create_subprocess_exec(
        *("valgrind", "--tool=callgrind", f"--instr-atstart={'yes' if at_start else 'no'}", f"--callgrind-out-file={profile}", "--quiet"),
        # Not counted: how many of the module's timers expire meanwhile depends on the load of the machine.
        *("--toggle-collect=*::on_timer", "--toggle-collect=*::worker::step", "--collect-atstart=yes"),
        *nginx._command(),
        env=environment(),
    )

    async def listens() -> bool:
        assert process.returncode is None, nginx.errors()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    try:
        await until(listens)
        yield Counter(process, profile)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def total(profile: Path) -> int:
    """The instructions of a profile, in total."""
    return int(re.search(r"^totals: (\d+)", profile.read_text(), re.MULTILINE)[1])


def of_object(profile: Path, name: str) -> int:
    """The instructions of one shared object."""
    command = ["callgrind_annotate", "--threshold=100", profile]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.findall(rf"^\s*([\d,]+).*\[\S*{re.escape(name)}\]", done.stdout, re.MULTILINE)
    return sum(int(count.replace(",", "")) for count in found)
