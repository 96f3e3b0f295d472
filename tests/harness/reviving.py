"""nginx with `gone=revive` before servers of MCP."""

import asyncio
import re

from harness.conf import listen, upstream
from harness.nginx import GONE, UNREACHABLE, Nginx
from harness.ports import free_ports
from harness.sdk import FRONT, Server

REVIVE = "sticky_learn zone=sessions:1m gone=revive gone_after=1s;"
ALICE = [("Authorization", "Bearer alice")]
NO_BIND = "gone=revive. without .bind. knows the owner of a session by its credentials"
# What nginx logs when servers die.
DYING = [
    UNREACHABLE,
    GONE,
    NO_BIND,
    "connect.. failed",
    "upstream prematurely closed",
    "recv.. failed",
    "no live upstreams",
    "temporarily disabled",
]


def start(nginx: Nginx, replicas, directives: str = REVIVE, workers: int = 2, more: str = "") -> int:
    (port,) = free_ports(1)
    nginx.allowed = DYING
    front = FRONT.replace("$http_host", "localhost:1") + more
    nginx.start(upstream("mcp", replicas, directives) + listen(port, "mcp", front), workers=workers)
    return port


async def restart(server: Server) -> None:
    """In place: it has lost its sessions."""
    server.kill()
    server.start()
    await asyncio.to_thread(server.wait)


def lines(nginx: Nginx, text: str) -> int:
    return sum(bool(re.search(text, line)) for line in nginx.errors())


def revived(nginx: Nginx) -> int:
    return lines(nginx, "session revived at server")
