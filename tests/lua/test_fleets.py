"""A fleet in MCP mode, with Lua's code in each phase, over reloads: sessions, their ends, streams of HTTP+SSE, tasks."""

import asyncio
import os
import uuid
from collections import Counter

import pytest

from harness.clients.http import Response, send, stream
from harness.conf import STREAMING
from harness.lua import LUA, PATH, needs_lua
from harness.patience import PATIENCE, until
from harness.ports import free_ports

pytestmark = needs_lua

RELOADS = int(os.environ.get("RELOADS", "8"))
CLIENTS = 5  # of each kind

# Each server issues ids that begin with its name, and says whose id a request has.
MAPS = """
    map "$http_mcp_session_id$arg_sessionId$http_mcp_name" $owner { "~^(?<named>[a-z]+)-" $named; }
    map $http_mcp_session_id $issued { "" $request_id; }
"""

SERVER = """
    server {
        listen 127.0.0.1:%(port)d;
        add_header X-Replica %(name)s always;
        add_header X-Owner $owner always;
        location /mcp {
            add_header X-Replica %(name)s always;
            add_header X-Owner $owner always;
            set $id "";
            if ($issued) { set $id %(name)s-$issued; }
            add_header Mcp-Session-Id $id;
            if ($request_method = DELETE) { return 204; }
            return 200 '{"jsonrpc":"2.0","id":1,"result":{}}';
        }
        location /sse {
            default_type text/event-stream;
            # The stream stays open after its first event.
            limit_rate 1000;
            return 200 "event: endpoint\\ndata: /messages?sessionId=%(name)s-$request_id\\n\\n: %(more)s\\n\\n";
        }
        location /messages { return 202; }
        location /task {
            default_type application/json;
            return 200 '{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"%(name)s-$request_id","ttlMs":60000}}';
        }
    }
"""

# The user is whom the token names.
FRONT = """
    upstream mcp {
        zone mcp 64k;
        %(balancer)s
        sticky_learn zone=sessions:1m bind=$http_x_user;
        server 127.0.0.1:%(amber)d;
        server 127.0.0.1:%(birch)d;
        server 127.0.0.1:%(cedar)d;
    }
    init_by_lua_block { sticky = require "resty.sticky_learn" }
    init_worker_by_lua_block { assert(sticky.bind("sessions", "of lua", "127.0.0.1:%(amber)d")) }
    server {
        listen 127.0.0.1:%(port)d;
        %(streaming)s
        location / {
            rewrite_by_lua_block { ngx.ctx.user = ngx.var.http_x_token or "nobody" }
            access_by_lua_block {
                ngx.sleep(0.001)
                ngx.req.set_header("X-User", ngx.ctx.user)
            }
            header_filter_by_lua_block { ngx.header["X-Worker"] = ngx.worker.pid() }
            body_filter_by_lua_block { ngx.ctx.bytes = (ngx.ctx.bytes or 0) + #ngx.arg[1] }
            log_by_lua_block { assert(sticky.lookup("sessions", "of lua")) }
            proxy_pass http://mcp;
        }
    }
"""

BALANCERS = {
    "balancer of nginx": "",
    "balancer_by_lua": """balancer_by_lua_block {
        local server = sticky.session_server()
        if server then
            assert(require("ngx.balancer").set_current_peer(server))
        end
    }""",
}

TASKS = [("MCP-Protocol-Version", "2026-07-28")]


class Fleet:
    def __init__(self, port: int):
        self.port = port
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.over = False

    def note(self, what: str, response: Response, statuses: tuple[int, ...] = (200,)) -> None:
        self.done[what] += 1
        right = response.status in statuses and response.replica == response.text("x-owner")
        self.wrong[what] += not right

    async def session(self, token: list[tuple[str, str]]) -> None:
        first = await send(self.port, path="/mcp", headers=token, body=b'{"jsonrpc":"2.0","id":1,"method":"initialize"}')
        for _ in range(5):
            self.note("session", await send(self.port, first.id, path="/mcp", headers=token))
        self.note("delete", await send(self.port, first.id, method="DELETE", path="/mcp", headers=token), (204,))
        for id in (first.id, b"amber-" + uuid.uuid4().hex.encode()):
            rejected = await send(self.port, id, path="/mcp", headers=token)
            self.done["unknown"] += 1
            self.wrong["unknown"] += (rejected.status, rejected.sticky) != (404, "UNKNOWN")

    async def first_event(self, token: list[tuple[str, str]]) -> None:
        """The target of a stream leads to its server as soon as the client has it."""
        async with asyncio.timeout(PATIENCE):
            opened = await stream(self.port, path="/sse", headers=[*token, ("Accept", "text/event-stream")], first_event=False)
            event = await opened.event()
        target = event.split(b"data: ")[1].strip().decode()
        for _ in range(3):
            self.note("http+sse", await send(self.port, path=target, headers=token), (202,))
        opened.close()

    async def task(self, token: list[tuple[str, str]]) -> None:
        begun = await send(self.port, path="/task", headers=[*token, *TASKS, ("Mcp-Method", "tools/call")])
        id = begun.body.split(b'"taskId":"')[1].split(b'"')[0]
        for _ in range(4):
            polled = await send(
                self.port, path="/task", headers=[*token, *TASKS, ("Mcp-Method", "tasks/get"), ("Mcp-Name", id)]
            )
            self.note("task", polled)

    async def client(self, job, name: str) -> None:
        while not self.over:
            await job([("X-Token", name), ("X-User", "mallory")])


@pytest.mark.parametrize("order", ["sticky_learn first", "Lua first"])
@pytest.mark.parametrize("balancer", BALANCERS)
async def test_nothing_is_misrouted_over_reloads(new_nginx, report, balancer, order):
    port, *ports = free_ports(4)
    names = dict(zip(("amber", "birch", "cedar"), ports, strict=True))
    # The servers are not reloaded: they would close connections that are kept.
    servers = new_nginx(module=None)
    servers.start(MAPS + "".join(SERVER % {"name": name, "port": of, "more": "x" * 4000} for name, of in names.items()))
    nginx = new_nginx()
    nginx.modules = LUA + nginx.modules if order == "Lua first" else nginx.modules + LUA
    nginx.start(PATH + FRONT % {"balancer": BALANCERS[balancer], "port": port, "streaming": STREAMING, **names})
    fleet = Fleet(port)
    async with asyncio.TaskGroup() as group:
        for job in (fleet.session, fleet.first_event, fleet.task):
            for number in range(CLIENTS):
                group.create_task(fleet.client(job, f"user{number}"))
        for _ in range(RELOADS):
            await asyncio.to_thread(nginx.reload)
            before = fleet.done.total()
            await until(lambda: fleet.done.total() >= before + 100)
        fleet.over = True
    report(f"{RELOADS} reloads: {fleet.wrong.total()} of {fleet.done.total():,} wrong ({dict(fleet.done)})")
    assert set(fleet.done) == {"session", "delete", "unknown", "http+sse", "task"}
    assert fleet.wrong.total() == 0
