"""Revivals over several workers, one of which dies, and clients of the SDKs that go on over restarts."""

import asyncio
import re

from harness.clients.mcp import Session
from harness.nginx import KILLED
from harness.patience import until
from harness.ports import free_ports
from harness.reviving import ALICE, DYING, lines, revived, start
from harness.sdk import Steady, servers

INITIALIZE = b'"method":"initialize"'


async def test_a_worker_that_is_killed_in_mid_revival(nginx):
    """Its claim ends, and a request of another worker revives the session."""
    (port_of_server,) = free_ports(1)
    lost, opened, stuck = False, [], asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                body = await reader.readexactly(int(re.search(r"(?i)content-length: (\d+)", head)[1]))
                if INITIALIZE in body.replace(b" ", b""):
                    opened.append(f"id-{len(opened)}")
                    if len(opened) == 2:
                        # The worker that has sent it is killed now.
                        stuck.set_result(writer.get_extra_info("peername")[1])
                        await reader.read()
                        return
                    text = b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{}}}'
                    status = f"200 OK\r\nMcp-Session-Id: {opened[-1]}"
                elif lost and "id-2" not in head:
                    text, status = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"x"}}', "404 No"
                else:
                    id = re.search(rb'"id":\s*(\d+)', body)
                    text = b'{"jsonrpc":"2.0","id":%s,"result":{}}' % id[1] if id else b"{}"
                    status = "200 OK" if id else "202 Accepted"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            pass
        finally:
            writer.close()

    class Here:
        name, port, address = "here", port_of_server, f"127.0.0.1:{port_of_server}"

    async with await asyncio.start_server(handle, "127.0.0.1", port_of_server):
        port = start(nginx, [Here], workers=3)
        nginx.allowed = [*DYING, KILLED]
        session = await Session(port, ALICE).open()
        lost = True
        first = asyncio.create_task(session.post("x"))
        stuck_port = await stuck
        others = [asyncio.create_task(session.post("y")) for _ in range(5)]
        # The worker whose connection has the unanswered initialize.
        for pid in nginx.workers:
            if await holds(pid, stuck_port):
                await asyncio.to_thread(nginx.kill_worker, pid)
                break
        results = await asyncio.gather(first, *others, return_exceptions=True)
        answered = [result.status for result in results if not isinstance(result, Exception)]
        assert set(answered) <= {200}
        # Those of the killed worker have lost their connection; this one waits for the end of its claim, if it has to.
        assert (await session.post("z")).status == 200
    assert revived(nginx) == 1 and len(opened) == 3


async def holds(pid: int, port: int) -> bool:
    """Whether a process has the connection from a port of this machine."""
    process = await asyncio.create_subprocess_exec(
        "ls", "-l", f"/proc/{pid}/fd", stdout=asyncio.subprocess.PIPE
    )
    files = (await process.communicate())[0].decode()
    sockets = set(re.findall(r"socket:\[(\d+)\]", files))
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" and row[9] in sockets for row in rows)


async def test_clients_of_an_sdk_go_on_over_restarts(nginx, report):
    """Alone, none of them does: tests/mcp/test_everything.py."""
    clients = 20
    with servers("everything") as three:
        port = start(nginx, three)
        async with Steady(port, clients, 0.1, "get-env") as steady:
            await until(lambda: all((last := steady.last(client)) and last.status == 200 for client in steady.clients))
            for server in three:
                since = steady.now
                server.kill()
                server.start()
                await asyncio.to_thread(server.wait)
                await until(lambda: all(any(a.client == c and a.status == 200 for a in steady.since(since)) for c in steady.clients))
        failed = [answer for answer in steady.answers if answer.status != 200]
    report(f"{len(steady.answers)} calls, {len(failed)} failed over 3 restarts, {revived(nginx)} sessions revived")
    # Nobody had to begin anew.
    assert {answer.session for answer in steady.answers} == {1}
    # What fails had been sent to a server that was killed.
    assert {answer.status for answer in failed} <= {502}
    assert len(failed) == lines(nginx, r"\[error\].*while reading response header from upstream.*POST")
