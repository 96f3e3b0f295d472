"""nginx machines that share their sessions by a store."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from harness.clients.api import location, report_of
from harness.clients.http import Response, send
from harness.conf import STREAMING, listen, upstream
from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas
from harness.servers.store import Store, store

# The store is away: one line a minute.
AWAY = r'\[warn\] .* sticky_share "mesh": store "\S+" '


@dataclass
class Machine:
    nginx: Nginx
    port: int

    @property
    def live(self) -> int:
        return report_of(self.nginx)["zones"]["sessions"]["live"]

    async def send(self, id: bytes = b"", **more) -> Response:
        return await send(self.port, id, **more)


def http(port: int, servers: list[Replica], url: str, *, learn: str = "", share: str = "") -> str:
    learn = learn or "sticky_learn zone=sessions:1m"
    shared = upstream("mcp", servers, f"{learn} share=mesh;", "max_fails=0")
    return f"sticky_share mesh {url} {share};\n{shared}" + listen(port, "mcp", STREAMING + location(write=True))


async def start(make, servers, url: str, *, daemon: bool = False, **more) -> Machine:
    (port,) = free_ports(1)
    machine = Machine(make(), port)
    machine.nginx.allowed.append(AWAY)
    await asyncio.to_thread(machine.nginx.start, http(port, servers, url, **more), daemon=daemon)
    return machine


@asynccontextmanager
async def fleet(new_nginx, tmp_path, secret, *, learn: str = "", count: int = 3):
    """Two machines, their servers and their store."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(replicas(count))
        kept = await stack.enter_async_context(store(tmp_path / "store"))
        share = f"secret={secret}"
        machines = [await start(new_nginx, servers, kept.url, learn=learn, share=share) for _ in range(2)]
        await until(lambda: hears(kept, 2))
        yield *machines, servers, kept


async def hears(kept: Store, count: int) -> bool:
    """Whether so many machines hear the messages of others."""
    return (await kept.command("PUBSUB", "NUMSUB", "sticky:messages"))[1] == count


def is_same(first: Response, later: Response) -> bool:
    return later.status == 200 and later.replica == first.replica


def servers_are_up(*machines: Machine) -> bool:
    return all(
        server["state"] == "up"
        for machine in machines
        for server in report_of(machine.nginx)["upstreams"]["mcp"]["servers"].values()
    )
