"""Clients of tests/sdk/*/looping.*: they call again and again while a test does something to their servers."""

import asyncio
import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from harness.patience import PATIENCE, until
from harness.sdk import NODE, PYTHON_1, PYTHON_2, script

KINDS = {
    "typescript": lambda: [*NODE, script("looping.mjs")],
    "python-2": lambda: [*PYTHON_2, script("looping.py")],
    "python-1": lambda: [*PYTHON_1, script("looping.py")],
}


@dataclass
class Looped:
    """What one client has done."""

    answered: int = 0
    longest: float = 0  # seconds, of the calls that were answered
    errors: list[str] = field(default_factory=list)
    last_failed: bool = False
    began: bool = False
    announced: bool | None = None  # none until its end
    died: str = ""  # the SDK has ended the client

    @property
    def calls(self) -> int:
        return self.answered + len(self.errors)

    def add(self, said: dict) -> None:
        self.began = True
        if "took" in said:
            self.last_failed = "error" in said
            if self.last_failed:
                self.errors.append(said["error"])
            else:
                self.answered += 1
                self.longest = max(self.longest, said["took"])
        self.announced = said.get("announced", self.announced)
        self.died = said.get("died", self.died)


class Looping:
    """`counts`: how many clients of each kind."""

    def __init__(self, port: int, counts: dict[str, int], pause: float, limit: float):
        self.clients = {f"{kind} {number}": Looped() for kind, count in counts.items() for number in range(count)}
        self._counts = counts
        self._arguments = [f"http://127.0.0.1:{port}/mcp"], [str(pause), str(limit)]
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        (url, rest), pipe = self._arguments, subprocess.PIPE
        self._reading = []
        for kind, count in self._counts.items():
            command = [*KINDS[kind](), *url, str(count), *rest]
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            self._processes.append(process)
            self._reading.append(asyncio.create_task(self._read(kind, process)))
        await until(lambda: all(client.began for client in self.clients.values()))
        return self

    async def __aexit__(self, *_) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _read(self, kind: str, process: asyncio.subprocess.Process) -> None:
        async for line in process.stdout:
            said = json.loads(line)
            self.clients[f"{kind} {said['client']}"].add(said)

    async def end(self) -> None:
        """Returns when each client has ended by itself."""
        for process in self._processes:
            process.stdin.close()
        async with asyncio.timeout(3 * PATIENCE):
            await asyncio.gather(*self._reading)

    def of(self, kind: str) -> list[Looped]:
        return [client for name, client in self.clients.items() if name.startswith(f"{kind} ")]

    def errors(self) -> Counter[str]:
        """What the SDKs say, without pages of HTML."""
        every = (error for client in self.clients.values() for error in client.errors)
        return Counter(re.sub(r"<.*?>|\s+", " ", error)[:120] for error in every)
