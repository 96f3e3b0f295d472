"""The requests of an upstream without our directives execute no instruction of the module. callgrind counts them."""

import pytest

from harness.clients.http import send
from harness.conf import STREAMING, listen
from harness.instructions import counted, needs_callgrind, of_object
from harness.ports import free_ports
from harness.servers.replica import replicas

pytestmark = needs_callgrind

REQUESTS = 20
# The variables are of this module.
OURS = r"^ *add_header X-Sticky .*$|\"\$upstream_sticky_status\""


async def instructions_of_ours(nginx, http: str, port: int) -> int:
    """The instructions of the module's object during the requests."""

    async def requests() -> None:
        assert {(await send(port)).status for _ in range(REQUESTS)} == {200}

    async with counted(nginx, http, port, without=OURS) as counter:
        await requests()
        profile = await counter.during(requests())
    assert "ngx_http_upstream_get_round_robin_peer" in profile.read_text()
    return of_object(profile, "ngx_http_sticky_learn_module.so")


async def test_nothing_of_ours_is_executed(nginx):
    port, other = free_ports(2)
    async with replicas(2) as (first, second):
        beside = f"upstream cookies {{ sticky cookie srv; server {first.address}; }}" + listen(other, "cookies")
        count = await instructions_of_ours(
            nginx,
            f"""upstream plain {{
                zone plain 128k;
                server {first.address} route=a;
                server {second.address} drain;
                keepalive 4;
            }}"""
            + listen(port, "plain", STREAMING)
            + beside,
            port,
        )
        assert count == 0


@pytest.mark.plus_syntax
async def test_which_would_be_seen(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as (first,):
        count = await instructions_of_ours(
            nginx, f"upstream u {{ sticky cookie srv; server {first.address}; }}" + listen(port, "u", STREAMING), port
        )
    assert count > REQUESTS
