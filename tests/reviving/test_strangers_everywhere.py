"""Mallory has the id of alice's session, as in test_strangers.py. Whatever tells them apart, whatever state the server is
in, and whatever he asks for: he starts, revives and ends nothing, and alice goes on by her next request."""

import asyncio
import json
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clients.http import Headers, Response, send
from harness.clients.mcp import Session
from harness.conf import upstream
from harness.nginx import Nginx
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, DYING, REVIVE, lines, revived, start
from harness.sdk import FRONT
from harness.servers.bytes import Bytes, plain
from harness.tls import Authority

BIND = REVIVE.replace("gone=revive", "gone=revive bind=$http_authorization")
TENANT = REVIVE.replace("gone=revive", "gone=revive credential=X-Tenant")


@dataclass(frozen=True)
class Case:
    directives: str
    alice: Headers
    mallory: Headers
    tls: tuple[str, str] | None = None  # the certificates of both


CASES = {
    "another token": Case(REVIVE, ALICE, [("Authorization", "Bearer mallory")]),
    "another key": Case(REVIVE, [("X-Api-Key", "alice")], [("X-Api-Key", "mallory")]),
    "another cookie": Case(REVIVE, [("Cookie", "s=alice")], [("Cookie", "s=mallory")]),
    "another proxy authorization": Case(REVIVE, [("Proxy-Authorization", "a")], [("Proxy-Authorization", "b")]),
    "none": Case(REVIVE, ALICE, []),
    "of a named header": Case(TENANT, [("X-Tenant", "alice")], [("X-Tenant", "mallory")]),
    "bind": Case(BIND, ALICE, [("Authorization", "Bearer mallory")]),
    "another certificate": Case(REVIVE, [], [], ("alice", "mallory")),
    "no certificate": Case(REVIVE, [], [], ("alice", "")),
    "another certificate, named header": Case(TENANT, [("X-Tenant", "a")], [("X-Tenant", "a")], ("alice", "mallory")),
}


@dataclass
class Person(Session):
    tls: ssl.SSLContext | None = None

    async def send(self, body: object, *, method: str = "POST", headers: Headers | None = None) -> Response:
        if not self.tls:
            return await super().send(body, method=method, headers=headers)
        own = [("Content-Type", "application/json"), ("MCP-Protocol-Version", "2025-06-18"), *self.headers]
        text = json.dumps(body).encode() if body is not None else b""
        return await send(self.port, self.id, method=method, path=self.path, headers=own, body=text, tls=self.tls)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "authority")
    for name in ("server", "alice", "mallory"):
        authority.issue(name, "localhost")
    return folder


def context(certificates: Path, name: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=certificates / "authority.pem")
    if name:
        made.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return made


def start_tls(nginx: Nginx, two, directives: str, certificates: Path) -> int:
    (port,) = free_ports(1)
    nginx.allowed = DYING
    nginx.start(
        upstream("mcp", two, directives)
        + f"""server {{
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {certificates}/server.pem;
            ssl_certificate_key {certificates}/server.key;
            ssl_client_certificate {certificates}/authority.pem;
            ssl_verify_client optional;
            {FRONT.replace("$http_host", "localhost:1")}
            location / {{ proxy_pass http://mcp; }}
        }}"""
    )
    return port


async def everything(mallory: Person) -> list[Response]:
    return [
        await mallory.post("tools/list"),
        await mallory.notify("notifications/cancelled"),
        await mallory.send(None, method="GET"),
        await mallory.delete(),
    ]


class Scene:
    def __init__(self, nginx: Nginx, case: Case, certificates: Path) -> None:
        self.nginx = nginx
        self.case = case
        self.two = [Bytes(port) for port in free_ports(2)]
        self.tls = [context(certificates, name) for name in case.tls] if case.tls else [None, None]
        more = (certificates,) if case.tls else ()
        self.port = (start_tls if case.tls else start)(nginx, self.two, case.directives, *more)

    async def __aenter__(self) -> "Scene":
        self.serving = {server: await server.serve() for server in self.two}
        self.alice = await Person(self.port, self.case.alice, tls=self.tls[0]).open()
        self.mallory = Person(self.port, self.case.mallory, id=self.alice.id, tls=self.tls[1])
        (self.home,) = (server for server in self.two if self.alice.id.decode() in server.sessions)
        return self

    async def __aexit__(self, *_) -> None:
        for server in self.serving.values():
            server.close()

    async def stop_home(self) -> None:
        self.serving[self.home].close()
        await self.serving[self.home].wait_closed()
        self.home.sessions.clear()

    def sent(self) -> int:
        """What nginx has sent of its own, and the one initialize of alice."""
        return sum(server.count("ping") + server.count("initialize") for server in self.two)

    async def alice_goes_on(self, status: str) -> None:
        response = await self.alice.post("tools/list")
        assert (response.status, response.sticky) == (200, status)


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]


async def test_a_server_that_is_up(nginx, certificates, case):
    async with Scene(nginx, case, certificates) as scene:
        # The server knows that the session is not his.
        scene.home.say = lambda got: [plain(404, "not yours")]
        answers = await everything(scene.mallory)
        scene.home.say = lambda got: None
        assert {answer.status for answer in answers} == {404}
        assert scene.sent() == 1
        await scene.alice_goes_on("HIT")
        assert revived(nginx) == 0


async def test_a_server_that_has_restarted(nginx, certificates, case):
    async with Scene(nginx, case, certificates) as scene:
        scene.home.sessions.clear()
        answers = await everything(scene.mallory)
        assert {answer.status for answer in answers} == {404}
        assert scene.sent() == 1 and revived(nginx) == 0
        await scene.alice_goes_on("REVIVED")
        assert revived(nginx) == 1


async def test_a_server_that_is_gone(nginx, certificates, case):
    async with Scene(nginx, case, certificates) as scene:
        other = await Person(scene.port, case.alice, tls=scene.tls[0]).open()
        while other.id.decode() not in scene.home.sessions:
            other = await Person(scene.port, case.alice, tls=scene.tls[0]).open()
        await scene.stop_home()
        # Another session of alice finds out that the server is gone.
        assert (await other.post("tools/list")).sticky == "REVIVED"
        before = scene.sent()
        answers = await everything(scene.mallory)
        assert {answer.status for answer in answers} == {404}
        assert scene.sent() == before and revived(nginx) == 1
        await scene.alice_goes_on("REVIVED")


async def test_a_server_that_is_unreachable(nginx, certificates, case):
    case = Case(case.directives.replace("gone_after=1s", "gone_after=60s"), case.alice, case.mallory, case.tls)
    async with Scene(nginx, case, certificates) as scene:
        await scene.stop_home()
        waiting = asyncio.create_task(scene.alice.post("tools/list"))
        await until(lambda: lines(nginx, "is unreachable"))
        # He does not wait as alice does.
        answers = await everything(scene.mallory)
        assert {answer.status for answer in answers} <= {404, 502, 503}
        assert not waiting.done()
        assert scene.sent() == 1 and revived(nginx) == 0
        scene.serving[scene.home] = await scene.home.serve()
        response = await waiting
        assert (response.status, response.sticky) == (200, "REVIVED")
        await scene.alice_goes_on("HIT")


async def test_another_location(nginx):
    two = [Bytes(port) for port in free_ports(2)]
    port = start(nginx, two, more="location /other { proxy_pass http://mcp; }")
    serving = [await server.serve() for server in two]
    session = await Session(port, ALICE).open()
    (home,) = (server for server in two if session.id.decode() in server.sessions)
    home.sessions.clear()
    session.path = "/other"
    for response in [await session.post("x"), await session.send(None, method="GET"), await session.delete()]:
        assert (response.status, response.sticky) == (404, "HIT")
    assert home.count("ping") == 0 and revived(nginx) == 0
    session.path = "/mcp"
    assert (await session.post("x")).sticky == "REVIVED"
    [server.close() for server in serving]
