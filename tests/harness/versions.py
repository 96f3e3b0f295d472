"""The versions of HTTP that a client may speak to nginx."""

from harness.nginx import BINARY, HTTP2_ON, Nginx, was_built_with
from harness.tls import Authority

VERSIONS = ["HTTP/1.1", "HTTP/2.0", "HTTP/3.0"]
OPTIONS = {"HTTP/2.0": "--with-http_v2_module", "HTTP/3.0": "--with-http_v3_module"}


def is_missing(version: str) -> bool:
    option = OPTIONS.get(version)
    return option is not None and not was_built_with(BINARY, option)


def listen(nginx: Nginx, version: str, port: int) -> str:
    """What a server {} of nginx needs to speak HTTP/2 or HTTP/3 at a port. The CA is ca.pem."""
    authority = Authority(nginx.home, "ca")
    authority.issue("front", "localhost")
    if version == "HTTP/3.0":
        lines = f"listen 127.0.0.1:{port} quic reuseport;"
    elif nginx.version < HTTP2_ON:
        lines = f"listen 127.0.0.1:{port} ssl http2;"
    else:
        lines = f"listen 127.0.0.1:{port} ssl; http2 on;"
    lines += f" ssl_certificate {nginx.home}/front.pem; ssl_certificate_key {nginx.home}/front.key;"
    if version == "HTTP/2.0":
        lines += " ssl_protocols TLSv1.2 TLSv1.3; http2_max_concurrent_streams 1000;"
    return lines
