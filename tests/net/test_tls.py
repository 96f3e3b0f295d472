"""TLS of a connection of nginx's own: what is verified, and what is said when it is wrong."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harness.connect import SAY, connect, result, results
from harness.nginx import BINARY, was_built_with
from harness.patience import until
from harness.ports import free_ports
from harness.servers.lines import PING, Lines, lines
from harness.tls import Authority

pytestmark = pytest.mark.skipif(not was_built_with(BINARY, "--with-http_ssl_module"), reason="nginx without SSL")

HOST = "server.test"
TRUSTED = f"{SAY} ssl ssl_name={HOST} ssl_trusted_certificate=ca.pem"


@pytest.fixture
def authority(testing_nginx) -> Authority:
    return Authority(testing_nginx.home, "ca")


@asynccontextmanager
async def tls_lines(nginx, port: int, name: str) -> AsyncIterator[Lines]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(nginx.home / f"{name}.pem", nginx.home / f"{name}.key")
    async with lines(("127.0.0.1", port), tls=context) as server:
        yield server


async def test_a_certificate_of_the_ca_for_the_name(testing_nginx, authority):
    (port,) = free_ports(1)
    authority.issue("server", HOST)
    async with tls_lines(testing_nginx, port, "server") as server:
        assert await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED) == "answered"
        await until(lambda: server.open == 0)
    assert server.lines == [PING]


async def test_the_name_is_sent_with_the_handshake(testing_nginx, authority):
    (port,) = free_ports(1)
    authority.issue("server", HOST)
    asked_for = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(testing_nginx.home / "server.pem", testing_nginx.home / "server.key")
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    async with lines(("127.0.0.1", port), tls=context):
        assert await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED) == "answered"
    assert asked_for == [HOST]


async def test_a_certificate_for_another_name(testing_nginx, authority):
    (port,) = free_ports(1)
    authority.issue("other", "other.test")
    async with tls_lines(testing_nginx, port, "other") as server:
        said = await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED)
        await until(lambda: server.open == 0)
    assert said == "SSL certificate does not match the name"
    assert server.lines == []


async def test_without_ssl_name_the_name_is_that_of_the_address(testing_nginx, authority):
    (port,) = free_ports(1)
    authority.issue("server", HOST)
    async with tls_lines(testing_nginx, port, "server"):
        said = await result(testing_nginx, f"127.0.0.1:{port}", f"{SAY} ssl ssl_trusted_certificate=ca.pem")
    assert said == "SSL certificate does not match the name"


async def test_a_certificate_of_an_unknown_ca(testing_nginx, authority):
    (port,) = free_ports(1)
    Authority(testing_nginx.home, "stranger").issue("server", HOST)
    async with tls_lines(testing_nginx, port, "server") as server:
        said = await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED)
    assert re.fullmatch(r"SSL certificate verify error: \((20|21):unable to .* certificate\)", said)
    assert server.lines == []


async def test_a_certificate_that_has_expired(testing_nginx, authority):
    (port,) = free_ports(1)
    authority.issue_expired("server", HOST)
    async with tls_lines(testing_nginx, port, "server") as server:
        said = await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED)
    assert said == "SSL certificate verify error: (10:certificate has expired)"
    assert server.lines == []


async def test_verification_can_be_switched_off(testing_nginx):
    (port,) = free_ports(1)
    Authority(testing_nginx.home, "stranger").issue_expired("server", "other.test")
    async with tls_lines(testing_nginx, port, "server"):
        assert await result(testing_nginx, f"127.0.0.1:{port}", f"{SAY} ssl ssl_verify=off") == "answered"


def test_verification_needs_a_ca(testing_nginx):
    testing_nginx.allowed.append(r"\[emerg\]")
    testing_nginx.configure(connect("127.0.0.1:1", f"{SAY} ssl"))
    assert 'no trusted certificate to verify "127.0.0.1" with' in testing_nginx.check()


def test_a_missing_file_is_an_error_at_start(testing_nginx):
    testing_nginx.allowed.append(r"\[emerg\]")
    testing_nginx.configure(connect("127.0.0.1:1", f"{SAY} ssl ssl_trusted_certificate=missing.pem"))
    assert re.search(r'\[emerg\] .*missing\.pem"', testing_nginx.check())


async def test_a_server_without_tls(testing_nginx, authority):
    (port,) = free_ports(1)
    # The line that it answers with is no record of TLS.
    async with lines(("127.0.0.1", port)):
        testing_nginx.allowed.append(r"\[crit\].*SSL_do_handshake\(\) failed")
        said = await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED + " timeout=1000")
    assert said in ("SSL handshake failed", "timed out while SSL handshaking")


async def test_a_handshake_that_is_not_answered(testing_nginx, authority):
    (port,) = free_ports(1)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", port)
    said = await result(testing_nginx, f"127.0.0.1:{port}", TRUSTED + " timeout=300")
    server.close()
    assert said == "timed out while SSL handshaking"


async def test_tls_that_is_cut_anywhere(testing_nginx, authority):
    """A handshake has some thousand bytes of the server: it is cut behind every 61st of them."""
    port, behind = free_ports(2)
    authority.issue("server", HOST)
    cuts = list(range(0, 700, 61))
    rest = iter(cuts)

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", behind)

        async def to_the_server() -> None:
            while data := await reader.read(65536):
                back_writer.write(data)
            back_writer.close()

        task = asyncio.create_task(to_the_server())
        left = next(rest)
        while left and (data := await back_reader.read(left)):
            left -= len(data)
            writer.write(data)
        writer.close()
        await task

    async with tls_lines(testing_nginx, behind, "server"):
        server = await asyncio.start_server(cut, "127.0.0.1", port)
        testing_nginx.start(connect(f"127.0.0.1:{port}", TRUSTED) * len(cuts), workers=1)
        said = await results(testing_nginx, len(cuts))
        server.close()
    assert set(said) == {"SSL handshake failed"}
