"""Configurations: short forms of the parts of http {} that many tests need, and the samples of nginx-conf/."""

import re
from collections.abc import Iterable
from pathlib import Path

from harness.servers.replica import Replica

SAMPLES = Path(__file__).resolve().parents[2] / "nginx-conf"

LEARN = "sticky_learn zone=sessions:1m create=$upstream_http_mcp_session_id lookup=$http_mcp_session_id"

STREAMING = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
    proxy_read_timeout 60s;
"""


def upstream(
    name: str, replicas: Iterable[Replica], directives: str, server: str = "", *, shared: bool = True
) -> str:
    """`server`: parameters of each server; `shared`: its peers lie in memory that all workers share."""
    servers = "\n".join(f"    server {replica.address} {server};" for replica in replicas)
    zone = f"zone {name} 128k;" if shared else ""
    return f"upstream {name} {{\n    {zone}\n    {directives}\n{servers}\n}}\n"


def listen(port: int, upstream: str, directives: str = STREAMING) -> str:
    return f"""server {{
    listen 127.0.0.1:{port};
    {directives}
    location / {{ proxy_pass http://{upstream}; }}
}}
"""


def sample(name: str, port: int, replicas: Iterable[Replica], validator: int = 0) -> str:
    """A file of nginx-conf/ with our addresses in place of its own, and its files in the folder of the test's nginx.
    `validator` is the port of what stands beside: the validator of tokens, or an endpoint for administrators."""
    ports = {8000: port, 8081: port, 8443: port, 8082: validator, 9000: validator}
    ports |= {8001 + i: replica.port for i, replica in enumerate(replicas)}
    text = re.sub("/etc/nginx/|/var/log/nginx/", "", (SAMPLES / name).read_text())
    return re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{ports[int(m[1])]}", text)
