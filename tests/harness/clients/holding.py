"""An upstream whose small answers are held by the judge of module/testing/hold.rs, and what that counts."""

import asyncio
import re

from harness.nginx import Nginx
from harness.patience import PATIENCE, until
from harness.ports import free_ports


def site(port: int, server: int, hold: str, more: str = "") -> str:
    """The upstream behind /held/ has a judge, that behind /plain/ has none."""

    def location(name: str, buffering: str) -> str:
        return f"location /{name}/{buffering}/ {{ proxy_buffering {buffering}; proxy_pass http://{name}/; }}\n"

    return f"""
    log_format held '$request_uri $status';
    upstream held {{
        sticky_learn zone=sessions:1m unknown=balance;
        sticky_test_hold {hold};
        server 127.0.0.1:{server};
    }}
    upstream plain {{
        sticky_learn zone=others:1m unknown=balance;
        server 127.0.0.1:{server};
    }}
    server {{
        listen 127.0.0.1:{port};
        access_log held.log held;
        client_max_body_size 10m;
        client_body_buffer_size 16k;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream off;
        {more}
        {"".join(location(name, buffering) for name in ("held", "plain") for buffering in ("on", "off"))}
        location = /counts {{ access_log off; sticky_test_holding counts; }}
        location = /release {{ access_log off; sticky_test_holding release; }}
    }}
    """


async def raw(port: int, path: str, method: str = "POST", body: bytes = b"", headers: str = "", chunks: int = 0) -> bytes:
    """The bytes of a response, on a connection of its own, without those that differ each time."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {len(body)}"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{size}\r\n{headers}\r\n"
        writer.write(head.encode())
        if chunks:
            for at in range(0, len(body), chunks):
                part = body[at : at + chunks]
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(body)
        try:
            answer = await reader.read(-1)
        finally:
            writer.close()
    return re.sub(rb"(Date|X-Worker|X-Sticky): .*\r\n", b"", answer)


async def counts(port: int) -> dict[str, int]:
    text = (await raw(port, "/counts", "GET")).rpartition(b"\r\n\r\n")[2].decode()
    found = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", text)}
    assert found["held"] == found["passed"] + found["again"] + found["gone"] + found["holding"], text
    return found


async def settled(port: int, **wanted: int) -> None:
    async def are_wanted() -> bool:
        return wanted.items() <= (await counts(port)).items()

    await until(are_wanted)


def start(nginx: Nginx, server: int, hold: str, more: str = "") -> int:
    (port,) = free_ports(1)
    nginx.start(site(port, server, hold, more), workers=1)
    nginx.allowed = ["upstream prematurely closed connection", "a client request body is buffered to a temporary file"]
    return port
