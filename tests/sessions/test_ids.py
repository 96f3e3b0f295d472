"""Session ids of every shape. No id is written to memory or to a log."""

import asyncio
import secrets
import time
from itertools import pairwise

from harness.clients.http import Tally, crowd, send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.memory import shared_memory
from harness.nginx import UNREACHABLE
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas

LARGE = """
    client_header_buffer_size 16k;
    large_client_header_buffers 4 32k;
    proxy_buffer_size 32k;
    proxy_buffers 8 32k;
    proxy_busy_buffers_size 64k;
"""

# RFC 9110: the characters allowed inside a field value.
FIELD_VALUE = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
# nginx accepts these as well.
CONTROL = bytes(set(range(1, 0x20)) - {0x09, 0x0A, 0x0D}) + b"\x7f"


async def use(nginx, ids: list[bytes]) -> Tally:
    (port,) = free_ports(1)
    tally = Tally()

    async def session(number: int) -> None:
        first = await send(port, headers=[("X-Id", ids[number])])
        assert first.status == 200 and first.id == ids[number]
        tally.sessions += 1
        for _ in range(4):
            response = await send(port, ids[number])
            tally.follow_up(first, response)
            assert response.sticky == "HIT"

    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp", STREAMING + LARGE))
        await crowd(len(ids), 10, session)
    return tally


async def test_one_byte(nginx, report):
    ids = [bytes([byte]) for byte in range(0x21, 0x7F)]
    tally = await use(nginx, ids)
    report(tally)
    assert tally.misrouted == 0


async def test_every_byte_that_http_lets_through(nginx, report):
    ids = [b"id-" + bytes([byte]) + b"-end" for byte in FIELD_VALUE + CONTROL]
    tally = await use(nginx, [*ids, b"a" + FIELD_VALUE + b"z"])
    report(f"{len(FIELD_VALUE)} bytes of RFC 9110 and {len(CONTROL)} more: {tally}")
    assert tally.misrouted == 0


async def test_eight_kilobytes(nginx, report):
    common = secrets.token_hex(4095).encode()
    ids = [common + b"%02d" % number for number in range(20)]  # differ in their last bytes only
    tally = await use(nginx, ids)
    report(f"{len(ids[0]):,} bytes each: {tally}")
    assert tally.misrouted == 0


async def test_no_trace_in_shared_memory_and_logs(nginx, report):
    (port,) = free_ports(1)
    ids = [secrets.token_hex(16).encode() for _ in range(200)]
    ids += [secrets.token_hex(4096).encode()]
    nginx.allowed += [r"Connection refused|reset by peer|temporarily disabled", UNREACHABLE]

    async with replicas(3) as servers:
        nginx.start(
            upstream("mcp", servers, f"{LEARN} bind=$http_x_user unknown=reject unavailable=reject;")
            + listen(port, "mcp", STREAMING + LARGE),
        )
        user = [("X-User", "user-" + secrets.token_hex(16))]
        for id in ids:
            await send(port, headers=[("X-Id", id), *user])
            assert (await send(port, id, headers=user)).sticky == "HIT"
            assert (await send(port, id)).sticky == "UNKNOWN"
        servers[0].stop()
        rejected = [(await send(port, id, headers=user)).status for id in ids].count(503)

        zones = [region for pid in nginx.workers for region in shared_memory(pid)]
        # Proof that the search works: nginx's zone of the upstream contains the servers' names.
        assert any(servers[1].address.encode() in zone for zone in zones)
        # Any 12 bytes of an id count as a trace of it.
        pieces = [id[at : at + 12] for id in ids for at in (0, len(id) // 2, len(id) - 12)]
        pieces.append(user[0][1].encode()[-12:])
        traces = sum(piece in zone for zone in zones for piece in pieces)

    nginx.stop()
    log = b"".join((nginx.home / name).read_bytes() for name in ("error.log", "access.log"))
    logged = sum(piece in log for piece in pieces)
    megabytes = sum(map(len, zones)) / 2**20
    report(f"{len(ids)} ids, {rejected} rejections: {traces} traces in {megabytes:.1f} MiB, {logged} in the logs")
    assert rejected > 0
    assert traces == 0
    assert logged == 0


async def test_full_zone_is_said_once(nginx, report):
    (port,) = free_ports(1)

    def said() -> list[str]:
        return [line for line in nginx.errors() if "is full" in line]

    async def begin(_: int) -> None:
        assert (await send(port)).status == 200

    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN.replace('1m', '32k')};") + listen(port, "mcp"))
        await crowd(5_000, 20, begin)
        last = await send(port)
        follow_up = await send(port, last.id)
        await until(said)
        await crowd(500, 20, begin)
        await asyncio.sleep(3)
    lines = said()
    report(f"5,500 sessions through 32k: {len(lines)} lines: {lines[0].split('] ', 1)[1]}")
    assert follow_up.sticky == "HIT"
    assert all("[notice]" in line for line in lines)
    # Once a minute.
    times = [time.mktime(time.strptime(line[:19], "%Y/%m/%d %H:%M:%S")) for line in lines]
    assert all(later - earlier >= 59 for earlier, later in pairwise(times))
