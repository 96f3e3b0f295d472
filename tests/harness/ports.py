"""Ports that nobody listens on."""

import random
import socket

# Below those that the kernel gives to connections, of which the tests make thousands.
RANGE = range(12_000, 30_000)

# Those that have been given away: who has one may not listen yet.
_taken: set[int] = set()


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
