"""`sticky cookie` behind a 103. nginx 1.29.0 to 1.29.5 empties the response's headers when it has read the hints."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import pytest

from harness.clients.http import parse
from harness.nginx import BINARY, OWN_STICKY, version
from harness.patience import PATIENCE
from harness.ports import free_ports

pytestmark = pytest.mark.skipif(
    not (1, 29, 0) <= version(BINARY) < OWN_STICKY, reason="needs nginx 1.29.0 to 1.29.5"
)

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"
ANSWER = b"HTTP/1.1 %s\r\nX-Server: %d\r\nX-Last: 3\r\nSet-Cookie: own=1\r\nConnection: close\r\n\r\nbody"


@asynccontextmanager
async def servers(count: int):
    """Each answers with early hints; the first one then as the path says: /503, /close, or 200."""
    ports = free_ports(count)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        # nginx sends the response in two parts.
        for _ in range(2 if path == b"/twice" else 1):
            writer.write(HINTS)
            await asyncio.sleep(0.05)
        is_first = port == ports[0]
        if not (is_first and path == b"/close"):
            status = {b"/503": b"503 Busy", b"/404": b"404 None"}.get(path) if is_first else None
            writer.write(ANSWER % (status or b"200 OK", port))
        writer.close()

    listening = [await asyncio.start_server(serve, "127.0.0.1", port) for port in ports]
    yield ports
    for server in listening:
        server.close()


async def ask(port: int, path: str, cookie: str = "") -> tuple[int, dict[str, bytes], list[bytes]]:
    """The final answer, and its cookies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        fields = f"Cookie: {cookie}\r\n" if cookie else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n".encode())
        while (head := (await reader.readuntil(b"\r\n\r\n"))[:-4]).startswith(b"HTTP/1.1 103"):
            pass
        await reader.read(-1)
    writer.close()
    answer = parse(head)
    cookies = [line[12:] for line in head.split(b"\r\n") if line.startswith(b"Set-Cookie: ")]
    return answer.status, answer.headers, cookies


def id_of(port: int) -> str:
    return hashlib.md5(f"127.0.0.1:{port}".encode()).hexdigest()


@pytest.mark.parametrize("pass_on", ["", "early_hints 1;"], ids=["dropped", "passed on"])
async def test_the_cookie_is_there(nginx, pass_on):
    (port,) = free_ports(1)
    async with servers(2) as (a, b):
        nginx.start(
            f"proxy_cache_path cache keys_zone=cache:64k; upstream u {{ sticky cookie srv;"
            f" server 127.0.0.1:{a} max_fails=0; server 127.0.0.1:{b} backup; }}"
            f"server {{ listen 127.0.0.1:{port}; {pass_on} proxy_next_upstream error http_503;"
            f" location / {{ proxy_pass http://u; }}"
            f" location /404 {{ proxy_pass http://u; proxy_intercept_errors on; error_page 404 = /page; }}"
            f" location = /page {{ return 200 page; }} }}",
            workers=1,
        )
        nginx.allowed.append("upstream prematurely closed connection")
        own = b"own=1"
        for path, server, cookies in [
            ("/", a, [own]),
            ("/twice", a, [own]),
            ("/close", b, [own]),
            ("/503", b, [own]),
            ("/404", a, []),
        ]:
            for sent in ("", f"srv={id_of(a)}"):
                status, headers, got = await ask(port, path, sent)
                assert status == 200
                # When nginx replaces the server's page by its own, only our cookie is left.
                assert sorted(got) == sorted([*cookies, f"srv={id_of(server)}".encode()]), path
                if cookies:
                    assert headers["x-server"] == str(server).encode()
                    assert headers["x-last"] == b"3"
