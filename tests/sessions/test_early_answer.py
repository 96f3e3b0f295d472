"""A client sends its next request while the response that gave it its id is still being sent."""

import pytest

from harness.clients.http import Tally, crowd, send, stream
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.ports import free_ports
from harness.servers.replica import replicas

SESSIONS, CLIENTS = 1_000, 25

PLUS = "sticky learn create=${}_http_mcp_session_id lookup=$http_mcp_session_id zone=sessions:1m{};"


async def answer_early(nginx, sticky: str, first_event: bool = True) -> Tally:
    (port,) = free_ports(1)
    tally = Tally()

    async def session(_: int) -> None:
        opened = await stream(port, method="POST", headers=[("X-Stream", "1")], first_event=first_event)
        tally.sessions += 1
        tally.follow_up(opened.response, await send(port, opened.response.id))
        opened.close()

    async with replicas(3) as servers:
        nginx.start(upstream("mcp", servers, sticky) + listen(port, "mcp", STREAMING))
        await crowd(SESSIONS, CLIENTS, session)
    return tally


@pytest.mark.parametrize("first_event", [True, False], ids=["event", "headers"])
async def test_sticky_learn(nginx, report, first_event):
    tally = await answer_early(nginx, f"{LEARN};", first_event)
    report(tally)
    assert tally.misrouted == 0


@pytest.mark.plus_syntax
@pytest.mark.parametrize("where", ["sent", "upstream"])
async def test_plus_syntax_with_header(nginx, report, where):
    tally = await answer_early(nginx, PLUS.format(where, " header"))
    report(tally)
    assert tally.misrouted == 0


async def test_own_sticky_with_header_beside(own_nginx, report):
    report(
        f"nginx's own `sticky learn ... header`: {await answer_early(own_nginx, PLUS.format('upstream', ' header'))}"
    )


async def test_own_sticky_beside(own_nginx, report):
    report(f"nginx's own `sticky learn`: {await answer_early(own_nginx, PLUS.format('upstream', ''))}")
