"""How long a session lives."""

import asyncio
import time

from harness.clients.http import send, stream
from harness.conf import LEARN, listen, upstream
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas

TIMEOUT = 4  # seconds
LIFETIME = 3  # seconds
TICK = 0.1  # seconds; the module's clock is no finer


async def test_stream_keeps_its_session_and_idleness_ends_it(nginx, report):
    (port,) = free_ports(1)

    async def streaming() -> str:
        opened = await stream(port, method="POST", headers=[("X-Stream", "1")])
        await asyncio.sleep(3 * TIMEOUT)
        status = (await send(port, opened.response.id)).sticky
        opened.close()
        return status

    async def just_ended() -> str:
        first = await send(port)
        opened = await stream(port, first.id)
        await asyncio.sleep(2 * TIMEOUT)
        opened.close()
        # The other stream ends later.
        await until(lambda: sum(len(replica.streams) for replica in servers) <= 1)
        return (await send(port, first.id)).sticky

    async def waiting() -> str:
        first = await send(port)
        slow = asyncio.ensure_future(send(port, first.id, headers=[("X-Wait", "1")]))
        await asyncio.sleep(2 * TIMEOUT)
        status = (await send(port, first.id)).sticky
        servers[0].answer_now.set()
        servers[1].answer_now.set()
        assert (await slow).status == 200
        return status

    async def in_use() -> str:
        first = await send(port)
        for _ in range(16):
            await asyncio.sleep(TIMEOUT / 8)
            response = await send(port, first.id)
        return response.sticky

    async def idle() -> str:
        first = await send(port)
        await asyncio.sleep(2 * TIMEOUT)
        return (await send(port, first.id)).sticky

    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN} timeout={TIMEOUT}s;") + listen(port, "mcp"))
        stories = [streaming, just_ended, waiting, in_use, idle]
        told = dict(zip((s.__name__ for s in stories), await asyncio.gather(*(s() for s in stories))))
    report(f"timeout {TIMEOUT}s: {told}")
    assert told == {
        "streaming": "HIT",
        "just_ended": "HIT",
        "waiting": "HIT",
        "in_use": "HIT",
        "idle": "UNKNOWN",
    }


async def test_lifetime_ends_a_session_in_use(nginx, report):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(upstream("mcp", servers, f"{LEARN} lifetime={LIFETIME}s;") + listen(port, "mcp"))
        begun = time.monotonic()
        first = await send(port)
        told = [(await send(port, first.id)).sticky]
        while told[-1] == "HIT":
            await asyncio.sleep(0.2)
            told.append((await send(port, first.id)).sticky)
        lived = time.monotonic() - begun
    report(f"lifetime {LIFETIME}s: {len(told) - 1} times HIT, {told[-1]} after {lived:.1f} s")
    assert told[-1] == "UNKNOWN"
    assert lived > LIFETIME - TICK
