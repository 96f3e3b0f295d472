"""One replica with the official Python SDK, 1.x or 2.x: everything that travels between a client and its server.

Usage: PYTHON tests/sdk/python/replica.py NAME PORT

    /mcp    Streamable HTTP with resumable streams; under 2.x also 2026-07-28 with tasks
    /sse    HTTP+SSE of 2024-11-05
"""

import asyncio
import sys
from collections import Counter

import uvicorn
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

try:
    from mcp.server.mcpserver import Context, MCPServer
except ImportError:  # 1.x
    from mcp.server.fastmcp import Context, FastMCP

    MCPServer = None

RETRY = 50  # milliseconds, after which a client resumes a stream

name, port = sys.argv[1], int(sys.argv[2])
counts: Counter[str] = Counter()


class Events(EventStore):
    """What has been sent on every stream, so that a stream can be resumed."""

    def __init__(self):
        self._sent: list[tuple[str, object]] = []

    async def store_event(self, stream_id, message):
        self._sent.append((stream_id, message))
        return str(len(self._sent) - 1)

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream = self._sent[last][0]
        for number, (of, message) in enumerate(self._sent[last + 1 :], last + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


if MCPServer:
    import tasks

    server = MCPServer(name, log_level="CRITICAL", extensions=[tasks.Tasks(name)])
    application = server.streamable_http_app(event_store=Events(), retry_interval=RETRY)
else:
    server = FastMCP(name, host="127.0.0.1", log_level="CRITICAL", event_store=Events(), retry_interval=RETRY)
    application = server.streamable_http_app()
application.router.routes.extend(server.sse_app().routes)


class Colour(BaseModel):
    colour: str


@server.tool()
def count(context: Context) -> dict[str, str | int]:
    """How often this session has called, kept in this process."""
    request = context.request_context.request
    session = request.headers.get("mcp-session-id") or request.query_params.get("session_id", "")
    counts[session] += 1
    return {"replica": name, "count": counts[session]}


@server.tool()
async def work(steps: int, context: Context) -> int:
    """Reports progress on the stream of the call."""
    for step in range(steps):
        await context.report_progress(step + 1, steps)
    return steps


@server.tool()
async def interrupted(context: Context) -> str:
    """Ends the stream of the call before its result; who resumes it gets the result."""
    await context.close_sse_stream()
    await asyncio.sleep(RETRY / 1000)
    return "resumed"


@server.tool()
async def think(context: Context) -> str:
    """Asks the client's model in the middle of the call; the answer comes as a request of its own."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="ping"))
    answer = await context.session.create_message([question], max_tokens=10, related_request_id=context.request_id)
    return answer.content.text


@server.tool()
async def choose(context: Context) -> str:
    """Asks the client's user in the middle of the call."""
    answer = await context.elicit("Which colour?", Colour)
    return answer.data.colour


@server.tool()
async def announce(context: Context) -> None:
    """Tells something outside of the call: on the session's GET stream."""
    await context.session.send_log_message("info", f"hello from {name}")


uvicorn.run(application, host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1)
