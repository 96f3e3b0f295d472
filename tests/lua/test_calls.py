"""resty.sticky_learn under load, and a worker that dies in the middle of a call."""

import asyncio
import random
from pathlib import Path

from harness.clients.http import send
from harness.lua import LUA, PATH, needs_lua
from harness.nginx import KILLED
from harness.patience import until
from harness.ports import free_ports

pytestmark = needs_lua

ZONE = "upstream u { sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session; server 127.0.0.1:1; }\n"


def page(port: int, code: str) -> str:
    return PATH + ZONE + f"server {{ listen 127.0.0.1:{port}; location / {{ content_by_lua_block {{ {code} }} }} }}"


def resident(pid: int) -> int:
    """Bytes of a process's own memory: without the zone's pages, which it shares."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * 4096


LOOKUPS = 1_000_000

LOOP = """
    local sticky = require "resty.sticky_learn"
    for number = 1, 1000 do
        assert(sticky.bind("sessions", "id " .. number, "10.0.0." .. number %% 10 .. ":80", { bind = "alice" }))
    end
    local options = { bind = "alice" }
    local begun, found = os.clock(), 0
    for number = 1, %d do
        if sticky.lookup("sessions", "id " .. number %% 1000 + 1, options) then
            found = found + 1
        end
    end
    ngx.header["X-Nanoseconds"] = math.floor((os.clock() - begun) / %d * 1e9)
    collectgarbage()
    ngx.header.content_length = #tostring(found)
    ngx.print(found)
"""


async def test_a_million_lookups_take_no_memory(nginx, report):
    (port,) = free_ports(1)
    nginx.modules = LUA + nginx.modules
    nginx.start(page(port, LOOP % (LOOKUPS, LOOKUPS)), workers=1)
    (worker,) = nginx.workers

    async def run() -> int:
        response = await send(port)
        assert response.body == str(LOOKUPS).encode()
        report(f"{response.text('x-nanoseconds')} ns per lookup")
        return resident(worker)

    # The first run fills what is kept: compiled code, strings, the worker's copies of addresses.
    first = [await run() for _ in range(2)][-1]
    last = [await run() for _ in range(4)][-1]
    # A byte for each lookup would be four million.
    assert last - first < LOOKUPS


ENDLESS = """
    local sticky = require "resty.sticky_learn"
    if ngx.var.arg_go then
        while true do
            for number = 1, 2000 do
                sticky.bind("sessions", "id " .. number, "10.0.0." .. math.random(1, 9) .. ":80")
                if number % 7 == 0 then
                    sticky.forget("sessions", "id " .. number)
                end
            end
        end
    end
    local found = 0
    for number = 1, 2000 do
        local id = "id " .. number
        assert(sticky.bind("sessions", id, "10.0.0.10:80"))
        if sticky.lookup("sessions", id) == "10.0.0.10:80" then
            found = found + 1
        end
    end
    ngx.header["X-Worker"] = ngx.worker.pid()
    ngx.header.content_length = #tostring(found)
    ngx.print(found)
"""


async def test_a_worker_that_is_killed_in_a_call_leaves_the_zone_whole(nginx):
    (port,) = free_ports(1)
    nginx.modules = LUA + nginx.modules
    nginx.allowed.append(KILLED)
    nginx.start(page(port, ENDLESS), workers=1)
    for _ in range(20):
        (worker,) = nginx.workers
        ticks = cpu(worker)
        sending = asyncio.ensure_future(send(port, path="/?go=1"))
        # It has begun, and is anywhere in its loop.
        await until(lambda: cpu(worker) > ticks + random.randint(0, 5))
        nginx.kill_worker(worker)
        await asyncio.wait([sending])
        assert sending.exception() is not None
        assert (await send(port)).body == b"2000"


def cpu(pid: int) -> int:
    """Ticks (10 ms) that a process has run."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
