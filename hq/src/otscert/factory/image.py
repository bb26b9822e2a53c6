"""An unpacked image, looked at from outside: links lead where they would lead on the box, never out of the image.

Knows paths, kinds and modes. Does not know what must not be in an image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from otscert.factory.errors import FactoryError

_MOST_LINKS = 40
_MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The folder that would be `/` on the box."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Image:
        """Raise `FactoryError` unless it can be an image."""
        if not root.is_dir():
            raise FactoryError(f"{root} is not a folder: unpack or mount the image's root file system there")
        if not any((root / name).is_dir() for name in ("etc", "usr", "bin")):
            raise FactoryError(f"{root} has none of etc, usr and bin: name the folder that is / on the box")
        return cls(root=root)

    def real(self, path: str) -> Path | None:
        """Where the path of the box is here, links followed inside of the image; None when it leads nowhere."""
        here, rest, links = PurePosixPath("/"), list(PurePosixPath(path).parts[1:])[::-1], 0
        while rest:
            part = rest.pop()
            if part == "..":
                here = here.parent
                continue
            target = self.root / here.relative_to("/") / part
            try:
                if not target.is_symlink():
                    target.lstat()
                    here /= part
                    continue
                pointed = PurePosixPath(target.readlink())
            except OSError:
                return None
            links += 1
            if links > _MOST_LINKS:
                return None
            if pointed.is_absolute():
                here, pointed = PurePosixPath("/"), pointed.relative_to("/")
            rest += [each for each in reversed(pointed.parts) if each != "."]
        return self.root / here.relative_to("/")

    def shown(self, path: Path) -> str:
        """The path as it is on the box."""
        return f"/{path.relative_to(self.root)}"

    def files(self) -> Iterator[Path]:
        """Every regular file; other file systems are not entered, and what cannot be opened raises `FactoryError`."""
        for folder, files, _ in self._folders():
            for name in files:
                path = folder / name
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path

    def mounts(self) -> Iterator[Path]:
        """The folders where another file system begins."""
        for folder, _, mounted in self._folders():
            yield from (folder / name for name in mounted)

    def _folders(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Each folder of this file system, the files in it, and those folders in it that are another one's."""
        device = self.root.stat().st_dev
        for folder, names, files in os.walk(self.root, onerror=_refuse, followlinks=False):
            here = {name for name in names if (Path(folder) / name).lstat().st_dev == device}
            mounted = sorted(set(names) - here)
            names[:] = sorted(here)
            yield Path(folder), sorted(files), mounted

    def read(self, path: Path) -> bytes | None:
        """The beginning of a regular file; None when it is none or cannot be read."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(_MOST_BYTES) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        except OSError:
            return None


def _refuse(error: OSError) -> None:
    raise FactoryError(f"{error.filename} cannot be opened ({error.strerror}): run this as a user that can, or as root")
