"""What `gone=revive` costs a request whose session is where it was: instructions of the module's object."""

from harness.clients.http import send
from harness.conf import listen, upstream
from harness.instructions import counted, needs_callgrind, of_object
from harness.ports import free_ports
from harness.reviving import NO_BIND
from harness.servers.replica import replicas

REQUESTS = 100
TIMES = 8
MOST = 20  # instructions more than with gone=reject


async def of_a_hit(nginx, http: str, port: int) -> float:
    async with counted(nginx, http, port) as counter:
        id = (await send(port)).id
        await send(port, id)

        async def requests() -> None:
            for _ in range(REQUESTS):
                assert (await send(port, id)).sticky == "HIT"

        profiles = [await counter.during(requests()) for _ in range(TIMES)]
    # A timer of the worker may run meanwhile.
    return min(of_object(profile, "ngx_http_sticky_learn_module.so") for profile in profiles) / REQUESTS


@needs_callgrind
async def test_a_hit(new_nginx, report):
    async with replicas(2) as two:
        found = {}
        for gone in ("reject", "revive"):
            nginx = new_nginx()
            nginx.allowed = [NO_BIND]
            (port,) = free_ports(1)
            http = upstream("mcp", two, f"sticky_learn zone=sessions:1m gone={gone};") + listen(port, "mcp")
            found[gone] = await of_a_hit(nginx, http, port)
    report(f"instructions for a hit: {found}")
    assert round(found["revive"] - found["reject"]) <= MOST
