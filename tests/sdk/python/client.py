"""Real clients of the official Python SDK, 1.x or 2.x, all at once; prints what they did as JSON.

Usage: PYTHON tests/sdk/python/client.py http|sse URL CLIENTS
"""

import asyncio
import contextlib
import json
import logging
import sys
from collections import Counter

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

try:
    import httpx2 as httpx
except ImportError:  # 1.x
    import httpx

STEPS = 5
# In seconds: for one answer, and for a whole session.
ANSWER, PATIENCE = 60, 300

kind, url, clients = sys.argv[1], sys.argv[2], int(sys.argv[3])
transcripts: Counter[str] = Counter()
failures: list[str] = []
met: Counter[str] = Counter()


async def answer_sampling(context, params) -> types.CreateMessageResult:
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="pong"), model="none"
    )


async def answer_elicitation(context, params) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"colour": "green"})


class Life:
    """One session from its beginning to its end."""

    def __init__(self):
        self.id = ""
        self.progress = 0
        self.resumed = False
        self.replicas: set[str] = set()
        self.announced = asyncio.Event()

    def http(self, **arguments) -> httpx.AsyncClient:
        # One connection per request, so each request may reach another worker.
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(limits=limits, event_hooks={"request": [self.watch]}, **{"timeout": ANSWER} | arguments)

    async def watch(self, request) -> None:
        self.id = request.headers.get("mcp-session-id", self.id)
        self.resumed |= "last-event-id" in request.headers

    async def hear(self, params) -> None:
        self.announced.set()

    async def advance(self, now, total, message) -> None:
        self.progress += 1

    async def call(self, session: ClientSession, tool: str, **arguments) -> dict:
        result = await session.call_tool(tool, arguments, progress_callback=self.advance)
        dump = result.model_dump(by_alias=True)
        assert not dump["isError"], dump["content"]
        return dump["structuredContent"]

    async def live(self, read, write) -> list[object]:
        """The transcript: all that does not differ from session to session."""
        async with ClientSession(
            read,
            write,
            sampling_callback=answer_sampling,
            elicitation_callback=answer_elicitation,
            logging_callback=self.hear,
        ) as session:
            transcript: list[object] = ["initialize"]
            await session.initialize()
            transcript.append(sorted(tool.name for tool in (await session.list_tools()).tools))
            for _ in range(STEPS):
                counted = await self.call(session, "count")
                self.replicas.add(counted["replica"])
                transcript.append(counted["count"])
            transcript.append(await self.call(session, "work", steps=STEPS))
            transcript.append(await self.call(session, "think"))
            transcript.append(await self.call(session, "choose"))
            if kind == "http":
                transcript.append(await self.call(session, "interrupted"))
            while not self.announced.is_set():  # the GET stream may not be open yet
                await self.call(session, "announce")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.announced.wait(), 0.2)
            transcript.append("announced")
        return transcript

    async def over_http(self) -> list[object]:
        async with self.http() as http:
            async with streamable_http_client(url, http_client=http) as (read, write, *_):
                transcript = await self.live(read, write)
            # The client has ended the session with DELETE.
            head = {"mcp-session-id": self.id, "accept": "application/json, text/event-stream"}
            after = await http.post(url, headers=head, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        return [*transcript, {"resumed": self.resumed, "progress": self.progress, "after DELETE": after.status_code}]

    async def over_sse(self) -> list[object]:
        def factory(headers=None, timeout=None, auth=None) -> httpx.AsyncClient:
            return self.http(headers=headers, timeout=timeout, auth=auth)

        async with sse_client(url, timeout=ANSWER, httpx_client_factory=factory) as (read, write):
            transcript = await self.live(read, write)
        return [*transcript, {"progress": self.progress}]


async def client() -> None:
    life = Life()
    try:
        async with asyncio.timeout(PATIENCE):
            transcript = await (life.over_http() if kind == "http" else life.over_sse())
    except Exception as error:
        failures.append(f"{sorted(life.replicas)} {error!r} {getattr(error, 'exceptions', '')}")
        return
    transcripts[json.dumps(transcript)] += 1
    if len(life.replicas) != 1:
        failures.append(f"met {sorted(life.replicas)}")
    met.update(life.replicas)


async def main() -> None:
    logging.disable(logging.CRITICAL)
    await asyncio.gather(*(client() for _ in range(clients)))
    print(json.dumps({"transcripts": transcripts, "failures": failures, "met": met}))


asyncio.run(main())
