"""Instructions per request, counted by callgrind. Unlike times, they are almost the same in each run."""

import re
import subprocess
import time

from balancers import start
from load import Load

WARM_UP = 1000
REQUESTS = 5000
# The function of nginx that calls the handlers of timers.
TIMERS = "ngx_event_expire_timers"


def count(balancer, backend, directory, load_binary, sessions, keep):
    """User-space instructions of one request, through one client connection, in a single process.
    Keeps the profile in a file, for callgrind_annotate.

    Counting is off while the sessions are created. The instructions of timers are subtracted: timers
    run by the clock, and under callgrind, which is slow, there are far more of them per request than
    without it. Their cost is counted in a pause without requests and returned as instructions per second.
    """
    out = directory / f"{balancer.name}.callgrind"
    for old in directory.glob(f"{out.name}*"):
        old.unlink()
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    server = start(balancer, backend, directory, 1, sessions, under=valgrind)
    load = Load(load_binary, server.port)
    try:
        # Sessions are created through one connection, for round robin too. The cost of malloc and of the
        # search for an idle connection depends on earlier requests.
        load.open(1)
        load.create(0, sessions if balancer.sticky else WARM_UP)
        control(server, "--instr=on")
        load.request(WARM_UP, sessions)
        control(server, "--dump=warm")
        outcome = load.request(REQUESTS, sessions)
        control(server, "--dump=requests")
        begin = time.monotonic()
        time.sleep(3)
        control(server, "--dump=idle")
        idle_seconds = time.monotonic() - begin
    finally:
        load.stop()
        server.stop()
    profiles = {}
    for file in directory.glob(f"{out.name}.*"):
        text = file.read_text()
        if trigger := re.search(r"^desc: Trigger: dump (\w+)", text, re.M):
            profiles[trigger[1]] = text
    keep.write_text(profiles["requests"])
    return {
        "per_request": (total(profiles["requests"]) - called_by(profiles["requests"], TIMERS)) / REQUESTS,
        "idle_per_second": total(profiles["idle"]) / idle_seconds,
        # Totals of all requests, also of those before the counting.
        "misrouted": outcome["misrouted"],
        "failed": outcome["failed"],
    }


def total(profile):
    return int(re.search(r"^totals: (\d+)", profile, re.M)[1])


def called_by(profile, function):
    """The cost of all calls by a function. Format: valgrind's manual, "Callgrind Format Specification"."""
    cost, number, inside, is_call = 0, None, False, False
    for line in profile.splitlines():
        if line.startswith("fn="):
            # The first line with a name has its number and the name, later lines only the number.
            if line.endswith(f") {function}"):
                number = line.split(" ")[0]
            inside = number is not None and line.split(" ")[0] == number
        elif line.startswith("cfn=") and line.endswith(f") {function}"):
            number = line[1:].split(" ")[0]
        elif line.startswith("calls="):
            is_call = True
        elif is_call:
            is_call = False
            cost += int(line.split(" ")[1]) if inside else 0
    return cost


def control(server, command):
    subprocess.run(
        ["callgrind_control", command, str(server.child.pid)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
