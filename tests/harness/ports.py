"""Ports that nobody listens on."""

import random
import socket

# Below those that the kernel gives to connections, of which the tests make thousands.
RANGE = range(12_000, 30_000)


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(RANGE, len(RANGE)):
        if len(found) == count:
            break
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
