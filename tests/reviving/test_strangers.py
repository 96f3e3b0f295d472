"""Mallory has the id of alice's session: he revives nothing, ends nothing, and alice goes on."""

from collections.abc import Iterator

import pytest

from harness.clients.mcp import Session
from harness.patience import until
from harness.reviving import ALICE, DYING, REVIVE, lines, restart, revived, start
from harness.sdk import Server, servers

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


async def test_another_location(nginx, shared):
    """It may have other rules for access."""
    port = start(nginx, shared, more="location = /mcp { proxy_pass http://mcp; }")
    # `location /`, and the exact one.
    session = await Session(port, ALICE).open()
    home = (await session.count())["replica"]
    await restart(next(server for server in shared if server.name == home))
    session.path = "/mcp/"
    response = await session.post("ping")
    assert response.status in (307, 404)
    session.path = "/mcp?by=another"
    assert revived(nginx) == 0
    session.path = "/mcp"
    assert (await session.count())["count"] == 1
    assert nginx.allowed == DYING


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
