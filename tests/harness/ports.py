"""Ports that no process listens on."""

import os
import random
import socket

# Below those that the kernel gives to connections, of which the tests make thousands. Each process of pytest-xdist has a
# part of its own: a port that one has found free, another may not take before it is listened on.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
RANGE = range(12_000 + WORKER, 30_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))

# Ports already given to a caller, who may not listen on them yet.
_taken: set[int] = set()


def is_connected(port: int) -> bool:
    """Whether a connection to a port of this machine is open."""
    ending, established = f":{port:04X}", "01"
    with open("/proc/net/tcp") as lines:
        return any(fields[1].endswith(ending) and fields[3] == established for fields in map(str.split, lines))


def connecting_to(port: int) -> set[str]:
    """Local addresses from which a connection to a port of this machine is being tried."""
    ending, syn_sent = f":{port:04X}", "02"
    with open("/proc/net/tcp") as lines:
        return {fields[1] for fields in map(str.split, lines) if fields[2].endswith(ending) and fields[3] == syn_sent}


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(RANGE, len(RANGE)):
        if len(found) == count:
            break
        if port in _taken:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        _taken.add(port)
    return found
