"""The heads of requests in revived sessions, and of nginx's own. And which server a revival chooses."""

import pytest

from harness.clients.mcp import Session, sessions
from harness.conf import listen, upstream
from harness.ports import free_ports
from harness.reviving import ALICE, DYING, REVIVE, start
from harness.sdk import FRONT
from harness.servers.fake import Fake, home_of, serve

ODD = {
    "120 lines": [(f"X-A{number}", "1") for number in range(120)],
    "a control character": [("X-C", b"a\x01b")],
    "latin 1": [("X-L", b"\xe9")],
}


@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


@pytest.mark.parametrize("case", ODD)
async def test_what_nginx_lets_through(nginx, two, case):
    serving = await serve(*two)
    port = start(nginx, two, more="large_client_header_buffers 8 32k;")
    session = await Session(port, ALICE).open()
    # In the request that is lost, and in later ones.
    for status in ("REVIVED", "HIT"):
        for fake in two if status == "REVIVED" else ():
            fake.sessions.clear()
        response = await session.post("x", headers=[*ALICE, *ODD[case]])
        assert (response.status, response.sticky) == (200, status)
    [server.close() for server in serving]


async def test_a_location_that_removes_the_id(nginx, two):
    """Its requests go to the session's server as before."""
    serving = await serve(*two)
    more = 'location /bare/ { proxy_pass http://mcp/; proxy_set_header Mcp-Session-Id ""; }'
    port = start(nginx, two, more=more)
    session = await Session(port, ALICE).open()
    home_of(session, two)[0].sessions.clear()
    assert (await session.post("x")).sticky == "REVIVED"
    bare = Session(port, ALICE, "/bare/mcp")
    bare.id = session.id
    assert (await bare.post("x")).status == 404
    assert [fake.seen[-1:] for fake in two].count([("x", "")]) == 1
    [server.close() for server in serving]


async def test_a_credential_may_have_a_name_as_those_of_mcp(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two, REVIVE.replace("gone=revive", "gone=revive credential=Mcp-Api-Key"))
    for fake in two:
        fake.say = lambda *_, fake=fake: (401, None, {}) if "Mcp-Api-Key: k" not in fake.head else None
    session = await Session(port, [("Mcp-Api-Key", "k")]).open()
    for fake in two:
        fake.sessions.clear()
    assert (await session.post("x", headers=[("Mcp-Api-Key", "k"), ("Mcp-Name", "n")])).sticky == "REVIVED"
    [server.close() for server in serving]


async def test_a_server_is_chosen_by_weight_and_connections(nginx, two):
    serving = await serve(*two)
    (port,) = free_ports(1)
    nginx.allowed = DYING
    servers = upstream("mcp", two, REVIVE)
    heavy, light = (f"server {fake.address} ;" for fake in two)
    assert heavy in servers and light in servers
    servers = servers.replace(heavy, heavy.replace(" ;", " weight=1000;"))
    nginx.start(servers + listen(port, "mcp", FRONT), workers=1)
    many = await sessions(port, 40, ALICE)
    for fake in two:
        fake.sessions.clear()
    for session in many:
        assert (await session.post("x")).sticky == "REVIVED"
    assert len(two[0].sessions) >= 35
    [server.close() for server in serving]
