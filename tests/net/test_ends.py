"""No open connection keeps a worker from leaving, and none is left open when it leaves."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harness.connect import NO_DEADLINE, SAY, connect
from harness.nginx import BINARY, Nginx, was_built_with
from harness.patience import until
from harness.ports import connecting_to, free_ports
from harness.servers.faults import black_hole
from harness.servers.lines import lines, nothing
from harness.servers.names import names
from harness.tls import Authority

EACH = 5
FOR_EVER = f"{SAY} {NO_DEADLINE}"


@asynccontextmanager
async def open_in_every_stage(nginx: Nginx) -> AsyncIterator[None]:
    """An nginx with one worker, whose connections are resolving, connecting, in a handshake, reading, and waiting."""
    resolving, dark, handshaking, reading, tls_reading, refused = free_ports(6)
    Authority(nginx.home, "ca").issue("server", "server.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(nginx.home / "server.pem", nginx.home / "server.key")
    trusted = f"{FOR_EVER} ssl ssl_name=server.test ssl_trusted_certificate=ca.pem"
    with_ssl = was_built_with(BINARY, "--with-http_ssl_module")
    shaking = 0
    # A worker that is started when the name server is gone.
    nginx.allowed.append(r"\[error\] .* recv\(\) failed .* while resolving")

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal shaking
        await reader.readexactly(1)
        shaking += 1
        await reader.read(-1)
        writer.close()

    with black_hole(("127.0.0.1", dark)):
        async with (
            names([]) as dns,
            lines(("127.0.0.1", reading), nothing) as plain,
            lines(("127.0.0.1", tls_reading), nothing, tls=context) as secret,
        ):
            dns.answers = False
            server = await asyncio.start_server(stall, "127.0.0.1", handshaking)
            tests = [
                connect(f"server.test:{resolving}", FOR_EVER),
                connect(f"127.0.0.1:{dark}", FOR_EVER),
                connect(f"127.0.0.1:{reading}", FOR_EVER),
                connect(f"127.0.0.1:{refused}", f"{FOR_EVER} retry"),
            ]
            if with_ssl:
                tests += [connect(f"127.0.0.1:{handshaking}", trusted), connect(f"127.0.0.1:{tls_reading}", trusted)]
            nginx.start(dns.resolver_with("1h") + "".join(tests) * EACH, workers=1)
            await until(lambda: dns.asked >= 1 and len(connecting_to(dark)) >= EACH)
            await until(lambda: len(plain.lines) == EACH)
            if with_ssl:
                await until(lambda: len(secret.lines) == EACH and shaking == EACH)
            yield
            server.close()


def left_open(nginx: Nginx) -> list[str]:
    return [line for line in nginx.errors() if "open socket" in line or "[alert]" in line]


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGTERM])
async def test_a_worker_leaves_with_connections_open(testing_nginx, how):
    async with open_in_every_stage(testing_nginx):
        testing_nginx._process.send_signal(how)
        await until(lambda: not testing_nginx.is_running)
    assert testing_nginx._process.returncode == 0
    assert left_open(testing_nginx) == []


async def test_an_old_worker_leaves_at_a_reload(testing_nginx):
    async with open_in_every_stage(testing_nginx):
        (old,) = testing_nginx.workers
        testing_nginx.reload("")
        await until(lambda: old not in testing_nginx.workers)
    assert left_open(testing_nginx) == []


async def test_a_killed_worker_is_replaced(testing_nginx):
    async with open_in_every_stage(testing_nginx):
        (old,) = testing_nginx.workers
        testing_nginx.allowed.append(r"\[alert\] .* exited on signal 9")
        testing_nginx.kill_worker(old)
        await until(lambda: old not in testing_nginx.workers)


async def test_in_the_single_process_a_reload_closes_what_is_open(testing_nginx):
    """With `master_process off` the process goes on with another cycle."""
    (port,) = free_ports(1)
    async with lines(("127.0.0.1", port), nothing) as server:
        testing_nginx.configure(connect(f"127.0.0.1:{port}", FOR_EVER) * EACH, workers=1)
        process = await asyncio.create_subprocess_exec(
            *testing_nginx._command("-g", "daemon off; master_process off;"),
            env={name: value for name, value in os.environ.items() if name != "NGINX"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(lambda: len(server.lines) == EACH)
        process.send_signal(signal.SIGHUP)
        await until(lambda: server.open == 0)
        process.send_signal(signal.SIGQUIT)
        assert await process.wait() == 0
    assert left_open(testing_nginx) == []
