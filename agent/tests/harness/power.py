"""A folder that loses power: records what `disk` does, and rebuilds what a power cut after any operation leaves.

The model is stricter than most file systems: data is durable after fsync of the file, a name (new, renamed, removed)
after fsync of its folder, and nothing else is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from otscert_agent.disk import FileOps


class Loss(Enum):
    """What the power cut takes."""

    ALL_UNSYNCED = "names and data that were not synced are gone"
    UNSYNCED_DATA = "all names are there, files that were not synced are empty"
    NOTHING = "as after kill -9: everything that was written is there"


@dataclass
class Node:
    kind: str  # file | dir | link
    data: bytes = b""
    synced: bytes = b""
    target: str = ""


@dataclass
class Operation:
    name: str
    path: Path
    other: Path | None = None
    data: bytes = b""
    before: Any = None  # what the world outside knew when this operation began
    after_previous: Any = None


@dataclass
class Folder:
    """Names and nodes, once as the running system sees them and once as the platter has them."""

    live: dict[Path, Node] = field(default_factory=dict)
    durable: dict[Path, Node] = field(default_factory=dict)

    def apply(self, operation: Operation) -> None:
        path, other = operation.path, operation.other
        if operation.name == "mkdir":
            self.live[path] = Node("dir")
        elif operation.name == "write":
            node = self.live.get(path)
            if node is None:
                node = self.live[path] = Node("file")
            node.data = operation.data
        elif operation.name == "blank":  # in place, and synced by the operation itself
            self.live[path].data = self.live[path].synced = bytes(len(self.live[path].data))
        elif operation.name == "symlink":
            self.live[path] = Node("link", target=operation.data.decode())
        elif operation.name == "rename":
            assert other is not None
            self.live[other] = self.live.pop(path)
        elif operation.name in {"unlink", "rmdir"}:
            del self.live[path]
        else:
            self._fsync(path)

    def _fsync(self, path: Path) -> None:
        node = self.live.get(path)
        if node is not None and node.kind == "file":
            node.synced = node.data
            return
        for name in {*self.live, *self.durable}:
            if name.parent == path and name != path:
                if name in self.live:
                    self.durable[name] = self.live[name]
                else:
                    self.durable.pop(name, None)

    def left_after(self, loss: Loss) -> dict[str, tuple[str, bytes]]:
        """Name -> (kind, content) that a boot finds; names below a lost folder are lost with it."""
        names = self.durable if loss is Loss.ALL_UNSYNCED else self.live
        found: dict[str, tuple[str, bytes]] = {}
        for path in sorted(names):
            node = names[path]
            parents_there = all(parent == Path() or str(parent) in found for parent in path.parents)
            if parents_there:
                data = node.data if loss is Loss.NOTHING else node.synced
                found[str(path)] = (node.kind, node.target.encode() if node.kind == "link" else data)
        return found


class RecordingOps(FileOps):
    """The real operations, written down. `world` is called before each, to know what HQ knew then."""

    def __init__(self, root: Path, world: Callable[[], Any]) -> None:
        self.operations: list[Operation] = []
        self.root = root
        self._world = world
        self._last: Any = None

    def mkdir(self, path: Path) -> None:
        self._do("mkdir", super().mkdir, path)

    def write(self, path: Path, data: bytes) -> None:
        self._do("write", super().write, path, data)

    def blank(self, path: Path) -> None:
        self._do("blank", super().blank, path)

    def fsync(self, path: Path) -> None:
        self._do("fsync", super().fsync, path)

    def rename(self, source: Path, target: Path) -> None:
        self._do("rename", super().rename, source, target)

    def symlink(self, target: str, path: Path) -> None:
        self._do("symlink", lambda where: FileOps.symlink(self, target, where), path, data=target.encode())

    def unlink(self, path: Path) -> None:
        self._do("unlink", super().unlink, path)

    def rmdir(self, path: Path) -> None:
        self._do("rmdir", super().rmdir, path)

    def _do(self, name: str, call: Callable[..., None], path: Path, *arguments: Any, data: bytes = b"") -> None:
        before, previous = self._world(), self._last
        call(path, *arguments)  # an operation that fails changes nothing and is not written down
        other = arguments[0].relative_to(self.root) if name == "rename" else None
        content = arguments[0] if name == "write" else data
        relative = path.relative_to(self.root)
        self.operations.append(Operation(name, relative, other, content, before=before, after_previous=previous))
        self._last = self._world()


def read(root: Path) -> Folder:
    """A folder as it is now, all of it durable: where a recording begins."""
    folder = Folder()
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_symlink():
            folder.live[relative] = Node("link", target=str(path.readlink()))
        elif path.is_dir():
            folder.live[relative] = Node("dir")
        else:
            data = path.read_bytes()
            folder.live[relative] = Node("file", data, data)
    folder.durable = dict(folder.live)
    return folder


def cuts(begin: Folder, operations: list[Operation]) -> list[tuple[int, Loss, dict[str, tuple[str, bytes]], Any]]:
    """Every distinct (folder, world) that a power cut during `operations` can leave."""
    folder = copy.deepcopy(begin)
    found = []
    seen: set[int] = set()
    for index, operation in enumerate(operations):
        for loss in Loss:
            left = folder.left_after(loss)
            for world in (operation.after_previous, operation.before):
                key = hash(
                    (frozenset((name, node) for name, node in left.items() if "status.json" not in name), id(world))
                )
                if world is not None and key not in seen:
                    seen.add(key)
                    found.append((index, loss, left, world))
        folder.apply(operation)
    return found


def rebuild(root: Path, left: dict[str, tuple[str, bytes]]) -> None:
    root.mkdir()
    for name, (kind, content) in left.items():
        path = root / name
        if kind == "dir":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(content.decode())
        else:
            path.write_bytes(content)
