"""Every write to the state folder, and nothing else.

Knows how a file, a folder and a symlink become durable and atomic: temporary name, fsync, rename, fsync of the folder.
Files are 0600, folders 0700. Does not know what is written. Tests hand in `FileOps` that record each operation, and
rebuild the folder as a power cut after any of them would leave it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from otscert_agent.errors import StateError

_CURRENT = "current"
_PAIRS = "pairs"
_LONGEST = 1024 * 1024  # of what is read; nothing of the agent's own comes near


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that the agent may have written; raise `StateError` for a pipe, or what is huge."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)  # of a pipe it would wait for the other end
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= _LONGEST:
        return descriptor
    os.close(descriptor)
    raise StateError(f"{path} is no file of the agent's; remove it")


def read_own(path: Path) -> bytes:
    """The bytes of such a file."""
    with os.fdopen(open_own(path), "rb") as file:
        return file.read()


class FileOps:
    """The system calls that change the folder, one method each."""

    def mkdir(self, path: Path) -> None:
        path.mkdir(mode=0o700)

    def write(self, path: Path, data: bytes) -> None:
        """Create or truncate `path` (0600) and write `data`, all of it; durable only after `fsync`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # it may be a pipe
        # With a buffer, which writes again what the last block of a disk that is almost full did not take.
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)

    def blank(self, path: Path) -> None:
        """Overwrite the file's bytes where they lie: what is only unlinked is still in an image of the partition."""
        self.blank_open(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))

    def blank_open(self, descriptor: int) -> None:
        """The same with a file that may have lost its name; closes `descriptor`."""
        with os.fdopen(descriptor, "wb") as file:
            file.write(bytes(min(os.fstat(descriptor).st_size, _LONGEST)))
            file.flush()
            os.fsync(descriptor)

    def fsync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def symlink(self, target: str, path: Path) -> None:
        path.symlink_to(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def rmdir(self, path: Path) -> None:
        path.rmdir()


class Disk:
    """The state folder. One instance per folder; `lock` keeps other processes out."""

    def __init__(self, root: Path, ops: FileOps | None = None) -> None:
        self.root = root
        self._ops = ops or FileOps()
        self._lock: int | None = None

    @property
    def current(self) -> Path:
        """The symlink to the pair in use; it is swapped atomically."""
        return self.root / _CURRENT

    def prepare(self) -> None:
        """Make the folder usable; raise `StateError` when it cannot be written."""
        self.make()
        if (self.root / _PAIRS).is_symlink():  # what is dropped below it would be somebody else's
            raise StateError(f"{self.root / _PAIRS} is a link, which the agent has not made; remove it")
        try:
            if not (self.root / _PAIRS).is_dir():
                self._ops.mkdir(self.root / _PAIRS)
                self._ops.fsync(self.root)
        except OSError as error:
            raise StateError(f"the state folder {self.root} cannot be used: {error.strerror}") from None

    def make(self) -> None:
        """Make the folder itself, empty; raise `StateError` when that cannot be."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"the state folder {self.root} cannot be used: {error.strerror}") from None

    def lock(self, inherited: int | None = None) -> int:
        """Take the folder's lock (or adopt an inherited descriptor); raise `StateError` when another agent has it."""
        descriptor = inherited
        if descriptor is None:
            with self._translated("lock"):
                descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StateError(f"another agent is running on {self.root}") from None
        self._lock = descriptor
        return descriptor

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self, name: str) -> bytes | None:
        """The file's bytes, or None when it does not exist."""
        path = self.root / name
        try:
            return read_own(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror}") from None

    def write(self, name: str, data: bytes, *, wipe: bool = False) -> None:
        """Replace the file durably: after the return a power cut finds `data`, before it the old bytes or `data`.

        With `wipe` the old bytes are overwritten, once no power cut can bring them back as the file.
        """
        with self._translated(name):
            path = self.root / name
            with self._wiping(path if wipe else None):
                self._write_new(path, data)
                self._ops.fsync(self.root)

    def note(self, name: str, data: bytes) -> None:
        """Replace a file that may be lost: atomic for readers, not durable (nothing depends on it)."""
        with self._translated(name):
            temporary = self.root / (name + ".tmp")
            self._ops.write(temporary, data)
            self._ops.rename(temporary, self.root / name)

    def install_pair(self, files: Mapping[str, bytes]) -> Path:
        """Write `files` as a new version and make it current. Returns the version's folder."""
        with self._translated(_PAIRS):
            folder = self.root / _PAIRS / f"{self._latest() + 1:06d}"
            self._ops.mkdir(folder)
            for name, data in files.items():
                self._ops.write(folder / name, data)
                self._ops.fsync(folder / name)
            self._ops.fsync(folder)
            self._ops.fsync(folder.parent)
            self.point_to(folder)
            return folder

    def point_to(self, folder: Path) -> None:
        """Make `folder` (a version that is complete) the current pair, atomically and durably."""
        with self._translated(_CURRENT):
            temporary = self.root / (_CURRENT + ".tmp")
            with contextlib.suppress(FileNotFoundError):  # left by a power cut between the two calls below
                self._ops.unlink(temporary)
            self._ops.symlink(f"{_PAIRS}/{folder.name}", temporary)
            self._ops.rename(temporary, self.current)
            self._ops.fsync(self.root)

    def current_pair(self) -> Path | None:
        """The folder of the pair in use, resolved once so that key and chain come from the same version."""
        try:
            target = self.current.readlink()
        except OSError:
            return None
        ours = target.parent == Path(_PAIRS) and target.name.isdigit()
        return self.root / target if ours else None

    def versions(self) -> list[Path]:
        """The folders of all pairs, the oldest first; the last may be what a power cut left of an installation."""
        try:
            found = sorted((self.root / _PAIRS).iterdir())
            return [path for path in found if path.name.isdigit() and path.is_dir() and not path.is_symlink()]
        except OSError as error:
            raise StateError(f"{_PAIRS} in {self.root} cannot be read: {error.strerror}") from None

    def entries(self) -> list[Path]:
        """Everything in the folder, unsorted."""
        with self._translated("the folder"):
            return list(self.root.iterdir())

    def remove(self, path: Path) -> None:
        """Remove `path` (in this folder) with everything below it, durably; files are overwritten before."""
        with self._translated(path.name):
            self._wipe(path)
            self._ops.fsync(path.parent)

    def _wipe(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            for below in list(path.iterdir()):
                self._wipe(below)
            self._ops.rmdir(path)
            return
        if path.is_file() and not path.is_symlink():
            self._ops.blank(path)
        self._ops.unlink(path)

    def drop_pairs(self, *, keep_current: bool) -> None:
        """Remove all versions but the current one, or that one too (reset: the symlink goes first)."""
        with self._translated(_PAIRS):
            kept = self.current_pair() if keep_current else None
            if not keep_current and self.current.is_symlink():
                self._ops.unlink(self.current)
                self._ops.fsync(self.root)
            dropped = [folder for folder in self.versions() if kept is None or folder.name != kept.name]
            for folder in dropped:
                self._remove(folder)
            if dropped:  # a key that was dropped must not be back after a power cut
                self._ops.fsync(self.root / _PAIRS)

    def _remove(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError):  # as in `_wiping`
                    self._ops.blank(path)
            self._ops.unlink(path)
        self._ops.rmdir(folder)

    @contextlib.contextmanager
    def _wiping(self, path: Path | None) -> Iterator[None]:
        """Overwrite what `path` is now, once it was replaced. A disk that cannot do that forgets no less for it."""
        old = None
        if path is not None:
            with contextlib.suppress(OSError, StateError):  # not there, or no file of the agent's
                old = open_own(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            yield
        except BaseException:
            if old is not None:
                os.close(old)
            raise
        if old is not None:
            with contextlib.suppress(OSError):
                self._ops.blank_open(old)

    def _write_new(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        self._ops.write(temporary, data)
        self._ops.fsync(temporary)
        self._ops.rename(temporary, path)

    def _latest(self) -> int:
        return max((int(path.name) for path in (self.root / _PAIRS).iterdir() if path.name.isdigit()), default=0)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(f"{what} in {self.root} cannot be written: {error.strerror}") from None
