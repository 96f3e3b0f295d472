"""Clients of the official Python SDK, 1.x or 2.x, that call a tool again and again, like looping.mjs.

Usage: PYTHON tests/sdk/python/looping.py URL CLIENTS PAUSE TIMEOUT
"""

import asyncio
import json
import logging
import random
import sys
import time
from datetime import timedelta

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

try:
    import httpx2 as httpx

    LIMIT = float
except ImportError:  # 1.x
    import httpx

    LIMIT = lambda seconds: timedelta(seconds=seconds)  # noqa: E731

ANNOUNCEMENTS = 20

url, clients, pause, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
ended = asyncio.Event()


def say(**what) -> None:
    print(json.dumps(what), flush=True)


async def call(session: ClientSession, tool: str) -> dict:
    result = await session.call_tool(tool, {}, read_timeout_seconds=LIMIT(limit))
    return result.model_dump(by_alias=True)["structuredContent"]


async def live(number: int) -> None:
    announced = asyncio.Event()

    async def hear(params) -> None:
        announced.set()

    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(30, read=300)) as http,
        streamable_http_client(url, http_client=http) as (read, write, *_),
        ClientSession(read, write, logging_callback=hear) as session,
    ):
        await session.initialize()
        say(client=number)
        await asyncio.sleep(pause * random.random())  # not all in step
        while not ended.is_set():
            begin = time.monotonic()
            try:
                said = await call(session, "count")
            except Exception as error:
                said = {"error": repr(error)}
            say(client=number, took=time.monotonic() - begin, **said)
            await asyncio.sleep(pause)
        announced.clear()
        for _ in range(ANNOUNCEMENTS):
            try:
                await call(session, "announce")
            except Exception:
                pass
            await asyncio.sleep(0.25)
            if announced.is_set():
                break
        say(client=number, announced=announced.is_set())


async def client(number: int) -> None:
    try:
        await live(number)
    except BaseException as error:  # the SDK cancels what uses a transport that has failed
        say(client=number, died=repr(getattr(error, "exceptions", error)))


async def main() -> None:
    logging.disable(logging.CRITICAL)
    living = [asyncio.create_task(client(number)) for number in range(clients)]
    await asyncio.to_thread(sys.stdin.read)
    ended.set()
    await asyncio.wait(living)


asyncio.run(main())
