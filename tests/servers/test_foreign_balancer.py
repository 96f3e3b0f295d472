"""A balancer that cannot be told which server to take: its upstream has no sessions, and the log says so once."""

import json

import pytest

from harness.clients.http import send
from harness.ports import free_ports

JSON = [("Content-Type", "application/json")]
HAS_NO_EFFECT = 'has no effect in upstream "mcp": its balancer is not one of nginx\'s own'


def site(port: int, server: int, sticky: str) -> str:
    return (
        f"server {{ listen 127.0.0.1:{server}; location / {{ add_header Mcp-Session-Id $arg_new; return 200; }} }}"
        f"upstream mcp {{ own_balancer; {sticky} server 127.0.0.1:{server}; }}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mcp; }}"
        f" location /sticky/ {{ sticky_api write; }} }}"
    )


async def test_nothing_is_learned_and_drain_is_refused(nginx, compiled):
    port, server = free_ports(2)
    nginx.modules.append(compiled("ngx_http_own_balancer_module"))
    nginx.allowed.append(HAS_NO_EFFECT)
    nginx.start(site(port, server, "sticky_learn zone=sessions:1m;"), workers=1)
    assert (await send(port, path="/?new=one")).sticky == "NONE"
    for id in (b"one", b"two", b""):
        response = await send(port, id)
        assert (response.status, response.sticky) == (200, "NONE")
    warnings = [line for line in nginx.errors() if HAS_NO_EFFECT in line]
    assert len(warnings) == 1 and "[warn]" in warnings[0]
    path = f"/sticky/upstreams/mcp/servers/127.0.0.1:{server}"
    refused = await send(port, method="PATCH", path=path, headers=JSON, body=b'{"drain":true}')
    assert refused.status == 409
    assert "drain has no effect" in json.loads(refused.body)["error"]["text"]


@pytest.mark.plus_syntax
async def test_a_cookie_is_not_set(nginx, compiled):
    port, server = free_ports(2)
    nginx.modules.append(compiled("ngx_http_own_balancer_module"))
    nginx.allowed.append(HAS_NO_EFFECT)
    nginx.start(site(port, server, "sticky cookie srv;"), workers=1)
    for _ in range(3):
        response = await send(port)
        assert response.status == 200 and "set-cookie" not in response.headers
    assert len([line for line in nginx.errors() if HAS_NO_EFFECT in line]) == 1


@pytest.mark.parametrize("sticky", ["sticky_learn zone=sessions:1m;", pytest.param("sticky cookie srv;", marks=pytest.mark.plus_syntax)])
async def test_a_list_of_its_own_is_left_alone(nginx, compiled, sticky):
    port, server = free_ports(2)
    nginx.modules.append(compiled("ngx_http_own_balancer_module"))
    nginx.allowed.append(HAS_NO_EFFECT)
    nginx.start(site(port, server, sticky).replace("own_balancer;", "own_balancer list;"), workers=1)
    assert (await send(port)).status == 200
    assert (await send(port, path="/sticky/upstreams", method="GET")).status == 200
    # The log would name a worker that has crashed.
    assert not [line for line in nginx.errors() if "exited on signal" in line]
