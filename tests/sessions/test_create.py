"""Where an id is learned from: every place that `create` may look, in every spelling of the directive."""

import pytest

from harness.clients.http import Tally, crowd, send
from harness.conf import STREAMING, listen, upstream
from harness.ports import free_ports
from harness.servers.replica import replicas

MAP = "map $upstream_http_mcp_session_id $learned { default $upstream_http_mcp_session_id; }"
COOKIE_MAP = "map $upstream_cookie_sid $learned { default $upstream_cookie_sid; }"

# create, its definition, whether a cookie carries the id
PLACES = {
    "sent": ("$sent_http_mcp_session_id", "", False),
    "upstream": ("$upstream_http_mcp_session_id", "", False),
    "map": ("$learned", MAP, False),
    "text": ("$upstream_http_mcp_session_id$upstream_http_x_nothing", "", False),
    "cookie": ("$upstream_cookie_sid", "", True),
    "cookie_map": ("$learned", COOKIE_MAP, True),
}

SPELLINGS = [
    pytest.param("sticky_learn create={create} lookup={lookup} zone=sessions:1m;", id="sticky_learn"),
    pytest.param(
        "sticky learn create={create} lookup={lookup} zone=sessions:1m;",
        id="plus",
        marks=pytest.mark.plus_syntax,
    ),
    pytest.param(
        "sticky learn create={create} lookup={lookup} zone=sessions:1m header;",
        id="plus_header",
        marks=pytest.mark.plus_syntax,
    ),
]


async def learn(nginx, http: str, directive: str, cookie: bool = False) -> tuple[Tally, set[str]]:
    """Sessions with follow-up requests; and what $upstream_sticky_status said of those."""
    (port,) = free_ports(1)
    tally, said = Tally(), set()

    async def session(_: int) -> None:
        first = await send(port)
        tally.sessions += 1
        for _ in range(4):
            carried = [("Cookie", b"sid=" + first.id)] if cookie else [("Mcp-Session-Id", first.id)]
            response = await send(port, headers=carried)
            tally.follow_up(first, response)
            said.add(response.sticky)

    async with replicas(3, cookie=cookie) as servers:
        nginx.start(http + upstream("mcp", servers, directive) + listen(port, "mcp", STREAMING))
        await crowd(60, 10, session)
    return tally, said


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", PLACES)
async def test_learned_from(nginx, report, place, spelling):
    create, http, cookie = PLACES[place]
    lookup = "$cookie_sid" if cookie else "$http_mcp_session_id"
    tally, said = await learn(nginx, http, spelling.format(create=create, lookup=lookup), cookie)
    report(tally)
    assert tally.misrouted == 0
    assert said == {"HIT"}


async def test_first_value_that_is_not_empty(nginx, report):
    tally, said = await learn(
        nginx,
        "",
        "sticky_learn zone=sessions:1m"
        " create=$upstream_http_x_session create=$upstream_http_mcp_session_id"
        " lookup=$arg_session lookup=$http_mcp_session_id;",
    )
    report(tally)
    assert tally.misrouted == 0
    assert said == {"HIT"}
