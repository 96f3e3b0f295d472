"""A connection of nginx's own: where it leads, how it fails."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from harness.connect import SAY, connect, result, results
from harness.patience import until
from harness.ports import free_ports
from harness.servers.faults import black_hole
from harness.servers.lines import (
    PING,
    PONG,
    a_byte_now_and_then,
    lines,
    nothing,
    reset_after_a_byte,
    without_end,
)

BRIEFLY = f"{SAY} timeout=300"


@pytest.mark.parametrize("family", ["IPv4", "IPv6", "Unix"])
async def test_a_line_is_sent_and_one_comes_back(testing_nginx, family):
    (port,) = free_ports(1)
    unix = testing_nginx.home / "lines.sock"
    at, address = {
        "IPv4": (("127.0.0.1", port), f"127.0.0.1:{port}"),
        "IPv6": (("::1", port), f"[::1]:{port}"),
        "Unix": (unix, f"unix:{unix}"),
    }[family]
    async with lines(at) as server:
        assert await result(testing_nginx, address) == "answered"
        await until(lambda: server.open == 0)
    assert server.lines == [PING]


async def test_a_connection_may_end_as_soon_as_it_is_established(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port)) as server:
        assert await result(testing_nginx, f"127.0.0.1:{port}", "") == "answered"
        await until(lambda: server.connections == 1 and server.open == 0)
    assert server.lines == []


async def test_it_works_in_every_worker_and_only_there(testing_nginx):
    (port,) = free_ports(1)
    conf = "proxy_cache_path cache keys_zone=cache:1m; " + connect(f"127.0.0.1:{port}", f"{SAY} times=2")
    async with lines(("127.0.0.1", port)) as server:
        testing_nginx.configure(conf)
        assert testing_nginx.check() == ""
        testing_nginx.start(conf, workers=3)
        assert await results(testing_nginx, 3) == ["2 answered, 0 failed"] * 3
        assert any("start cache manager process" in line for line in testing_nginx.errors())
        assert server.connections == 6


# Servers that fail


async def test_refused(testing_nginx):
    (port,) = free_ports(1)
    assert await result(testing_nginx, f"127.0.0.1:{port}") == "connect() failed (111: Connection refused)"


async def test_no_unix_socket(testing_nginx):
    missing = testing_nginx.home / "missing.sock"
    assert await result(testing_nginx, f"unix:{missing}") == "connect() failed (2: No such file or directory)"


async def test_a_black_hole(testing_nginx):
    (port,) = free_ports(1)
    with black_hole(("127.0.0.1", port)):
        assert await result(testing_nginx, f"127.0.0.1:{port}", BRIEFLY) == "timed out while connecting"


async def test_a_server_that_says_nothing(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), nothing) as server:
        assert await result(testing_nginx, f"127.0.0.1:{port}", BRIEFLY) == "timed out while reading answer"
        await until(lambda: server.open == 0)


async def test_the_deadline_is_one_for_all_bytes(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), a_byte_now_and_then) as server:
        assert await result(testing_nginx, f"127.0.0.1:{port}", BRIEFLY) == "timed out while reading answer"
        await until(lambda: server.open == 0)


async def test_an_answer_that_is_cut_at_any_byte(testing_nginx):
    (port,) = free_ports(1)
    cuts = iter(range(len(PONG)))

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(PONG[: next(cuts)])
        await writer.drain()

    async with lines(("127.0.0.1", port), cut):
        testing_nginx.start(connect(f"127.0.0.1:{port}") * len(PONG), workers=1)
        assert await results(testing_nginx, len(PONG)) == ["server closed the connection too early"] * len(PONG)


async def test_an_answer_that_comes_in_pieces(testing_nginx):
    (port,) = free_ports(1)

    async def in_pieces(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in PONG:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    async with lines(("127.0.0.1", port), in_pieces):
        assert await result(testing_nginx, f"127.0.0.1:{port}") == "answered"


async def test_a_reset(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), reset_after_a_byte):
        said = await result(testing_nginx, f"127.0.0.1:{port}")
    assert said == "connection lost (104: Connection reset by peer)"


async def test_another_answer(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port)):
        assert await result(testing_nginx, f"127.0.0.1:{port}", "send=ping expect=pang") == "unexpected line"


async def test_of_an_answer_without_end_64k_are_kept(testing_nginx, report):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), without_end) as server:
        testing_nginx.start(connect(f"127.0.0.1:{port}") + connect(f"127.0.0.1:{port}", f"{SAY} times=20"), workers=1)
        said = await results(testing_nginx, 2)
        peak = memory_peak(testing_nginx.workers[0])
        await until(lambda: server.open == 0)
    report(f"peak of the worker {peak / 1024:.0f} MB")
    assert sorted(said) == ["0 answered, 20 failed", "server sent too long answer"]
    # A worker without such answers has some 15 MB.
    assert peak < 64 * 1024


def memory_peak(pid: int) -> int:
    """The most memory that a process has ever had, in kB."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


async def test_a_server_that_comes_back_is_found_back(testing_nginx):
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    # The directives begin in their order: when the second one has failed, the first one has.
    testing_nginx.start(connect(address, f"{SAY} retry") + connect(address), workers=1)
    assert await results(testing_nginx) == ["connect() failed (111: Connection refused)"]
    async with lines(("127.0.0.1", port)):
        assert (await results(testing_nginx, 2))[1] == "answered"


async def test_ten_thousand_connections_leave_no_file_open(testing_nginx, report):
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port)) as server:
        conf = connect(f"127.0.0.1:{port}", f"{SAY} times=2500") * 4
        assert await result(testing_nginx, f"127.0.0.1:{port}") == "answered"
        before = open_files(testing_nginx.workers[0])
        testing_nginx.reload(conf)
        assert await results(testing_nginx, 5) == ["answered"] + ["2500 answered, 0 failed"] * 4
        after = open_files(testing_nginx.workers[-1])
    report(f"{server.connections} connections, {before} files open before, {after} after")
    assert server.connections == 10_001
    assert after == before


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
