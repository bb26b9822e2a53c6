"""Reads a manifest that anybody may have written: the signature first, then every row; memory stays bounded.

Every refusal names the line. Does not know which units HQ has already.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from otscert.domain.setup_code import HASH_BYTES
from otscert.factory.errors import FactoryError, ManifestRefused
from otscert.factory.manifest import MOST_UNITS, VERSION, Header, Row, to_be_signed
from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import FactoryPublic, check_seal_key, check_sign_key
from otscert_agent.wire.jws import json_object
from otscert_agent.wire.keys import ED25519, PublicKey

LONGEST_LINE = 1024
"""Bytes with the line feed; the longest honest line has 400."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
"""Models and batches."""
SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
"""Serial numbers: they are names of folders, columns of a table and text on a label."""
SHORT_ID = re.compile(r"[a-z2-7]{8,16}\Z")
_AT_ONCE = 2000


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest whose signature and rows are good. `sha256` (hex) is of everything before the signature."""

    header: Header
    rows: tuple[Row, ...]
    sha256: str


def read_manifest(
    path: Path, trusted: Collection[PublicKey], progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Manifest:
    """Read and judge the whole file; raise `FactoryError`. `progress` is told (rows read, rows promised)."""
    with _opened(path) as file:
        header, digest = _verified(file, trusted)
        file.seek(0)
        return _judged(file, header, digest, progress)


def find_row(path: Path, trusted: Collection[PublicKey], serial: str) -> tuple[Header, Row | None]:
    """The header of a manifest whose signature is good, and one unit of it; raise `FactoryError`."""
    with _opened(path) as file:
        header, _ = _verified(file, trusted)
        file.seek(0)
        mark = f'"serial":"{serial}"'.encode()
        for number, line in enumerate(_signed_lines(file, header, hashlib.sha256()), 2):
            if mark in line:
                return header, _row(line, number)
        return header, None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        if not path.is_file():
            raise FactoryError(f"{path} is not there, or is not a file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror}") from error
    except BrokenExecutor as error:
        raise FactoryError(f"{path}: a process that judges rows was ended, perhaps for want of memory") from error
    except ManifestRefused as error:
        raise ManifestRefused(error.text, error.line, str(path)) from error


def _verified(file: IO[bytes], trusted: Collection[PublicKey]) -> tuple[Header, bytes]:
    """The header and SHA-256 of what is signed, once a trusted key's signature over it is found to be good."""
    lines = _lines(file)
    first = next(lines, None)
    if first is None:
        raise ManifestRefused("the file is empty")
    header = _header(first)
    if header.key not in {key.raw for key in trusted}:
        raise ManifestRefused(
            f"it is signed by the key {b64.encode(header.key)}, which this HQ does not trust:"
            " when the key is your factory's, add it to factory.manifest_keys",
            line=1,
        )
    digest, last, number = hashlib.sha256(first), b"", 1
    for number, line in enumerate(lines, 2):
        digest.update(last)
        last = line
        if number > header.count + 2:
            raise ManifestRefused(
                f"there is more than the {header.count} units of the header and a signature", line=number
            )
    if number < header.count + 2:
        raise ManifestRefused(
            f"the file ends after {number} of {header.count + 2} lines: it was cut off; copy it again", line=number
        )
    signature = _b64(_members(last, {"signature"}, number=number), "signature", 64, number=number)
    try:
        PublicKey.from_raw(ED25519, header.key).verify(signature, to_be_signed(digest.digest()))
    except WireError:
        raise ManifestRefused("the signature is wrong: the file was changed after it was signed", line=number) from None
    return header, digest.digest()


def _judged(file: IO[bytes], header: Header, digest: bytes, progress: Callable[[int, int], None]) -> Manifest:
    """Every row, each unlike all the others."""
    again, rows, seen = hashlib.sha256(), list[Row](), _Seen()
    for first, part in _judged_parts(_signed_lines(file, header, again), header.count):
        for line, row in enumerate(part, first):
            seen.add(row, line=line)
        rows += part
        progress(len(rows), header.count)
    if again.digest() != digest:  # what was verified is not what was read: somebody writes to the file
        raise ManifestRefused("the file changed while it was read; import it again when it is complete")
    return Manifest(header=header, rows=tuple(rows), sha256=digest.hex())


def _signed_lines(file: IO[bytes], header: Header, digest: Hash) -> Iterator[bytes]:
    """The lines of units; the header's and theirs go into `digest`."""
    for number, line in enumerate(_lines(file), 1):
        if number == header.count + 2:
            return
        digest.update(line)
        if number > 1:
            yield line


def _judged_parts(lines: Iterator[bytes], count: int) -> Iterator[tuple[int, list[Row]]]:
    """The rows in parts, each with its first line's number. Checking points is arithmetic, so every core takes part."""
    parts = ((2 + start, list(islice(lines, _AT_ONCE))) for start in range(0, count, _AT_ONCE))
    if count <= _AT_ONCE:
        yield from ((first, judge_rows(part, first)) for first, part in parts)
        return
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        waiting: deque[tuple[int, Future[list[Row]]]] = deque()
        try:
            for first, part in parts:
                waiting.append((first, pool.submit(judge_rows, part, first)))
                if len(waiting) > 2 * (os.cpu_count() or 1):
                    line, done = waiting.popleft()
                    yield line, done.result()
            yield from ((line, done.result()) for line, done in waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def judge_rows(lines: list[bytes], first: int) -> list[Row]:
    """Rows from their lines, the first of which has the number `first`; raise `ManifestRefused`."""
    return [_row(line, number) for number, line in enumerate(lines, first)]


class _Seen:
    """What may occur once, with the line where it did."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str | bytes, int]] = {}

    def add(self, row: Row, *, line: int) -> None:
        values: dict[str, str | bytes] = {
            "serial": row.serial,
            "short_id": row.short_id,
            "sign": row.public.sign.raw,
            "seal": row.public.seal,
        }
        for name, value in values.items():
            first = self._lines.setdefault(name, {}).setdefault(value, line)
            if first != line:
                text = value if isinstance(value, str) else b64.encode(value)
                raise ManifestRefused(f"{name} {text} is that of line {first}, too", line=line)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise ManifestRefused(f"the line is longer than {LONGEST_LINE} bytes: this is no manifest", line=number)
        if not line.endswith(b"\n"):
            raise ManifestRefused("the line has no end: the file was cut off; copy it again", line=number)
        yield line


def _header(line: bytes) -> Header:
    members = _members(line, {"otscert_manifest", "model", "batch", "count", "made_at", "key"}, number=1)
    version, count, made_at = members["otscert_manifest"], members["count"], members["made_at"]
    if version != VERSION:
        raise ManifestRefused(f"it is a manifest of version {version!r}; this release reads {VERSION}", line=1)
    if type(count) is not int or count < 1:
        raise ManifestRefused("count is not a number of units", line=1)
    if count > MOST_UNITS:
        raise ManifestRefused(
            f"it has {count} units, and {MOST_UNITS} is the most that is imported at once; stamp more batches", line=1
        )
    if not isinstance(made_at, str):
        raise ManifestRefused("made_at is not a text", line=1)
    return Header(
        model=_matching(members, "model", NAME, number=1),
        batch=_matching(members, "batch", NAME, number=1),
        count=count,
        made_at=made_at,
        key=_b64(members, "key", 32, number=1),
    )


def _row(line: bytes, number: int) -> Row:
    members = _members(line, {"serial", "short_id", "sign", "seal", "setup"}, number=number)
    sign_key, seal_key = _b64(members, "sign", 32, number=number), _b64(members, "seal", 32, number=number)
    try:
        public = FactoryPublic(sign=check_sign_key(sign_key), seal=check_seal_key(seal_key))
    except WireError as error:
        raise ManifestRefused(str(error), line=number) from None
    return Row(
        serial=_matching(members, "serial", SERIAL, number=number),
        short_id=_matching(members, "short_id", SHORT_ID, number=number),
        public=public,
        setup_hash=_b64(members, "setup", HASH_BYTES, number=number),
    )


def _members(line: bytes, names: set[str], *, number: int) -> dict[str, Any]:
    """The line's members, exactly those; a member more would be signed but not understood."""
    try:
        members = json_object(line, what="the line")
    except WireError as error:
        raise ManifestRefused(str(error), line=number) from None
    if set(members) != names:
        raise ManifestRefused(f"it must have exactly {', '.join(sorted(names))}", line=number)
    return members


def _matching(members: dict[str, Any], name: str, pattern: re.Pattern[str], *, number: int) -> str:
    value = members[name]
    if not isinstance(value, str) or not pattern.match(value):
        raise ManifestRefused(f"{name} is {value!r:.80}, which is not of the form {pattern.pattern}", line=number)
    return value


def _b64(members: dict[str, Any], name: str, length: int, *, number: int) -> bytes:
    value = members[name]
    if not isinstance(value, str):
        raise ManifestRefused(f"{name} is not a text", line=number)
    try:
        return b64.decode(value, length=length, what=name)
    except WireError as error:
        raise ManifestRefused(str(error), line=number) from None
