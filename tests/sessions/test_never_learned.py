"""Responses from which nothing is learned: no server of the upstream made them for this request."""

from harness.clients.http import send
from harness.conf import STREAMING, listen, upstream
from harness.ports import free_ports
from harness.servers.replica import replicas

LEARN_SENT = "sticky_learn zone=sessions:1m create=$sent_http_mcp_session_id lookup=$http_mcp_session_id;"


async def test_cache_hit(nginx):
    port, plain = free_ports(2)
    async with replicas(2) as servers:
        cache = """
            proxy_cache c;
            proxy_cache_key $uri;
            proxy_cache_methods POST;
            proxy_cache_valid 200 1m;
            add_header X-Cache $upstream_cache_status;
            add_header X-Sticky $upstream_sticky_status;
        """
        nginx.start(
            "proxy_cache_path cache keys_zone=c:1m;"
            + upstream("mcp", servers, LEARN_SENT)
            + upstream("plain", servers, "")
            # The cache is filled through an upstream that does not learn, and read through one that does.
            + listen(plain, "plain", cache)
            + listen(port, "mcp", cache)
        )
        filled = await send(plain, path="/cached", patient=True)
        hit = await send(port, path="/cached")
        assert hit.text("x-cache") == "HIT" and hit.id == filled.id
        asked = await send(port, hit.id, path="/other")
    assert asked.sticky == "UNKNOWN"


async def test_response_of_nginx_itself(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers:
        nginx.start(
            upstream("mcp", servers, LEARN_SENT)
            + f"""
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass http://mcp; }}
                location /made {{ add_header Mcp-Session-Id made; return 200; }}
                location /intercepted {{
                    proxy_pass http://mcp;
                    proxy_intercept_errors on;
                    error_page 500 =200 @instead;
                }}
                location @instead {{ add_header Mcp-Session-Id instead always; return 200 ok; }}
            }}
            """
        )
        made = await send(port, path="/made")
        instead = await send(port, path="/intercepted", headers=[("X-Status", "500"), ("X-Id", "left")])
        assert (made.id, instead.id) == (b"made", b"instead")
        said = {id: (await send(port, id)).sticky for id in (b"made", b"instead", b"left")}
    assert said == {b"made": "UNKNOWN", b"instead": "UNKNOWN", b"left": "UNKNOWN"}


async def test_server_left_for_the_next(nginx, report):
    (port,) = free_ports(1)
    said = []
    async with replicas(2) as servers:
        nginx.start(
            upstream("mcp", servers, LEARN_SENT.replace("$sent", "$upstream"))
            + listen(port, "mcp", STREAMING + "proxy_next_upstream http_503 non_idempotent;")
        )
        nginx.allowed.append("upstream server temporarily disabled")
        failing, other = servers
        while not failing.requests:
            failing.status = 503
            taken = await send(port)
        assert taken.status == 200 and taken.replica == other.name
        failing.status = 200
        left = await send(port, failing.last_issued)
        said = [left.sticky, (await send(port, taken.id)).sticky]
    report(f"left: {said[0]}, taken: {said[1]}")
    assert said == ["UNKNOWN", "HIT"]
