"""A client of the official Python SDK, 1.x or 2.x, that comes back with the id of a session that is lost.

Usage: PYTHON tests/sdk/python/returning.py URL

Prints its id and the name of its server, waits for a line, asks again, and initializes again with its old id. The
second line also has how the request in the lost session was refused.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

try:
    import httpx2 as httpx
except ImportError:  # 1.x
    import httpx

ANSWER = 60  # seconds

url = sys.argv[1]
sent: list[tuple[str, str]] = []  # method and id of each request


async def watch(request) -> None:
    if request.method == "POST":
        body = json.loads(request.content)
        sent.append((body.get("method", ""), request.headers.get("mcp-session-id", "")))


async def call(session: ClientSession) -> str:
    return (await session.call_tool("name", {})).content[0].text


def say(**what) -> None:
    print(json.dumps(what), flush=True)


@asynccontextmanager
async def session(headers: dict[str, str]) -> AsyncIterator[ClientSession]:
    async with (
        httpx.AsyncClient(timeout=ANSWER, headers=headers, event_hooks={"request": [watch]}) as http,
        streamable_http_client(url, http_client=http, terminate_on_close=False) as (read, write, *_),
        ClientSession(read, write) as opened,
    ):
        await opened.initialize()
        yield opened


async def main() -> None:
    logging.disable(logging.CRITICAL)
    old = refused = ""
    try:
        async with session({}) as first:
            replica = await call(first)
            old = sent[-1][1]
            say(id=old, replica=replica)
            await asyncio.to_thread(sys.stdin.readline)
            await call(first)
    except Exception as error:  # 1.x ends the transport after a 503
        refused = str(error)
        if not old:
            raise
    # Once the server has named an id, the transport sends that one.
    async with session({"mcp-session-id": old}) as again:
        assert ("initialize", old) in sent, sent
        replica = await call(again)
        say(id=sent[-1][1], replica=replica, refused=refused)


asyncio.run(main())
