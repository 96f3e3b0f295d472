"""One replica with FastMCP, the package of that name.

Usage: PYTHON tests/sdk/python/fastmcp_replica.py NAME PORT
"""

import sys

import uvicorn
from fastmcp import FastMCP

name, port = sys.argv[1], int(sys.argv[2])
server = FastMCP(name)
calls = 0


@server.tool
def count() -> dict[str, str | int]:
    """How often this process was called."""
    global calls
    calls += 1
    return {"replica": name, "count": calls}


uvicorn.run(server.http_app(), host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1)
