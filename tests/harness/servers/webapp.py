"""A web application as Tomcat and PHP run them: sessions in memory, and a new cookie for an id that it does not know.

    /                 the name of the server, and in X-Known whether it knows a session of the request
    /slow             the same, after 0.3 s
    /new              begins a session, whatever the request carries
    /regenerate       begins one, and another one in the same answer
    /accel?/URI       the same as /, with X-Accel-Redirect: /URI

Without a cookie:

    /plain            as /
    /status/CODE      with that status (302 leads to /login)
    /fail             500 at the servers that are told to
    /websocket        an upgrade: 101

The server is by hand: it answers what no framework would, and resets connections.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11

from harness.patience import PATIENCE
from harness.ports import free_ports


class App:
    def __init__(self, name: str, *, maintenance: bool = False):
        self.name = name
        self.maintenance = maintenance  # one page for all, and no sessions
        self.fails = False
        self.port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self.sessions: set[str] = set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def stop(self) -> None:
        """Refuses connections from now on; what is open is reset."""
        if self._server:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()

    def begin(self) -> str:
        id = uuid.uuid4().hex
        self.sessions.add(id)
        return id

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            uri = head.split(" ", 2)[1]
            ids = re.findall(r"sid=([^;\s]*)", " ".join(re.findall(r"(?im)^cookie: (.*)$", head)))
            if uri == "/slow":
                await asyncio.sleep(0.3)
            writer.write(self._answer(uri, any(id in self.sessions for id in ids)))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def _answer(self, uri: str, known: bool) -> bytes:
        fields = [f"X-Replica: {self.name}", f"X-Known: {int(known)}", "Connection: close"]
        status = uri.rpartition("/")[2] if uri.startswith("/status/") else "200"
        if uri == "/fail" and self.fails:
            status = "500"
        if status == "302":
            fields.append("Location: /login")
        if uri == "/websocket":
            fields = [*fields[:2], "Connection: Upgrade", "Upgrade: websocket"]
            return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *fields, "", ""]).encode()
        if uri.startswith("/accel?"):
            fields.append("X-Accel-Redirect: " + uri.partition("?")[2])
        sets = not known or uri in ("/new", "/regenerate")
        if sets and not self.maintenance and not uri.startswith(("/plain", "/status/", "/fail")):
            fields.append(f"Set-Cookie: sid={self.begin()}; Path=/; HttpOnly")
            if uri == "/regenerate":
                fields.append(f"Set-Cookie: sid={self.begin()}; Path=/; HttpOnly")
        if status not in ("204", "304"):
            fields.append("Content-Length: 3")
        body = "" if status in ("204", "304") else "ok\n"
        return "\r\n".join([f"HTTP/1.1 {status} Status", *fields, "", body]).encode()


@asynccontextmanager
async def apps(*names: str, maintenance: tuple[str, ...] = ()) -> AsyncIterator[list[App]]:
    made = [App(name, maintenance=name in maintenance) for name in names]
    try:
        for app in made:
            await app.start()
        yield made
    finally:
        for app in made:
            app.stop()


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def replica(self) -> str:
        return self.get("x-replica")

    @property
    def sticky(self) -> str:
        return self.get("x-sticky")

    @property
    def known(self) -> bool:
        return self.get("x-known") == "1"


@dataclass
class Browser:
    """Keeps cookies as browsers do: the last of a name."""

    port: int
    jar: dict[str, str] = field(default_factory=dict)

    async def get(self, uri: str = "/", *headers: str, cookies: bool = True) -> Answer:
        """With the jar's cookies, and keeps those of the answer; or without either."""
        sent = [("Host", "localhost"), *(line.split(": ", 1) for line in headers)]
        if not any(name == "Upgrade" for name, _ in sent):
            sent.append(("Connection", "close"))
        if cookies and self.jar:
            sent.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items())))
        http = h11.Connection(h11.CLIENT)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(http.send(h11.Request(method="GET", target=uri, headers=sent)))
                writer.write(http.send(h11.EndOfMessage()))
                answer = None
                while not isinstance(event := http.next_event(), h11.EndOfMessage) and event is not h11.PAUSED:
                    match event:
                        case h11.Response() | h11.InformationalResponse():
                            received = [(name.decode(), value.decode()) for name, value in event.headers]
                            answer = Answer(event.status_code, received)
                        case h11.NEED_DATA:
                            http.receive_data(await reader.read(65536))
            finally:
                writer.close()
        for name, value in answer.headers:
            if cookies and name == "set-cookie":
                key, _, text = value.partition(";")[0].partition("=")
                self.jar[key] = text
        return answer
