"""One replica with the official Python SDK: everything that travels between a client and its server.

Usage: python tests/sdk/replica.py NAME PORT
"""

import sys
from weakref import WeakKeyDictionary

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

name, port = sys.argv[1], int(sys.argv[2])
server = FastMCP(name, host="127.0.0.1", port=port, log_level="CRITICAL")
counts: WeakKeyDictionary[object, int] = WeakKeyDictionary()


class Colour(BaseModel):
    colour: str


@server.tool()
def count(context: Context) -> dict[str, str | int]:
    """How often this session has called, kept in this process."""
    counts[context.session] = counts.get(context.session, 0) + 1
    return {"replica": name, "count": counts[context.session]}


@server.tool()
async def work(steps: int, context: Context) -> int:
    """Reports progress on the stream of the call."""
    for step in range(steps):
        await context.report_progress(step + 1, steps)
    return steps


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


server.run("streamable-http")
