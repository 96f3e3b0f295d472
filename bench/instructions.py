"""Instructions per request, counted by callgrind: they do not wander as times do."""

import re
import subprocess
import time

from balancers import start
from load import Load

WARM_UP = 1000
REQUESTS = 5000


def count(balancer, backend, directory, load_binary, sessions):
    """User-space instructions of one request, through one client connection, in a single process.

    Counting is off while the sessions are made. What the process does unasked (timers) is counted
    for a while without requests and taken off: under callgrind, which is slow, far more of it falls
    on a request than in truth. It is returned as instructions per second.
    """
    out = directory / f"{balancer.name}.callgrind"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    server = start(balancer, backend, directory, 1, sessions, under=valgrind)
    load = Load(load_binary, server.port)
    try:
        if balancer.sticky:
            load.create(0, sessions, 16)
        control(server, "--instr=on")
        load.request(WARM_UP, sessions, 1)
        begin = time.monotonic()
        control(server, "--dump=warm")
        outcome = load.request(REQUESTS, sessions, 1)
        control(server, "--dump=requests")
        busy_seconds = time.monotonic() - begin
        begin = time.monotonic()
        time.sleep(3)
        control(server, "--dump=idle")
        idle_seconds = time.monotonic() - begin
    finally:
        load.stop()
        server.stop()
    totals = {}
    for file in directory.glob(f"{out.name}.*"):
        text = file.read_text()
        trigger = re.search(r"^desc: Trigger: dump (\w+)", text, re.M)
        if trigger:
            totals[trigger[1]] = int(re.search(r"^totals: (\d+)", text, re.M)[1])
    idle = totals["idle"] / idle_seconds
    return {
        "per_request": (totals["requests"] - idle * busy_seconds) / REQUESTS,
        "idle_per_second": idle,
        "misrouted": outcome["misrouted"],
        "failed": outcome["failed"],
    }


def control(server, order):
    subprocess.run(
        ["callgrind_control", order, str(server.child.pid)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
