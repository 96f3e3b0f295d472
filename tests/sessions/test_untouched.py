"""An upstream without any directive of ours: not one instruction of ours for its requests. callgrind sees them all."""

import asyncio
import re
import shutil
import subprocess

import pytest

from harness.clients.http import send
from harness.conf import STREAMING, listen
from harness.nginx import environment
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas

pytestmark = pytest.mark.skipif(not shutil.which("callgrind_control"), reason="no valgrind")

REQUESTS = 20


async def instructions_of_ours(nginx, http: str, port: int) -> int:
    """What the module's object has executed while requests were answered."""
    nginx.configure(http, workers=1)
    conf = nginx.home / "nginx.conf"
    # The variables are ours.
    text = re.sub(r"^ *add_header X-Sticky .*$|\"\$upstream_sticky_status\"", "", conf.read_text(), flags=re.MULTILINE)
    conf.write_text("master_process off; daemon off;" + text)
    counted = nginx.home / "callgrind"
    process = await asyncio.create_subprocess_exec(
        *("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counted}", "--quiet"),
        *nginx._command(),
        env=environment(),
    )

    async def answers() -> bool:
        try:
            return (await send(port)).status == 200
        except ConnectionRefusedError:
            return False

    async def control(order: str) -> None:
        done = await asyncio.create_subprocess_exec("callgrind_control", order, str(process.pid))
        assert await done.wait() == 0

    try:
        await until(answers)
        await control("--instr=on")
        statuses = {(await send(port)).status for _ in range(REQUESTS)}
        await control("--instr=off")
        await control("--dump")
        assert statuses == {200}
    finally:
        process.terminate()
        await process.wait()

    dumped = "".join(path.read_text() for path in nginx.home.glob("callgrind*"))
    assert "ngx_http_upstream_get_round_robin_peer" in dumped
    annotate = ["callgrind_annotate", "--threshold=100", *nginx.home.glob("callgrind.1")]
    done = subprocess.run(annotate, capture_output=True, text=True, check=True)
    ours = re.findall(r"^\s*([\d,]+).*\[\S*ngx_http_sticky_learn_module\.so\]", done.stdout, re.MULTILINE)
    return sum(int(count.replace(",", "")) for count in ours)


async def test_nothing_of_ours_is_executed(nginx):
    port, other = free_ports(2)
    async with replicas(2) as (first, second):
        beside = f"upstream cookies {{ sticky cookie srv; server {first.address}; }}" + listen(other, "cookies")
        count = await instructions_of_ours(
            nginx,
            f"""upstream plain {{
                zone plain 128k;
                server {first.address} route=a;
                server {second.address} drain;
                keepalive 4;
            }}"""
            + listen(port, "plain", STREAMING)
            + beside,
            port,
        )
        assert count == 0


@pytest.mark.plus_syntax
async def test_which_would_be_seen(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as (first,):
        count = await instructions_of_ours(
            nginx, f"upstream u {{ sticky cookie srv; server {first.address}; }}" + listen(port, "u", STREAMING), port
        )
    assert count > REQUESTS
