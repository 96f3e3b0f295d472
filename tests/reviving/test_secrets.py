"""Nothing of a session stands in clear in the memory of its zone, or in its file."""

import asyncio

import pytest

from harness.clients.mcp import INITIALIZE, Session
from harness.conf import listen, upstream
from harness.memory import shared_memory
from harness.ports import free_ports
from harness.reviving import DYING, REVIVE
from harness.sdk import FRONT
from harness.servers.fake import Fake, home_of, serve

NAME = "a-client-of-this-test"
TOKEN = "a-token-of-this-test"
PATH = "/mcp/a-path-of-this-test"


@pytest.mark.parametrize("more", ["", "file=store/sessions"], ids=["memory", "file"])
async def test_no_id_and_no_body_in_clear(nginx, monkeypatch, more):
    monkeypatch.setitem(INITIALIZE, "clientInfo", {"name": NAME, "version": "1"})
    port, *ports = free_ports(3)
    two = tuple(Fake(port) for port in ports)
    serving = await serve(*two)
    nginx.allowed = DYING
    front = FRONT.replace("$http_host", "localhost:1")
    nginx.start(upstream("mcp", two, REVIVE.replace(";", f" {more};")) + listen(port, "mcp", front))
    opened = []
    for number in range(20):
        session = Session(port, [("Authorization", f"Bearer {TOKEN}")], path=f"{PATH}{number}")
        await session.open()
        opened.append(session)
    for session in opened[:10]:
        home_of(session, two)[0].sessions.discard(session.id.decode())
        assert (await session.post("x")).status == 200
        assert session.answers[-1].sticky == "REVIVED"
    ids = {session.id for session in opened} | {id.encode() for fake in two for id in fake.sessions}
    assert len(ids) == 30
    await nothing_in_clear(nginx, two, ids, more)
    if more:
        await asyncio.to_thread(nginx.kill_all)
        searched([(nginx.home / "store/sessions").read_bytes()], two, ids)
    [server.close() for server in serving]


async def nothing_in_clear(nginx, two, ids: set[bytes], more: str) -> None:
    regions = shared_memory(nginx.workers[0])
    if more:
        regions.append((nginx.home / "store/sessions").read_bytes())
    searched(regions, two, ids)


def searched(regions: list[bytes], two, ids: set[bytes]) -> None:
    # The addresses of servers are there: the search looks at the right memory, and the records are in it.
    assert any(two[0].address.encode() in region and b"revivals" in region for region in regions)
    words = [NAME.encode(), TOKEN.encode(), PATH.encode(), b"protocolVersion", b"clientInfo", b"jsonrpc", *ids]
    for region in regions:
        for word in words:
            assert word not in region, word
