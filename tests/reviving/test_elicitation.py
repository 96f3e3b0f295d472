"""Questions of a server to the client's user (elicitation), when the server dies while one is open. The server is that of the
SDK for Python, which numbers its questions from zero in each session."""

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from harness.clients.mcp import VERSION, Session
from harness.patience import PATIENCE
from harness.reviving import ALICE, restart, revived, start
from harness.sdk import Server, servers

ANSWER = {"action": "accept", "content": {"colour": "red"}}


@pytest.fixture(scope="module")
def shared() -> Iterator[list[Server]]:
    with servers("python-1") as made:
        yield made


class Call:
    """A call whose tool asks a question, on a connection of its own."""

    async def open(self, session: Session) -> "Call":
        session.number += 1
        self.id = session.number
        params = {"name": "choose", "arguments": {}}
        body = json.dumps({"jsonrpc": "2.0", "id": self.id, "method": "tools/call", "params": params}).encode()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", session.port)
        lines = [
            "POST /mcp HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Authorization: Bearer alice",
            f"Mcp-Session-Id: {session.id.decode()}",
            f"MCP-Protocol-Version: {VERSION}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return self

    async def message(self) -> dict:
        """The next one of its stream that is a request or the response."""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self.reader.readline()
                assert line, "the stream has ended"
                found = re.match(rb"data: ({.*})", line)
                message = json.loads(found[1]) if found else {}
                if "id" in message:
                    return message

    async def question(self) -> int | str:
        message = await self.message()
        assert message["method"] == "elicitation/create", message
        return message["id"]

    def close(self) -> None:
        self.writer.close()


async def answer(session: Session, id: int | str) -> int:
    return (await session.send({"jsonrpc": "2.0", "id": id, "result": ANSWER})).status


async def test_a_server_that_dies_while_its_question_is_open(nginx, shared):
    port = start(nginx, shared)
    session = await Session(port, ALICE, capabilities={"elicitation": {}}).open()
    home = next(server for server in shared if server.name == session.home)
    lost = await Call().open(session)
    old = await lost.question()
    await restart(home)
    # The question died with the server: its answer goes nowhere, and revives nothing.
    assert await answer(session, old) == 202
    assert revived(nginx) == 0
    # Nor after a revival, while the new session has asked nothing.
    assert (await session.post("ping")).status == 200
    assert revived(nginx) == 1
    assert await answer(session, old) == 202
    # The first question of the new session is open as long as nobody answers it, and its answer arrives.
    call = await Call().open(session)
    new = await call.question()
    # The server has numbered both alike. The old answer leaves the new question open.
    assert (old, new) == (0, "nginx-1-n0")
    assert await answer(session, old) == 202
    assert await answer(session, new) == 202
    result = await call.message()
    assert result["id"] == call.id and result["result"]["content"][0]["text"] == "red"
    assert revived(nginx) == 1
    lost.close()
    call.close()
