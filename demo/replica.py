"""One replica: an MCP server that keeps the words of each session in its own memory.

Usage: python demo/replica.py NAME PORT
"""

import sys
from weakref import WeakKeyDictionary

from mcp.server.fastmcp import Context, FastMCP

name, port = sys.argv[1], int(sys.argv[2])
server = FastMCP(name, host="127.0.0.1", port=port, log_level="CRITICAL")
words: WeakKeyDictionary[object, list[str]] = WeakKeyDictionary()


@server.tool()
def remember(word: str, context: Context) -> dict[str, str | int]:
    """Keeps a word for this session. Returns the replica and the number of words."""
    kept = words.setdefault(context.session, [])
    kept.append(word)
    return {"replica": name, "count": len(kept)}


@server.tool()
def recall(context: Context) -> dict[str, str | list[str]]:
    """The words of this session."""
    return {"replica": name, "words": words.get(context.session, [])}


server.run("streamable-http")
