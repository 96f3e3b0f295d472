"""At the start nginx warns of locations whose settings are wrong for MCP, and at the first session of HTTP/1.0."""

import re

import pytest

from harness.clients.http import send
from harness.nginx import ADVICE
from harness.ports import free_ports
from harness.servers.replica import replicas

RIGHT = {
    "proxy_http_version": "1.1",
    "proxy_buffering": "off",
    "proxy_read_timeout": "1h",
    "proxy_next_upstream": "error timeout",
    "proxy_cache": "off",
}


def http(port: int, address: str, sticky: str = "zone=sessions:1m", location: str = "location /mcp", **wrong: str) -> str:
    """A location with the right settings but for `wrong`; an empty one is left out."""
    settings = "".join(f"{name} {value}; " for name, value in (RIGHT | wrong).items() if value)
    return f"""proxy_cache_path cache keys_zone=cache:1m;
upstream mcp {{
    sticky_learn {sticky};
    server {address};
}}
server {{
    listen 127.0.0.1:{port};
    {location} {{ proxy_pass http://mcp; proxy_set_header Connection ""; {settings} }}
}}
"""


def told(nginx, conf: str) -> list[str]:
    """What `nginx -t` warns of, without what stands before and after it."""
    nginx.configure(conf)
    lines = [line for line in nginx.check().splitlines() if "[warn]" in line]
    # To the terminal and to the log: once is enough.
    lines = [line for line in lines if line.startswith("nginx: ")]
    for line in lines:
        # The line of `upstream mcp {` in the file.
        place = re.search(r' \(MCP servers of upstream "mcp" in (\S+):(\d+)\)$', line)
        assert place, line
        assert (nginx.home / "nginx.conf").read_text().splitlines()[int(place[2]) - 1] == "upstream mcp {"
    return [re.sub(r".*\[warn\] (\d+#\d+: )?| \(MCP servers.*", "", line) for line in lines]


BUFFERING = 'location "/mcp" delays events, since it buffers responses: use "proxy_buffering off"'
SILENCE = 'location "/mcp" ends streams and calls of tools that are silent for {}s: use "proxy_read_timeout 1h"'
TWICE = 'location "/mcp" may run a tool twice: remove "non_idempotent" from "proxy_next_upstream"'
CACHE = 'location "/mcp" may answer from a cache what is of one session only: use "proxy_cache off"'


@pytest.mark.parametrize(
    ("wrong", "lines"),
    [
        ({}, []),
        ({"proxy_buffering": ""}, [BUFFERING]),
        ({"proxy_buffering": "on"}, [BUFFERING]),
        ({"proxy_read_timeout": ""}, [SILENCE.format(60)]),
        ({"proxy_read_timeout": "1500ms"}, [SILENCE.format(1.5)]),
        ({"proxy_read_timeout": "61s"}, []),
        ({"proxy_next_upstream": ""}, []),
        ({"proxy_next_upstream": "error non_idempotent"}, [TWICE]),
        ({"proxy_cache": "cache"}, [CACHE]),
        ({"proxy_cache": "$arg_cache"}, [CACHE]),
        ({"proxy_buffering": "", "proxy_read_timeout": ""}, [BUFFERING, SILENCE.format(60)]),
    ],
    ids=lambda value: " ".join(f"{name}={text}" for name, text in value.items()) or "right" if isinstance(value, dict) else "",
)
def test_settings(nginx, wrong, lines):
    assert told(nginx, http(1, "127.0.0.1:2", **wrong)) == lines


@pytest.mark.parametrize(
    "sticky",
    [
        "zone=sessions:1m warnings=off",
        "zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session",
    ],
    ids=["silenced", "not MCP"],
)
def test_no_warning(nginx, sticky):
    assert told(nginx, http(1, "127.0.0.1:2", sticky, proxy_buffering="", proxy_read_timeout="")) == []


@pytest.mark.parametrize("location", ["location = /mcp", "location ~ ^/mcp", "location @mcp"])
def test_the_location_is_named(nginx, location):
    (line,) = told(nginx, http(1, "127.0.0.1:2", location=location, proxy_buffering=""))
    assert line.startswith(f'location "{location.split()[-1]}" delays')


def test_settings_of_the_server_count(nginx):
    """A location inherits them; nested ones and those of other upstreams are not meant."""
    conf = http(1, "127.0.0.1:2", **dict.fromkeys(RIGHT, ""))
    conf = conf.replace("    location", "    proxy_buffering off; proxy_read_timeout 1h;\n    location")
    other = "    location /other { proxy_buffering on; proxy_read_timeout 1s; proxy_pass http://127.0.0.1:3; }\n}"
    assert told(nginx, conf.rstrip("}\n") + "}\n" + other) == []


@pytest.mark.parametrize("wrong", [{"proxy_buffering": ""}, {"proxy_read_timeout": ""}, {"proxy_cache": "cache"}], ids=str)
def test_a_location_beside_a_right_one(nginx, wrong):
    """It may be for metadata of OAuth."""
    other = "    location /.well-known/ { proxy_pass http://mcp; proxy_next_upstream error non_idempotent; }\n}"
    conf = http(1, "127.0.0.1:2").rstrip("}\n") + "}\n"
    beside = conf + other.replace("non_idempotent", "").replace("; }", "; " + " ".join(f"{n} {v};" for n, v in wrong.items() if v) + " }")
    assert told(nginx, beside) == []
    # But for calls that may run twice.
    assert told(nginx, conf + other) == [TWICE.replace("/mcp", "/.well-known/")]


def test_each_kind_once(nginx):
    conf = http(1, "127.0.0.1:2", **dict.fromkeys(RIGHT, "")).rstrip("}\n")
    assert len(told(nginx, conf + "}\n    location /mcp2 { proxy_pass http://mcp; }\n}")) == 2


@pytest.mark.parametrize(
    ("directive", "lines"),
    [
        ("fastcgi", [BUFFERING.replace("proxy", "fastcgi"), SILENCE.format(60).replace("proxy", "fastcgi")]),
        ("grpc", [SILENCE.format(60).replace("proxy", "grpc")]),
    ],
)
def test_other_protocols(nginx, directive, lines):
    conf = http(1, "127.0.0.1:2").split("    location")[0]
    assert told(nginx, conf + f"    location /mcp {{ {directive}_pass mcp; }}\n}}\n") == lines


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_version_of_http(nginx, version):
    (port,) = free_ports(1)
    async with replicas(1) as (replica,):
        nginx.start(http(port, replica.address, proxy_http_version=version), workers=1)
        for _ in range(3):
            assert (await send(port, path="/mcp")).status == 200
    lines = [line for line in nginx.errors() if re.search(ADVICE, line)]
    assert len(lines) == (version == "1.0"), lines
    for line in lines:
        assert re.search(
            r'requests to the MCP servers of upstream "mcp" in \S+nginx.conf:\d+ are of HTTP/1.0, which needs a connection for each and may'
            r' delay events: use "proxy_http_version 1.1"$',
            line,
        )


async def test_version_silenced(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as (replica,):
        nginx.start(http(port, replica.address, "zone=sessions:1m warnings=off", proxy_http_version="1.0"), workers=1)
        assert (await send(port, path="/mcp")).status == 200
    assert not [line for line in nginx.errors() if re.search(ADVICE, line)]
