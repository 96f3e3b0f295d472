"""A connection of nginx's own: where it leads, how it ends, what it says when it fails."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.servers.faults import black_hole
from harness.servers.lines import (
    PING,
    PONG,
    a_byte_now_and_then,
    lines,
    nothing,
    pong,
    reset_after_a_byte,
    without_end,
)

SAY = "send=ping expect=pong"
# Longer than a test waits for anything.
NEVER = "timeout=3600000"


def test_of(address: object, parameters: str = SAY) -> str:
    return f"sticky_test_connect {address} {parameters};\n"


test_of.__test__ = False


async def results(nginx: Nginx, count: int = 1) -> list[str]:
    """What the log says about so many tests."""
    found: list[str] = []

    def are_there() -> bool:
        found[:] = [m[1] for line in nginx.errors() if (m := re.search(r'test of "[^"]*": (.*)', line))]
        return len(found) >= count

    await until(are_there)
    return found


async def result_at(nginx: Nginx, address: object, parameters: str = SAY) -> str:
    nginx.start(test_of(address, parameters), workers=1)
    (result,) = await results(nginx)
    return result


@pytest.mark.parametrize("family", ["IPv4", "IPv6", "Unix"])
async def test_a_line_is_sent_and_one_comes_back(testing_nginx, family):
    (port,) = free_ports(1)
    unix = testing_nginx.home / "lines.sock"
    at = {"IPv4": ("127.0.0.1", port), "IPv6": ("::1", port), "Unix": unix}[family]
    address = {"IPv4": f"127.0.0.1:{port}", "IPv6": f"[::1]:{port}", "Unix": f"unix:{unix}"}[family]
    async with lines(at) as server:
        assert await result_at(testing_nginx, address) == "answered"
        await until(lambda: server.open == 0)
    assert server.lines == [PING]


async def test_a_connection_may_end_as_soon_as_it_is_established(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port)) as server:
        assert await result_at(testing_nginx, f"127.0.0.1:{port}", "") == "answered"
        await until(lambda: server.connections == 1 and server.open == 0)
    assert server.lines == []


async def test_it_works_in_every_worker_and_only_there(testing_nginx):
    (port,) = free_ports(1)
    conf = "proxy_cache_path cache keys_zone=cache:1m; " + test_of(f"127.0.0.1:{port}", f"{SAY} times=2")
    async with lines(("127.0.0.1", port)) as server:
        testing_nginx.configure(conf)
        assert testing_nginx.check() == ""
        testing_nginx.start(conf, workers=3)
        assert await results(testing_nginx, 3) == ["2 answered, 0 failed"] * 3
        manager = [line for line in testing_nginx.errors() if "start cache manager process" in line]
        assert len(manager) == 1
        assert server.connections == 6


# Servers that fail


async def test_refused(testing_nginx):
    (port,) = free_ports(1)
    assert await result_at(testing_nginx, f"127.0.0.1:{port}") == "connect() failed (111: Connection refused)"


async def test_no_unix_socket(testing_nginx):
    missing = testing_nginx.home / "missing.sock"
    assert await result_at(testing_nginx, f"unix:{missing}") == "connect() failed (2: No such file or directory)"


async def test_a_black_hole(testing_nginx):
    (port,) = free_ports(1)
    with black_hole(("127.0.0.1", port)):
        result = await result_at(testing_nginx, f"127.0.0.1:{port}", f"{SAY} timeout=200")
    assert result == "timed out while connecting"


async def test_a_server_that_says_nothing(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), nothing) as server:
        result = await result_at(testing_nginx, f"127.0.0.1:{port}", f"{SAY} timeout=200")
        await until(lambda: server.open == 0)
    assert result == "timed out while reading answer"


async def test_the_deadline_is_for_the_whole_answer(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), a_byte_now_and_then) as server:
        result = await result_at(testing_nginx, f"127.0.0.1:{port}", f"{SAY} timeout=500")
        await until(lambda: server.open == 0)
    assert result == "timed out while reading answer"


async def test_an_answer_that_is_cut_at_any_byte(testing_nginx):
    (port,) = free_ports(1)
    cuts = iter(range(len(PONG)))

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(PONG[: next(cuts)])
        await writer.drain()

    async with lines(("127.0.0.1", port), cut):
        testing_nginx.start(test_of(f"127.0.0.1:{port}") * len(PONG), workers=1)
        assert await results(testing_nginx, len(PONG)) == ["server closed the connection too early"] * len(PONG)


async def test_an_answer_in_pieces(testing_nginx):
    (port,) = free_ports(1)

    async def in_pieces(writer: asyncio.StreamWriter) -> None:
        for at in range(len(PONG)):
            writer.write(PONG[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)

    async with lines(("127.0.0.1", port), in_pieces):
        assert await result_at(testing_nginx, f"127.0.0.1:{port}") == "answered"


async def test_a_reset(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), reset_after_a_byte):
        result = await result_at(testing_nginx, f"127.0.0.1:{port}")
    assert result == "connection lost (104: Connection reset by peer)"


async def test_another_answer(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port)):
        assert await result_at(testing_nginx, f"127.0.0.1:{port}", "send=ping expect=pang") == "unexpected line"


def peak(pid: int) -> int:
    """The most memory that a process ever had, in kB."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


async def test_of_an_endless_answer_64k_are_kept(testing_nginx, report):
    (port, free) = free_ports(2)
    async with lines(("127.0.0.1", port), without_end) as server:
        # The first connection is refused until the memory is measured.
        testing_nginx.start(test_of(f"127.0.0.1:{port}", f"{SAY} times=20"), workers=1)
        (worker,) = testing_nginx.workers
        assert await results(testing_nginx) == ["0 answered, 20 failed"]
        after_twenty = peak(worker)
        await until(lambda: server.open == 0)
    idle = testing_nginx
    report(f"peak of the worker {after_twenty} kB")
    assert idle.is_running


async def test_a_server_that_comes_back_is_found_back(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(test_of(f"127.0.0.1:{port}", f"{SAY} retry times=1"), workers=1)
    async with lines(("127.0.0.1", port)):
        assert (await results(testing_nginx))[-1] == "0"


# Many


def files_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
