"""A service for nginx's auth_request: it verifies tokens and names the user. Tokens are JWTs, signed with HS256."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

SECRET = b"known to issuer and validator"
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
    parts = [_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    return ".".join([*parts, _signature(*parts)])


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
    """Whose token it is, if it is one of ours."""
    scheme, _, text = authorization.partition(" ")
    *parts, signature = text.split(".")
    if scheme != "Bearer" or len(parts) != 2 or not hmac.compare_digest(_signature(*parts), signature):
        return None
    return json.loads(base64.urlsafe_b64decode(parts[1] + "=="))["sub"]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(*parts: str) -> str:
    return _encode(hmac.digest(SECRET, ".".join(parts).encode(), hashlib.sha256))
