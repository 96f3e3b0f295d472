"""Whose a session is: the URI counts, an empty `bind` does not, and nobody takes it over or ends it."""

import pytest

from harness.clients.mcp import INITIALIZE, Session
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, REVIVE, lines, revived, start
from harness.servers.fake import Fake, home_of, serve

MALLORY = [("Authorization", "Bearer mallory")]
WAYS = {"query": ("/mcp?key=alice", "/mcp?key=mallory"), "path": ("/alice/mcp", "/mallory/mcp"), "named": ("/a/mcp", "/b/mcp")}
NAMED = "location /a/ { try_files /none @mcp; } location /b/ { try_files /none @mcp; } location @mcp { proxy_pass http://mcp; }"


@pytest.fixture
def two() -> tuple[Fake, Fake]:
    return tuple(Fake(port) for port in free_ports(2))


@pytest.mark.parametrize("way", WAYS)
async def test_another_uri_is_a_strangers(nginx, two, way):
    """A credential may be in it, and different locations may lead to a named one."""
    alice, mallory = WAYS[way]
    serving = await serve(*two)
    port = start(nginx, two, more=NAMED)
    session = await Session(port, (), alice).open()
    home_of(session, two)[0].sessions.clear()
    stranger = Session(port, (), mallory)
    stranger.id = session.id
    [fake.targets.clear() for fake in two]
    for response in [await stranger.post("x"), await stranger.send(None, method="GET"), await stranger.delete()]:
        assert response.status == 404
    assert {target for fake in two for _, target in fake.targets} == {mallory}
    assert revived(nginx) == 0
    assert (await session.post("x")).sticky == "REVIVED"
    assert ("initialize", alice) in [target for fake in two for target in fake.targets]
    [server.close() for server in serving]


@pytest.mark.parametrize("way", ["credentials", "location"])
async def test_a_stranger_ends_nothing_though_his_delete_is_answered_2xx(nginx, two, way):
    serving = await serve(*two)
    port = start(nginx, two, more="location /other/ { proxy_pass http://mcp/; }")
    session = await Session(port, ALICE).open()
    for fake in two:
        fake.say = lambda method, *_: (204, None, {}) if method == "DELETE" else None
        fake.sessions.clear()
    stranger = Session(port, MALLORY) if way == "credentials" else Session(port, ALICE, "/other/mcp")
    stranger.id = session.id
    assert (await stranger.delete()).status == 204
    assert (await session.post("x")).sticky == "REVIVED"
    # The owner ends it.
    assert (await session.delete()).status == 204
    assert (await session.post("x")).sticky == "UNKNOWN"
    [server.close() for server in serving]


async def test_an_empty_bind_tells_no_owner(nginx, two):
    serving = await serve(*two)
    port = start(nginx, two, REVIVE.replace("gone=revive", "gone=revive bind=$http_x_user"))
    session = await Session(port, ALICE).open()
    for fake in two:
        fake.sessions.clear()
    assert (await session.post("x", headers=MALLORY)).status == 404
    assert revived(nginx) == 0
    # Without credentials, `bind` alone tells the owner.
    user = [("X-User", "alice")]
    bound = await Session(port, [*user, *ALICE]).open()
    for fake in two:
        fake.sessions.clear()
    assert (await bound.post("x", headers=[*user, *MALLORY])).sticky == "REVIVED"
    assert (await session.post("x")).sticky == "REVIVED"
    [server.close() for server in serving]


async def test_an_initialize_with_the_id_of_another_takes_no_session_over(nginx, two):
    """A server that accepts the ids of clients answers mallory's initialize with alice's id."""
    serving = await serve(*two)
    port = start(nginx, two)
    session = await Session(port, ALICE).open()
    home, other = home_of(session, two)
    serving[two.index(home)].close()
    stranger = Session(port, MALLORY)
    stranger.id = session.id
    await stranger.post("x")
    await until(lambda: lines(nginx, "is gone"))
    result = {"protocolVersion": other.version, "capabilities": other.capabilities, "serverInfo": {}}
    opened = 200, {"jsonrpc": "2.0", "id": 1, "result": result}, {"Mcp-Session-Id": session.id.decode()}
    other.say = lambda method, *_: opened if method == "initialize" else None
    assert (await stranger.post("initialize", INITIALIZE)).id == session.id
    other.say = lambda *_: None
    # The record is alice's as before.
    assert (await stranger.post("x")).status == 404
    assert revived(nginx) == 0
    assert (await session.post("x")).sticky == "REVIVED"
    [server.close() for server in serving]
