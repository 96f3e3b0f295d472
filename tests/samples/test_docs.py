"""The configurations in README.md and docs/ are what a reader can copy: nginx takes them without a warning, they log no
id, and the first one is right for MCP. (docs/web.md and docs/migrate.md are also used: t/43, t/44; tests of the pages as documents: test_pages.py.)"""

import asyncio
import os
import re
from pathlib import Path

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from harness.lua import HAS_LUA, LUA, PATH
from harness.nginx import ROOT
from harness.patience import PATIENCE
from harness.ports import free_ports
from harness.sdk import live, servers

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "contrib" / "README.md"]

# Seconds: nginx's own read timeout is 60.
SILENCE = 70


def blocks() -> list:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^( *)```nginx\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def whole(block: str) -> str:
    """The block within http {}, with what it needs around it."""
    inside = re.search(r"^http \{\n(.*?)^\}$", block, re.MULTILINE | re.DOTALL)
    if inside:
        return inside[1]
    # The harness does so.
    block = re.sub(r"^ *load_module .*$", "", block, flags=re.MULTILINE)
    if re.match(r"\s*(#.*\n\s*)*sticky(_learn)? ", block):
        block = f"upstream around {{ server 10.0.0.1:8000; {block} }}"
    if re.match(r"\s*(#.*\n\s*)*(location|proxy_\w+|add_header)\b", block):
        block = f"server {{ listen 80; {block} }}"
    return block


def here(text: str, home: Path) -> str:
    """With addresses and paths of the test."""
    text = re.sub(r"\blisten (\S*?)(\d+)(?=[; ])", lambda m: f"listen 127.0.0.1:{free_ports(1)[0]}", text)
    text = re.sub(r"\bserver-[ab]:", "127.0.0.1:", text)
    text = text.replace("log_format sticky ", "log_format of_the_page ")  # the harness has one of that name
    text = text.replace("choose_for_a_new_session()", '"10.0.0.1:8000"')
    return re.sub(r"/var/log/nginx|/var/lib/nginx|/etc/nginx", str(home), text)


def missing(block: str) -> str:
    """Variables and upstreams that the page leaves to the reader."""
    needed = ""
    for name in ("token_subject", "jwt_claim_sub"):
        if f"${name}" in block and not re.search(rf"\bset \${name}|_set \${name}|map .* \${name}", block):
            needed += f'map "" ${name} {{ default ""; }}\n'
    for name in set(re.findall(r"(?:proxy|grpc|fastcgi|uwsgi|scgi)_pass (?:\w+://)?([a-z_-]+)[;/]", block)):
        if not re.search(rf"upstream {name}\b", block):
            needed += f"upstream {name} {{ server 10.0.0.1:8000; }}\n"
    return needed


@pytest.mark.parametrize("block", blocks())
def test_nginx_takes(nginx, block):
    if "_by_lua" in block:
        if not HAS_LUA:
            pytest.skip("no Lua module, and no OpenResty")
        nginx.modules = LUA + nginx.modules
    lua = PATH if "_by_lua" in block else ""
    text = here(missing(block) + whole(block), nginx.home)
    (nginx.home / "sticky.key").write_bytes(os.urandom(48))
    nginx.configure(lua + text)
    assert nginx.check() == ""


def test_there_are_blocks():
    assert len(blocks()) > 20


# Variables of an access log that contain an id: in the URI with HTTP+SSE and many applications, else in a header.
WITH_ID = re.compile(
    r"\$\{?(request|request_uri|uri|document_uri|args|query_string|is_args|request_body|arg_\w+|cookie_\w+"
    r"|(sent_|upstream_)?http_(mcp_session_id|cookie|authorization|referer|set_cookie)|upstream_cookie_\w+)\b"
)


def test_no_log_contains_ids():
    files = [*PAGES, *(ROOT / "nginx-conf").iterdir(), *(ROOT / "contrib").iterdir(), *(ROOT / "demo").glob("*.conf")]
    formats = [
        (path.name, text)
        for path in files
        if path.is_file()
        for text in re.findall(r"log_format\s+[^;]+;", path.read_text(errors="replace"))
    ]
    assert len(formats) > 10
    assert [(name, found[0]) for name, text in formats if (found := WITH_ID.search(text))] == []


def first_block(servers: list, port: int, home: Path) -> str:
    text = whole(blocks()[0].values[0])
    for theirs, ours in {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "10.0.0.1:8000": servers[0].address,
        "10.0.0.2:8000": servers[1].address,
        "/var/log/nginx": str(home),
    }.items():
        assert text.count(theirs) == 1
        text = text.replace(theirs, ours)
    return text


@pytest.mark.parametrize("kind", ["python-1", "typescript"])
async def test_the_first_configuration_is_enough(nginx, report, kind):
    (port,) = free_ports(1)
    with servers(kind, 2) as two:
        nginx.start(first_block(two, port, nginx.home))
        lives = await live(kind, "http", port, 3)
        report(lives)
        assert lives.failures == []


async def test_a_silent_stream_lasts_with_the_first_configuration(nginx):
    """The servers of this SDK send no pings."""
    (port,) = free_ports(1)
    heard: asyncio.Queue[str] = asyncio.Queue()
    opened: list[str] = []

    async def on_log(message) -> None:
        heard.put_nowait(message.data)

    async def on_request(request: httpx.Request) -> None:
        if request.method == "GET":
            opened.append(request.method)

    with servers("typescript", 2) as two:
        nginx.start(first_block(two, port, nginx.home))
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(PATIENCE, read=None), event_hooks={"request": [on_request]}) as http,
            streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http) as (read, write, _),
            ClientSession(read, write, logging_callback=on_log) as session,
        ):
            await session.initialize()
            await asyncio.sleep(SILENCE)
            await session.call_tool("announce", {})
            assert (await asyncio.wait_for(heard.get(), PATIENCE)).startswith("hello from")
            assert opened == ["GET"]
