"""A server of MCP by hand: what it says to each method is a function, and its sessions can be taken away."""

import asyncio
import json
import re
from collections.abc import Callable

from harness.clients.mcp import Session

VERSION = "2025-06-18"
Reply = tuple[int, dict | None, dict[str, str]]


class Fake:
    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.name = str(port)
        self.sessions: set[str] = set()
        self.seen: list[tuple[str, str]] = []  # method, session
        self.targets: list[tuple[str, str]] = []  # method, target
        self.head = ""  # of the last request
        self.version = VERSION
        self.capabilities: dict = {"tools": {"listChanged": True}}
        self.say: Callable[[str, dict, str], Reply | None] = lambda *_: None
        self.prefix = f"s{port}-"
        self.streams = False  # an initialize is answered by events, the first of which is empty
        self.waits: dict[str, asyncio.Event] = {}  # the answer to a method waits for it

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = re.search(r"(?i)^content-length: (\d+)", head, re.M)
                body = await reader.readexactly(int(size[1])) if size else b""
                session = re.search(r"(?i)^mcp-session-id: (.*)\r", head, re.M)
                message = json.loads(body) if body else {"method": head.split(" ")[0]}
                self.head = head
                if isinstance(message, dict):
                    self.targets.append((message.get("method", "answer"), head.split(" ")[1]))
                status, answer, headers = self.answer(message, session[1] if session else "")
                if (event := self.waits.get(message.get("method", ""))) is not None:
                    await event.wait()
                text = json.dumps(answer).encode() if answer is not None else b""
                kind = "application/json"
                if self.streams and message.get("method") == "initialize":
                    kind = "text/event-stream"
                    text = b"id: 0\nretry: 50\ndata: \n\nevent: message\nid: 1\ndata: " + text + b"\n\n"
                lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", f"Content-Type: {kind}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + text)
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            pass
        finally:
            writer.close()

    def answer(self, message: dict, session: str) -> Reply:
        method = message.get("method", "answer")
        self.seen.append((method, session))
        said = self.say(method, message, session)
        if said is not None:
            return said
        id = message.get("id")
        if method == "initialize":
            session = f"{self.prefix}{len(self.seen)}"
            self.sessions.add(session)
            result = {"protocolVersion": self.version, "capabilities": self.capabilities, "serverInfo": {}}
            return 200, {"jsonrpc": "2.0", "id": id, "result": result}, {"Mcp-Session-Id": session}
        if session not in self.sessions:
            return self.lost(id)
        if method == "DELETE":
            self.sessions.discard(session)
            return 200, None, {}
        if id is None:
            return 202, None, {}
        return 200, {"jsonrpc": "2.0", "id": id, "result": {"server": self.port}}, {"Mcp-Session-Id": session}

    def lost(self, id) -> Reply:
        return 404, {"jsonrpc": "2.0", "id": id, "error": {"code": -32001, "message": "Session not found"}}, {}

    def pings(self) -> int:
        return sum(method == "ping" for method, _ in self.seen)


def error(status: int, code: int) -> Callable[[dict], Reply]:
    return lambda message: (status, {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": code, "message": "x"}}, {})


async def serve(*fakes: Fake) -> list[asyncio.Server]:
    return [await asyncio.start_server(fake.handle, "127.0.0.1", fake.port) for fake in fakes]


def home_of(session: Session, fakes: tuple[Fake, ...]) -> tuple[Fake, Fake]:
    """The session's server, and the other one."""
    return tuple(sorted(fakes, key=lambda fake: session.id.decode() not in fake.sessions))
