"""The file of a zone, as it is on the disk: affinity/src/file/header.rs has its layout."""

import hashlib
import os
import random
import struct
import zlib
from pathlib import Path

HEADER = 4096
BOOT = slice(48, 64)
COVERED, CHECK, CLOCK, CLOSED = 92, slice(92, 96), slice(96, 104), slice(104, 112)
IDENTITY = slice(HEADER, HEADER + 56)
PAGE = 4096
TABLE_FORMAT = slice(88, 92)


def _check(data: bytearray) -> None:
    data[CHECK] = struct.pack("=I", zlib.crc32(data[:COVERED] + data[IDENTITY]))


class ZoneFile:
    def __init__(self, path: Path):
        self.path = path

    def state(self) -> object:
        """Content and time of change."""
        if not self.path.is_file() or self.path.is_symlink():
            return os.lstat(self.path)[:3] if os.path.lexists(self.path) else None
        return hashlib.sha256(self.path.read_bytes()).digest(), self.path.stat().st_mtime_ns

    def _edit(self, change) -> None:
        data = bytearray(self.path.read_bytes())
        change(data)
        with self.path.open("r+b") as file:
            file.truncate(len(data))
            file.write(data)

    def set_boot(self, boot: bytes) -> None:
        def change(data: bytearray) -> None:
            data[BOOT] = boot
            _check(data)

        self._edit(change)

    def write_format_before(self) -> None:
        """The table's format before: its sessions have no sums in the upper three bits of their meta words."""

        def change(data: bytearray) -> None:
            shards, buckets = struct.unpack_from("=II", data, HEADER + 12)
            bodies = HEADER + 256 + shards * 384
            for line in range(bodies, bodies + shards * buckets * 128, 64):
                for at in range(line + 28, line + 40, 4):
                    data[at + 3] &= 0x1F
            data[TABLE_FORMAT] = data[HEADER + 8 : HEADER + 12] = struct.pack("=I", 7)
            data[CLOSED] = bytes(8)
            _check(data)

        self._edit(change)

    def move_clock(self, seconds: float) -> None:
        """As if the time of day had been so much later when the file was written."""

        def change(data: bytearray) -> None:
            (clock,) = struct.unpack("=Q", data[CLOCK])
            data[CLOCK] = struct.pack("=Q", (clock + int(seconds * 1000)) & (1 << 64) - 1)

        self._edit(change)

    def flip(self, at: int) -> None:
        self._edit(lambda data: data.__setitem__(at, data[at] ^ 16))

    def damage(self, how: str) -> None:
        chance = random.Random(7)

        def change(data: bytearray) -> None:
            table = range(HEADER + 4096, len(data) - 8192)
            match how:
                case "flips":
                    for _ in range(40):
                        data[chance.choice(table)] ^= 1 << chance.randrange(8)
                case "zeros":
                    for _ in range(20):
                        page = chance.choice(table) // PAGE * PAGE
                        data[page : page + PAGE] = bytes(PAGE)
                case "cut":
                    # In the last third are the summaries and the servers' counters; the list of servers is at the end.
                    del data[len(data) - 6 * 1024 :]
                case "cut_much":
                    # Without the list of servers no session is whole.
                    del data[len(data) // 2 :]
                case "longer":
                    data += bytes(5000)

        self._edit(change)

    def restore(self, copy: bytes) -> None:
        """As from a backup, to a new file."""
        path = self.path.with_name("copied")
        path.write_bytes(copy)
        path.rename(self.path)

    def hold_all_locks(self) -> int:
        """Writes an owner that does not live into each mutex; returns how many there are. A free mutex of glibc has no
        lock word, no owner and no users, and its kind says that it is robust and shared."""
        found = []

        def change(data: bytearray) -> None:
            # Those of the list of servers and of the shards are at the start of the table.
            for at in range(HEADER, HEADER + 16 * 1024, 8):
                lock, _, owner, users, kind = struct.unpack_from("=IIIII", data, at)
                if (lock, owner, users, kind) == (0, 0, 0, 0x90):
                    struct.pack_into("=IIIII", data, at, 0x3FFF_FFF0, 1, 0x3FFF_FFF0, 1, 0x90)
                    found.append(at)

        self._edit(change)
        return len(found)

    def become(self, what: str) -> None:
        path = self.path
        path.parent.mkdir(mode=0o700, exist_ok=True)
        match what:
            case "foreign":
                path.write_bytes(b"#!/bin/sh\necho a file of somebody else\n" * 500)
            case "empty":
                path.write_bytes(b"")
            case "zeros":
                path.write_bytes(bytes(1 << 20))
            case "folder":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "link":
                (path.parent / "target").write_bytes(b"")
                path.symlink_to("target")
            case "big_endian":
                self._edit(lambda data: data.__setitem__(slice(8, 12), data[8:12][::-1]))
            case "newer":
                self._edit(lambda data: data.__setitem__(slice(12, 16), struct.pack("=I", 9)))
            case "owner":
                os.chown(path, 12345, 12345)
            case "folder_owner":
                os.chown(path.parent, 12345, 12345)
            case "open_folder":
                path.parent.chmod(0o777)
            case "link_to_nowhere":
                path.parent.rmdir()
                path.parent.symlink_to("nowhere")
            case "file_as_folder":
                path.parent.rmdir()
                path.parent.write_bytes(b"")
            case "new_of_another":
                path.with_name("sessions.new").write_text("of somebody else\n")
