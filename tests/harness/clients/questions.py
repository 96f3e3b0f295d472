"""Requests that wait for the answer of the fake source in module/testing/answers.rs, and what it counts."""

import asyncio
import re

from harness.clients.http import Response, send
from harness.patience import until
from harness.ports import free_ports

Counts = dict[str, int]


def backends(ports: list[int]) -> str:
    """The servers "a" and "b"."""
    return "".join(
        f"server {{ listen 127.0.0.1:{port}; location / {{"
        f" add_header X-Replica {name}; add_header Mcp-Session-Id $arg_new; return 200; }} }}\n"
        for name, port in zip("ab", ports, strict=True)
    )


def site(port: int, source: str, *, servers: list[int] | None = None, listen: str = "", location: str = "") -> str:
    """An upstream whose `source` answers by the server `{b}`. Its servers are in the same nginx, unless they are given.
    `listen`, `location`: further lines of the server before them."""
    ports = servers or free_ports(2)
    a, b = (f"127.0.0.1:{port}" for port in ports)
    return f"""
    log_format asked '$request_uri $status';
    {"" if servers else backends(ports)}
    upstream u {{
        sticky_learn zone=sessions:2m unknown=reject;
        sticky_test_answer {source.format(b=b)};
        server {a};
        server {b};
    }}
    server {{
        listen 127.0.0.1:{port};
        {listen}
        access_log asked.log asked;
        location / {{ {location} proxy_pass http://u; }}
        location = /counts {{ access_log off; sticky_test_waiting counts; }}
        location = /release {{ access_log off; sticky_test_waiting release; }}
    }}
    """


def parse(text: str) -> Counts:
    counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", text)}
    ended = counts["answered"] + counts["timed_out"] + counts["gone"]
    assert counts["asked"] == ended + counts["waiting"], text
    assert counts["waited"] <= counts["asked"], text
    return counts


async def settled(port: int, **wanted: int) -> Counts:
    """The counts of the worker, once they are what is wanted."""
    counts: Counts = {}

    async def are_wanted() -> bool:
        nonlocal counts
        counts = parse((await send(port, method="GET", path="/counts", body=b"")).body.decode())
        return wanted.items() <= counts.items()

    try:
        await until(are_wanted)
    except TimeoutError:
        raise AssertionError(f"the counts stay {counts}") from None
    return counts


async def release(port: int) -> int:
    """Answers all questions of the worker; how many."""
    return int((await send(port, method="GET", path="/release", body=b"")).body)


class HeldBack:
    """A release whose request a worker has only begun to read. It can be completed when the worker takes no new
    connections."""

    @classmethod
    async def begin(cls, port: int) -> "HeldBack":
        held = cls()
        held._reader, held._writer = await asyncio.open_connection("127.0.0.1", port)
        held._writer.write(b"GET /release HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        return held

    def complete(self) -> None:
        self._writer.write(b"\r\n")

    async def released(self) -> int:
        """How many questions were answered."""
        answer = await self._reader.read(-1)
        self._writer.close()
        return int(answer.rpartition(b"\r\n\r\n")[2])


def logged(log: str) -> list[Counts]:
    """The counts that each worker has logged at its end."""
    return [parse(line) for line in re.findall(r"questions of a test: (.*)", log)]


def ask_many(port: int, count: int) -> list[asyncio.Task[Response]]:
    """Requests with ids that the zone does not have."""
    return [asyncio.create_task(send(port, b"id-%d" % number, path="/asked")) for number in range(count)]


async def outcomes(tasks: list[asyncio.Task[Response]]) -> set[tuple[int, str] | str]:
    """What has become of requests: status and server, or "closed" without an answer."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    found: set[tuple[int, str] | str] = set()
    for result in results:
        if isinstance(result, Response):
            found.add((result.status, result.replica))
        elif isinstance(result, (ConnectionError, asyncio.IncompleteReadError)):
            found.add("closed")
        else:
            raise result
    return found
