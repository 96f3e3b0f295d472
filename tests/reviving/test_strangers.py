"""Mallory has the id of alice's session: he revives nothing, ends nothing, and alice goes on."""

from collections.abc import Iterator

import pytest

from harness.clients.mcp import Session
from harness.conf import listen, upstream
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, DYING, REVIVE, lines, restart, revived, start
from harness.sdk import FRONT, Server, servers
from harness.servers.fake import Fake, home_of, serve

BIND = REVIVE.replace("gone=revive", "gone=revive bind=$http_authorization")
CREDENTIAL = REVIVE.replace("gone=revive", "gone=revive credential=X-Tenant")
COOKIE = [("Cookie", "session=alice")]
KEY = [("X-Api-Key", "alice")]
TENANT = [("X-Tenant", "alice")]

MALLORY = {
    "another token": (REVIVE, ALICE, [("Authorization", "Bearer mallory")]),
    "no token": (REVIVE, ALICE, []),
    "a cookie more": (REVIVE, ALICE, [*ALICE, *COOKIE]),
    "another cookie": (REVIVE, COOKIE, [("Cookie", "session=mallory")]),
    "another key": (REVIVE, KEY, [("X-Api-Key", "mallory")]),
    "another tenant": (CREDENTIAL, TENANT, [("X-Tenant", "mallory")]),
    "bind": (BIND, ALICE, [("Authorization", "Bearer mallory")]),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[list[Server]]:
    with servers("python-1") as made:
        yield made


@pytest.mark.parametrize("case", MALLORY)
async def test_a_server_that_restarts_in_place(nginx, shared, case):
    directives, alice, mallory = MALLORY[case]
    port = start(nginx, shared, directives)
    session = await Session(port, alice).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in shared if server.name == home))
    for response in [
        await session.post("ping", headers=mallory),
        await session.call("count", headers=mallory),
        await session.delete(headers=mallory),
        await session.send(None, method="GET", headers=mallory),
    ]:
        assert response.status == 404
    assert revived(nginx) == 0
    assert (await session.count())["count"] == 1
    assert revived(nginx) == 1


@pytest.mark.parametrize("case", ["another token", "bind"])
async def test_a_server_that_is_gone(nginx, shared, case):
    directives, alice, mallory = MALLORY[case]
    port = start(nginx, shared, directives)
    session = await Session(port, alice).open()
    home = (await session.count())["replica"]
    server = next(server for server in shared if server.name == home)
    server.kill()
    try:
        response = await session.post("ping", headers=mallory)
        # Its server is unreachable, later gone; with `bind` the id is unknown, and no server is tried.
        assert response.status in (404, 502, 503)
        if case != "bind":
            await until(lambda: lines(nginx, "is gone"))
        for response in [await session.post("ping", headers=mallory), await session.delete(headers=mallory)]:
            assert response.status == 404
        assert revived(nginx) == 0
        assert (await session.count())["count"] == 1
        assert revived(nginx) == 1
    finally:
        server.start()
        server.wait()


# Two more ways to the same upstream: another location, and the same one of another server {}.
OTHER_LOCATION = "location /other/ { proxy_pass http://mcp/; }"
OTHER_SERVER = FRONT.replace("$http_host", "localhost:1")


@pytest.mark.parametrize("way", ["location", "server"])
@pytest.mark.parametrize("loss", ["in place", "gone"])
async def test_another_way_to_the_server(nginx, way, loss):
    """It may have other rules for access: alice's own credentials start nothing there, and end nothing."""
    port, other_port, *ports = free_ports(4)
    two = tuple(Fake(port) for port in ports)
    serving = await serve(*two)
    nginx.allowed = DYING
    http = upstream("mcp", two, REVIVE) + listen(port, "mcp", OTHER_SERVER + OTHER_LOCATION)
    nginx.start(http + listen(other_port, "mcp", OTHER_SERVER + " server_name other;"))
    session = await Session(port, ALICE).open()
    home, other = home_of(session, two)
    # The other way leads to the session's server.
    elsewhere = Session(port, ALICE, "/other/mcp") if way == "location" else Session(other_port, ALICE)
    elsewhere.id = session.id
    assert (await elsewhere.post("x")).status == 200
    assert home.seen[-1] == ("x", session.id.decode())
    if loss == "in place":
        home.sessions.clear()
    else:
        serving[two.index(home)].close()
        # Whoever comes first, the server has to be gone.
        assert (await elsewhere.post("x")).status in (502, 503)
        await until(lambda: lines(nginx, "is gone"))
    pings = home.pings()
    for response in [
        await elsewhere.post("x"),
        await elsewhere.send(None, method="GET"),
        await elsewhere.delete(),
    ]:
        assert response.status == 404
    assert revived(nginx) == 0 and home.pings() == pings and other.pings() == 0
    assert (await session.post("x")).status == 200
    assert session.answers[-1].sticky == "REVIVED" and revived(nginx) == 1
    # The revived session is at the same server for both.
    assert (await elsewhere.post("x")).status == 200
    for server in serving:
        server.close()


async def test_after_a_revival_a_stranger_ends_nothing(nginx, shared):
    port = start(nginx, shared)
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in shared if server.name == home))
    assert (await session.count())["count"] == 1
    # The session moves once more, and alice's id stays.
    home = (await session.count())["replica"]
    await restart(next(server for server in shared if server.name == home))
    assert (await session.post("ping", headers=[])).status == 404

    async def goes_on() -> bool:
        return (await session.call("count")).status == 200

    # A revival rests for a while after another.
    await until(goes_on)
    assert revived(nginx) == 2
