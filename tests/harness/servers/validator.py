"""A service for nginx's auth_request: it verifies tokens and names the user. Tokens are JWTs, signed with HS256."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import jwt

SECRET = "known to issuer and validator, and long enough for HS256"
CHALLENGE = 'Bearer resource_metadata="http://localhost/.well-known/oauth-protected-resource"'


@contextmanager
def validator() -> Iterator[int]:
    """Its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def token(**claims: object) -> str:
    return jwt.encode(claims, SECRET, "HS256")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        subject = _subject(self.headers.get("Authorization", ""))
        self.send_response(200 if subject else 401)
        self.send_header(*("X-Subject", subject) if subject else ("WWW-Authenticate", CHALLENGE))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


def _subject(authorization: str) -> str | None:
    """The user of a valid token."""
    scheme, _, text = authorization.partition(" ")
    try:
        # `exp` makes a renewed token differ from the token before.
        return jwt.decode(text, SECRET, ["HS256"], {"verify_exp": False})["sub"] if scheme == "Bearer" else None
    except jwt.InvalidTokenError:
        return None
