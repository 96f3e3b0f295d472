"""A server with the official Python SDK 1.x whose sessions belong to the user of a token: any other user gets 404.

Usage: PYTHON tests/sdk/python/principals.py NAME PORT

The token is the user's name.
"""

import sys

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.fastmcp import FastMCP

name, port = sys.argv[1], int(sys.argv[2])


class Users:
    async def verify_token(self, token: str) -> AccessToken:
        return AccessToken(token=token, client_id=token, scopes=[], subject=token)


auth = AuthSettings(issuer_url="http://127.0.0.1/", resource_server_url=None)
server = FastMCP(name, host="127.0.0.1", port=port, log_level="CRITICAL", auth=auth, token_verifier=Users())
calls = 0


@server.tool()
def count() -> dict[str, str | int]:
    """How often this process was called."""
    global calls
    calls += 1
    return {"replica": name, "count": calls}


server.run("streamable-http")
