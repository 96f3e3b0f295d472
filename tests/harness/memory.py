"""Reads the memory that the workers of an nginx share."""

import re
from pathlib import Path


def shared_memory(pid: int) -> list[bytes]:
    """The shared mappings of a process without a file, the zones among them: nginx's and the module's."""
    regions = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, mode, *_ = line.split(maxsplit=2)
            if mode[3] != "s" or not re.search("/dev/zero|/memfd:", line):
                continue
            begin, end = (int(address, 16) for address in addresses.split("-"))
            memory.seek(begin)
            regions.append(memory.read(end - begin))
    return regions
