"""Clients of the official Python SDK, 1.x or 2.x, that call a tool when they are asked to, like asked.mjs.

Usage: PYTHON tests/sdk/python/asked.py TOOL '{"NAME": "URL", ...}'
"""

import asyncio
import json
import logging
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

try:
    import httpx2 as httpx
except ImportError:  # 1.x
    import httpx

TIMEOUT = 60  # seconds, for one call

tool, wanted = sys.argv[1], json.loads(sys.argv[2])


def say(**what) -> None:
    print(json.dumps(what), flush=True)


async def client(name: str, asked: asyncio.Queue) -> None:
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT) as http,
            streamable_http_client(wanted[name], http_client=http) as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            say(name=name)
            while await asked.get():
                try:
                    result = (await session.call_tool(tool, {})).model_dump(by_alias=True)
                    text = result["content"][0]["text"]
                    say(name=name, **{"error" if result["isError"] else "text": text})
                except Exception as error:
                    say(name=name, error=repr(error))
    except BaseException as error:  # the SDK cancels what uses a transport that has failed
        say(name=name, error=repr(getattr(error, "exceptions", error)))


async def main() -> None:
    logging.disable(logging.CRITICAL)
    asked: dict[str, asyncio.Queue] = {name: asyncio.Queue() for name in wanted}
    clients = [asyncio.create_task(client(name, queue)) for name, queue in asked.items()]
    while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
        asked[name].put_nowait(True)
    for queue in asked.values():
        queue.put_nowait(False)
    await asyncio.wait(clients, timeout=5)


asyncio.run(main())
