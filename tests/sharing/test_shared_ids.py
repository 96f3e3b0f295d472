"""Every kind of id that one machine learns is known at another at once: streams of HTTP+SSE, tasks, ids that clients make."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from harness.clients.http import crowd, send, stream
from harness.fleet import hears, start
from harness.patience import until
from harness.ports import free_ports
from harness.servers.store import store

STREAMS, TASKS = 60, 100
STATELESS = ("MCP-Protocol-Version", "2026-07-28")


@dataclass
class Server:
    """Announces the target of a stream, and makes tasks; says to everything else what it is called."""

    name: str
    target: str = "/messages?sessionId={id}"
    port: int = field(default_factory=lambda: free_ports(1)[0])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                writer.write(f"HTTP/1.1 200 OK\r\nX-Replica: {self.name}\r\n".encode())
                if head.startswith(b"GET"):
                    data = self.target.format(id=secrets.token_hex(16))
                    event = f"event: endpoint\ndata: {data}\n\n".encode()
                    writer.write(b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n")
                    writer.write(f"X-Target: {data}\r\n\r\n".encode())
                    writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                else:
                    result = '"resultType":"complete"'
                    task = ""
                    if re.search(rb"(?i)mcp-method: tools/call", head):
                        task = secrets.token_hex(8)
                        result = f'"resultType":"task","taskId":"{task}","status":"working","ttlMs":60000'
                    body = f'{{"jsonrpc":"2.0","id":1,"result":{{{result}}}}}'
                    writer.write(f"Content-Type: application/json\r\nX-Task: {task}\r\n".encode())
                    writer.write(f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def machines(new_nginx, tmp_path, secret, target: str = Server.target, learn: str = "") -> AsyncIterator[tuple]:
    async with AsyncExitStack() as stack:
        servers = [Server(name, target) for name in ("one", "two", "three")]
        for server in servers:
            await stack.enter_async_context(await asyncio.start_server(server.serve, "127.0.0.1", server.port))
        kept = await stack.enter_async_context(store(tmp_path / "store"))
        share = f"secret={secret}"
        both = [await start(new_nginx, servers, kept.url, share=share, learn=learn) for _ in range(2)]
        await until(lambda: hears(kept, 2))
        yield both


@pytest.mark.parametrize("target", ["/messages?sessionId={id}", "/messages/{id}"])
async def test_a_stream_that_is_open_at_one_machine(new_nginx, tmp_path, secret, target):
    async with machines(new_nginx, tmp_path, secret, target) as (a, b):

        async def session(number: int) -> None:
            one, other = (a, b) if number % 2 else (b, a)
            opened = await stream(one.port, path="/sse")
            # The stream goes on.
            answer = await send(other.port, path=opened.response.text("x-target"))
            assert answer.replica == opened.response.replica
            opened.close()

        await crowd(STREAMS, 10, session)


async def test_a_task_that_was_begun_at_one_machine(new_nginx, tmp_path, secret):
    async with machines(new_nginx, tmp_path, secret) as (a, b):

        async def task(number: int) -> None:
            one, other = (a, b) if number % 2 else (b, a)
            begun = await send(one.port, headers=[STATELESS, ("Mcp-Method", "tools/call")])
            about = [STATELESS, ("Mcp-Method", "tasks/get"), ("Mcp-Name", begun.text("x-task"))]
            answer = await send(other.port, headers=about)
            assert (answer.status, answer.replica) == (200, begun.replica)

        await crowd(TASKS, 10, task)


async def test_ids_that_clients_make(new_nginx, tmp_path, secret):
    """Two machines get the same new id at once: both end at one server."""
    learn = "sticky_learn zone=sessions:1m create=$http_x_id lookup=$http_x_id"
    async with machines(new_nginx, tmp_path, secret, learn=learn) as (a, b):

        async def client(number: int) -> None:
            headers = [("X-Id", f"client-{number}")]
            await asyncio.gather(*(send(machine.port, headers=headers) for machine in (a, b)))

            async def agree() -> bool:
                answers = [await send(machine.port, headers=headers) for machine in (a, b)]
                assert {answer.status for answer in answers} == {200}
                return len({answer.replica for answer in answers}) == 1

            await until(agree)
            assert await agree()

        await crowd(50, 10, client)
