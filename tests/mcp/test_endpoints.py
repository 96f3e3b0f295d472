"""Each form of an `endpoint` event: the requests of a stream reach the server that announced it."""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import pytest

from harness.clients.http import send, stream
from harness.conf import STREAMING, listen, upstream
from harness.ports import free_ports

POSTS = 30  # to the target of each stream
SERVERS = 3
STICKY = "sticky_learn zone=sessions:1m;"
OWN, BALANCED = "own", "balanced"

# The data of an endpoint event; {id} is an id as servers make them. A client sends its messages to the third column, or
# to where the data lead from /api/sse.
FORMS = [
    # name                     data                                                    sent to     and then
    ("typescript sdk",         "/messages?sessionId={uuid}",                           None,       OWN),
    ("python sdk",             "/messages/?session_id={hex}",                          None,       OWN),
    ("go sdk",                 "?sessionid={text}",                                    None,       OWN),
    ("relative",               "messages?sessionId={uuid}",                            None,       OWN),
    ("query only",             "?sessionId={uuid}",                                    None,       OWN),
    ("more parameters",        "/messages?a=b&sessionId={uuid}&c=d",                   None,       OWN),
    ("absolute",               "http://{host}/messages?sessionId={uuid}",              None,       OWN),
    ("network path",           "//{host}/messages?sessionId={uuid}",                   None,       OWN),
    ("fragment",               "/messages?sessionId={uuid}#x",                         None,       OWN),
    ("trailing blank",         "/messages?sessionId={uuid}  ",                         None,       OWN),
    ("short id",               "/messages?sessionId={short}",                          None,       OWN),
    ("encoded id",             "/messages?sessionId=%7B{hex}%7D",                      None,       OWN),
    ("encoded otherwise",      "/messages?sessionId=%61{hex}",                         "/messages?sessionId=a{hex}", OWN),
    ("SessionId",              "/messages?SessionId={uuid}",                           None,       OWN),
    ("SESSION_ID",             "/messages?SESSION_ID={uuid}",                          None,       OWN),
    ("clientId",               "/messages?clientId={uuid}",                            None,       OWN),
    ("client_id",              "/messages?client_id={hex}",                            None,       OWN),
    ("session",                "/messages?session={short}",                            None,       OWN),
    ("sid",                    "/messages?sid={hex}",                                  None,       OWN),
    ("matrix parameter",       "/messages;sessionId={uuid}",                           None,       OWN),
    ("id in the path",         "/messages/{uuid}",                                     None,       OWN),
    ("short id in the path",   "/messages/{short}",                                    None,       OWN),
    ("id amid the path",       "/sessions/{hex}/messages",                             None,       OWN),
    ("two ids",                "/messages?sessionId={uuid}&session_id={hex}",          None,       OWN),
    ("key before the id",      "/messages?session_id=key&sessionId={uuid}",            None,       OWN),
    ("id and clientId",        "/messages?sessionId={uuid}&clientId={hex}",            None,       OWN),
    ("encoded path",           "/messages/%7B{hex}%7D?x=%20",                          None,       OWN),
    ("absolute, no name",      "https://{host}:8443/messages/{hex}",                   None,       OWN),
    ("./messages",             "./messages/{hex}",                                     None,       OWN),
    ("../messages",            "../messages/{hex}",                                    None,       OWN),
    ("rewritten prefix",       "/messages?x=1&sessionId={uuid}",                       "/other/messages?x=1&sessionId={uuid}", OWN),
    ("quoted",                 '"/messages?sessionId={uuid}"',                         "/messages?sessionId={uuid}", OWN),
    ("json",                   '{{"url":"/messages?sessionId={uuid}"}}',               "/messages?sessionId={uuid}", OWN),
    ("json, no name",          '{{"url":"/messages/{hex}"}}',                          "/messages/{hex}", BALANCED),
    ("/messages",              "/messages",                                            None,       BALANCED),
    ("/mcp",                   "/mcp",                                                 None,       BALANCED),
    ("/mcp/notifications",     "/mcp/notifications",                                   None,       BALANCED),
    ("the key of the stream",  "/messages?key=a1b2c3d4e5",                             None,       BALANCED),
    ("looks like an id",       "/v2beta1/messages",                                    None,       BALANCED),
    ("no data",                "",                                                     None,       BALANCED),
]  # fmt: skip


def ids() -> dict[str, str]:
    raw = secrets.token_hex(16)
    return {
        "hex": raw,
        "uuid": "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:])),
        "text": "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(26)),
        "short": raw[:5] + "1",
        "host": "backend.internal",
    }


@dataclass
class Announcer:
    """A server that answers a GET with an endpoint event, and everything else with its name."""

    name: str
    data: str = ""
    ids: dict[str, str] = field(default_factory=ids)
    port: int = field(default_factory=lambda: free_ports(1)[0])
    headers: str = ""
    status: int = 200  # of the answers to POSTs
    posts: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path = head.split(b" ", 2)[:2]
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                status = 200 if method == b"GET" else self.status
                writer.write(f"HTTP/1.1 {status} Status\r\nX-Replica: {self.name}\r\n".encode())
                if method == b"GET":
                    event = f"event: endpoint\ndata: {self.data.format(**self.ids)}\n\n".encode()
                    writer.write(b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                    writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                else:
                    self.posts.append(path.decode())
                    writer.write(f"{self.headers}Content-Length: 2\r\n\r\n{{}}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def announcers(data: str = "", headers: str = "") -> AsyncIterator[list[Announcer]]:
    made = [Announcer(f"server-{number}", data, headers=headers) for number in range(SERVERS)]
    async with AsyncExitStack() as stack:
        for announcer in made:
            await stack.enter_async_context(await asyncio.start_server(announcer.serve, "127.0.0.1", announcer.port))
        yield made


def leads_to(announcer: Announcer, sent_to: str | None, url: str) -> str:
    """Path and query of the requests."""
    if sent_to:
        return sent_to.format(**announcer.ids)
    target = urlsplit(urljoin(url, announcer.data.format(**announcer.ids).strip()))
    return target.path + (f"?{target.query}" if target.query else "")


@pytest.mark.parametrize(("name", "data", "sent_to", "then"), FORMS, ids=[form[0] for form in FORMS])
async def test_a_form(nginx, report, name, data, sent_to, then):
    (port,) = free_ports(1)
    path = "/api/sse?key=a1b2c3d4e5"
    async with announcers(data) as three:
        nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp"))
        own: Counter[bool] = Counter()
        streams = [await stream(port, path=path) for _ in range(SERVERS)]
        for opened in streams:
            announcer = next(one for one in three if one.name == opened.response.replica)
            target = leads_to(announcer, sent_to, f"http://127.0.0.1:{port}{path}")
            version = ("MCP-Protocol-Version", "2025-06-18")
            answers = await asyncio.gather(*(send(port, path=target, headers=[version]) for _ in range(POSTS)))
            assert {answer.status for answer in answers} == {200}
            own.update(answer.replica == announcer.name for answer in answers)
        assert {opened.response.replica for opened in streams} == {one.name for one in three}
        # The first request of a Streamable HTTP session is balanced, whatever was announced.
        begun = Counter([(await send(port, path="/mcp")).replica for _ in range(3 * SERVERS)])
        for opened in streams:
            opened.close()
    report(f"{own[True]} of {own.total()} to their own server")
    assert len(begun) == SERVERS
    if then == OWN:
        assert own == {True: SERVERS * POSTS}
    else:
        assert own[False] > 0 and own[True] > 0


PREFIX = f"""
    {STREAMING}
    location /api/ {{ proxy_pass http://mcp/; }}
"""


@pytest.mark.parametrize("data", ["messages/{hex}", "/api/messages/{hex}", "messages?sessionId={uuid}"])
async def test_a_prefix_that_proxy_pass_replaces(nginx, data):
    (port,) = free_ports(1)
    async with announcers(data) as three:
        nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp", PREFIX))
        for _ in range(SERVERS):
            opened = await stream(port, path="/api/sse")
            announcer = next(one for one in three if one.name == opened.response.replica)
            target = leads_to(announcer, None, f"http://127.0.0.1:{port}/api/sse")
            assert target.startswith("/api/")
            answers = [await send(port, path=target) for _ in range(POSTS)]
            assert {answer.replica for answer in answers} == {announcer.name}
            assert announcer.posts[-1] == target.removeprefix("/api")
            opened.close()


async def test_a_key_in_the_url_is_no_session(nginx):
    (port,) = free_ports(1)
    async with announcers(headers="Mcp-Session-Id: s-1\r\n") as three:
        nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp"))
        first = await send(port, path="/mcp?session_id=x")
        assert (first.status, first.id, first.sticky) == (200, b"s-1", "NEW")
        for _ in range(POSTS):
            again = await send(port, first.id, path="/mcp?session_id=x")
            assert (again.status, again.replica, again.sticky) == (200, first.replica, "HIT")


@pytest.mark.parametrize("data", ["/messages?sessionId={uuid}", "/messages?sessionId=mine&clientId={uuid}"])
async def test_an_endpoint_is_read_also_where_the_stream_has_an_id(nginx, data):
    (port,) = free_ports(1)
    async with announcers(data) as three:
        nginx.start(upstream("mcp", three, STICKY) + listen(port, "mcp"))
        streams = [await stream(port, path="/sse?sessionId=mine") for _ in range(SERVERS)]
        for opened in streams:
            announcer = next(one for one in three if one.name == opened.response.replica)
            target = leads_to(announcer, None, f"http://127.0.0.1:{port}/sse")
            answers = [await send(port, path=target) for _ in range(POSTS)]
            assert {(answer.status, answer.replica) for answer in answers} == {(200, announcer.name)}
            opened.close()
        assert {opened.response.replica for opened in streams} == {one.name for one in three}


@pytest.mark.parametrize("data", ["/messages?sessionId={uuid}", "/messages/{hex}"])
async def test_a_404_while_the_stream_is_open_ends_nothing(nginx, data):
    (port,) = free_ports(1)
    async with announcers(data) as servers:
        nginx.start(upstream("mcp", servers, STICKY) + listen(port, "mcp"))
        opened = [await stream(port, path="/sse") for _ in servers]
        owner = next(server for server in servers if server.name == opened[0].response.replica)
        target = data.format(**owner.ids)
        owner.status = 404
        refused = await send(port, path=target)
        owner.status = 200
        after = [await send(port, path=target) for _ in range(POSTS)]
        for one in opened:
            one.close()
    assert (refused.status, refused.replica) == (404, owner.name)
    assert {(answer.status, answer.replica) for answer in after} == {(200, owner.name)}
