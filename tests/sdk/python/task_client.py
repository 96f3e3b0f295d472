"""Real clients of the official Python SDK 2.x that speak 2026-07-28: each starts tasks and polls them.

Usage: PYTHON tests/sdk/python/task_client.py URL CLIENTS
"""

import asyncio
import json
import logging
import sys
from collections import Counter

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from tasks import VERSION, Cancel, Get, TaskClient, TaskParams, TaskState, Update

url, clients = sys.argv[1], int(sys.argv[2])
done: Counter[str] = Counter()
lost: Counter[str] = Counter()
met: Counter[str] = Counter()

# An answer as JSON or as a stream; an id that is sent as it is, or as =?base64?...?=.
SHAPES = [{"stream": stream, "foreign": foreign} for stream in (False, True) for foreign in (False, True)]
POLLS = [(Get, "working"), (Update, "input taken"), (Get, "input taken"), (Cancel, "cancelled"), (Get, "cancelled")]


async def watch(request: httpx2.Request) -> None:
    if request.headers.get("mcp-method", "").startswith("tasks/"):
        done["=?base64?" if request.headers["mcp-name"].startswith("=?base64?") else "plain"] += 1


async def watch_answer(response: httpx2.Response) -> None:
    if response.request.headers.get("mcp-name") == "later":
        done[response.headers["content-type"].partition(";")[0]] += 1


async def note_progress(now, total, message) -> None:
    pass


async def client() -> None:
    http = httpx2.AsyncClient(
        timeout=60,
        limits=httpx2.Limits(max_keepalive_connections=0),
        event_hooks={"request": [watch], "response": [watch_answer]},
    )
    transport = streamable_http_client(url, http_client=http)
    async with http, Client(transport, mode=VERSION, extensions=[TaskClient()]) as mcp:
        for shape in SHAPES:
            task = await mcp.session.call_tool("later", shape, progress_callback=note_progress, allow_claimed=True)
            met[task.replica] += 1
            done["tasks"] += 1
            for kind, status in POLLS:
                request = kind(params=TaskParams(task_id=task.task_id))
                try:
                    state = await mcp.session.send_request(request, TaskState)
                except MCPError:
                    lost[request.method] += 1
                    continue
                assert state.replica == task.replica
                # Another status means that an earlier poll has failed.
                (done if state.status == status else lost)[request.method] += 1


async def main() -> None:
    logging.disable(logging.CRITICAL)
    await asyncio.gather(*(client() for _ in range(clients)))
    print(json.dumps({"done": done, "lost": lost, "met": met}))


asyncio.run(main())
