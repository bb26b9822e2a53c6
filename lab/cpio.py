"""Writes initramfs archives (newc) whose bytes depend on nothing but what is put in. No I/O.

Knows the format of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Does not know what is in an
image, nor where it comes from.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
# Archives follow each other in one initramfs; the kernel skips the zeros between them.
BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member. `path` has no leading slash; `mode` holds the file's type too; `device` is (major, minor)."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(path: str, data: bytes, *, mode: int = 0o644) -> Entry:
    return Entry(path=path, mode=stat.S_IFREG | mode, data=data)


def program(path: str, data: bytes) -> Entry:
    return file(path, data, mode=0o755)


def folder(path: str) -> Entry:
    return Entry(path=path, mode=stat.S_IFDIR | 0o755)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, mode=stat.S_IFLNK | 0o777, data=target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    return Entry(path=path, mode=stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Return an archive of the entries in the order of their paths, with the folders that they lie in."""
    members = {entry.path: entry for entry in entries}
    for path in list(members):
        for parent in PurePosixPath(path).parents:
            members.setdefault(str(parent), folder(str(parent)))
    members.pop(".", None)
    # A parent sorts before what lies in it: its path is a prefix.
    parts = [_member(number, members[path]) for number, path in enumerate(sorted(members), 1)]
    parts.append(_member(0, Entry(path=TRAILER, mode=0)))
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % BLOCK_BYTES)


def _member(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\x00"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, device (2), device of a special file (2), namesize, check
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = MAGIC + b"".join(b"%08X" % value for value in fields) + name
    return head + bytes(-len(head) % 4) + entry.data + bytes(-len(entry.data) % 4)
