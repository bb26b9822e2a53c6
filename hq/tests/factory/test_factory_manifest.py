from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otscert.factory import reading
from otscert.factory.errors import FactoryError, ManifestRefused
from otscert.factory.manifest import MOST_UNITS, Header, ManifestWriter, Row, to_be_signed
from otscert.factory.reading import find_row, read_manifest
from otscert_agent.wire import b64
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.keys import Signer

Lines = list[bytes]


def header(signer: Signer, count: int, **changes: Any) -> Header:
    members: dict[str, Any] = {"model": "box", "batch": "b", "made_at": "2026-11-23T16:00:00Z"}
    return Header(**(members | changes), count=count, key=signer.public.raw)


def row(number: int) -> Row:
    secret = hashlib.sha256(b"%d" % number).digest()
    return Row(
        serial=f"SN-{number}",
        short_id=f"abcdefgh{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}{chr(97 + number // 676)}",
        public=Factory(secret).public,
        setup_hash=secret,
    )


def manifest(signer: Signer, count: int) -> bytes:
    file = io.BytesIO()
    writer = ManifestWriter(file, header(signer, count))
    for number in range(count):
        writer.add(row(number))
    writer.sign(signer)
    return file.getvalue()


def signed_again(lines: Lines, signer: Signer) -> bytes:
    """The lines with a good signature: what a tool that writes manifests could get wrong."""
    body = b"".join(lines)
    signature = signer.sign(to_be_signed(hashlib.sha256(body).digest()))
    return body + json.dumps({"signature": b64.encode(signature)}).encode() + b"\n"


def changed(line: bytes, **members: Any) -> bytes:
    return json.dumps({**json.loads(line), **members}).encode() + b"\n"


def test_what_was_written_is_read(tmp_path: Path, signer: Signer) -> None:
    path = tmp_path / "m"
    path.write_bytes(manifest(signer, 5))
    read = read_manifest(path, {signer.public})
    assert read.header == header(signer, 5)
    assert read.rows == tuple(row(number) for number in range(5))
    assert read.sha256 == hashlib.sha256(b"".join(path.read_bytes().splitlines(keepends=True)[:-1])).hexdigest()
    assert max(map(len, path.read_bytes().splitlines())) < reading.LONGEST_LINE / 2
    assert find_row(path, {signer.public}, "SN-3") == (read.header, row(3))
    assert find_row(path, {signer.public}, "SN-30") == (read.header, None)


def test_many_rows_are_judged_by_every_core_and_stay_in_order(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 7)
    path, told = tmp_path / "m", list[tuple[int, int]]()
    path.write_bytes(manifest(signer, 100))
    read = read_manifest(path, {signer.public}, lambda done, total: told.append((done, total)))
    assert read.rows == tuple(row(number) for number in range(100))
    assert told[-1] == (100, 100)
    lines = path.read_bytes().splitlines(keepends=True)[:-1]
    lines[60] = changed(lines[60], seal=b64.encode(bytes(32)))
    path.write_bytes(signed_again(lines, signer))
    with pytest.raises(ManifestRefused) as refused:
        read_manifest(path, {signer.public})
    assert (refused.value.line, refused.value.text) == (61, "the seal key is a point of small order")


@pytest.mark.parametrize(
    ("change", "line", "why"),
    [
        (lambda lines: [changed(lines[0], otscert_manifest=2), *lines[1:]], 1, "of version 2"),
        (lambda lines: [changed(lines[0], count=0), *lines[1:]], 1, "count is not"),
        (lambda lines: [changed(lines[0], count=True), *lines[1:]], 1, "count is not"),
        (lambda lines: [changed(lines[0], count="3"), *lines[1:]], 1, "count is not"),
        (lambda lines: [changed(lines[0], count=MOST_UNITS + 1), *lines[1:]], 1, "100000 is the most"),
        (lambda lines: [changed(lines[0], count=2), *lines[1:]], 5, "more than the 2 units"),
        (lambda lines: [changed(lines[0], count=4), *lines[1:]], 5, "ends after 5 of 6 lines"),
        (lambda lines: [changed(lines[0], model="a b"), *lines[1:]], 1, "model is 'a b'"),
        (lambda lines: [changed(lines[0], batch=7), *lines[1:]], 1, "batch is 7"),
        (lambda lines: [changed(lines[0], made_at=7), *lines[1:]], 1, "made_at"),
        (lambda lines: [changed(lines[0], more=1), *lines[1:]], 1, "exactly"),
        (lambda lines: [*lines[:2], changed(lines[2], serial="SN-0"), lines[3]], 3, "serial SN-0 is that of line 2"),
        (
            lambda lines: [*lines[:2], changed(lines[2], short_id=json.loads(lines[1])["short_id"]), lines[3]],
            3,
            "short_id abcdefghaaa is that of line 2",
        ),
        (
            lambda lines: [*lines[:3], changed(lines[3], sign=json.loads(lines[1])["sign"])],
            4,
            "is that of line 2, too",
        ),
        (
            lambda lines: [*lines[:3], changed(lines[3], seal=json.loads(lines[2])["seal"])],
            4,
            "is that of line 3, too",
        ),
        (lambda lines: [*lines[:3], changed(lines[3], sign=b64.encode(b"\x02" + bytes(31)))], 4, "not a point"),
        (lambda lines: [*lines[:3], changed(lines[3], sign=b64.encode(bytes(32)))], 4, "small order"),
        (lambda lines: [*lines[:3], changed(lines[3], sign=b64.encode(b"\xff" * 32))], 4, "canonical"),
        (lambda lines: [*lines[:3], changed(lines[3], seal=b64.encode(b"\xff" * 32))], 4, "canonical"),
        (lambda lines: [*lines[:3], changed(lines[3], seal=b64.encode(bytes(32)))], 4, "small order"),
        (lambda lines: [*lines[:3], changed(lines[3], seal="AA")], 4, "1 bytes long"),
        (lambda lines: [*lines[:3], changed(lines[3], setup=5)], 4, "setup is not a text"),
        (lambda lines: [*lines[:3], changed(lines[3], setup="=" * 43)], 4, "base64url"),
        (lambda lines: [*lines[:3], changed(lines[3], serial="../../etc/passwd")], 4, "serial is '../../etc/passwd'"),
        (lambda lines: [*lines[:3], changed(lines[3], serial="\x1b[2J")], 4, r"serial is '\x1b[2J'"),
        (lambda lines: [*lines[:3], changed(lines[3], short_id="AB")], 4, "short_id"),
        (lambda lines: [*lines[:3], changed(lines[3], more="oops")], 4, "exactly"),
        (lambda lines: [*lines[:3], b"[" * 900 + b"\n"], 4, "not JSON"),
        (lambda lines: [*lines[:3], b'{"serial":"a","serial":"b"}\n'], 4, "twice"),
        (lambda lines: [*lines[:3], b'{"serial":"\xff"}\n'], 4, "not JSON"),
        (lambda lines: [*lines[:3], b"\n"], 4, "not JSON"),
    ],
)
def test_a_signed_manifest_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, signer: Signer, change: Callable[[Lines], Lines], line: int, why: str
) -> None:
    lines = manifest(signer, 3).splitlines(keepends=True)[:-1]
    path = tmp_path / "m"
    path.write_bytes(signed_again(change(lines), signer))
    with pytest.raises(ManifestRefused) as refused:
        read_manifest(path, {signer.public})
    assert (refused.value.line, why in refused.value.text) == (line, True), str(refused.value)
    assert str(refused.value).startswith(f"{path}, line {line}: ")


def test_the_signature_is_looked_at_before_any_row(tmp_path: Path, signer: Signer) -> None:
    path = tmp_path / "m"
    lines = manifest(signer, 3).splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"[" * 900 + b"\n", *lines[2:]]))
    with pytest.raises(ManifestRefused, match="line 5: the signature is wrong"):
        read_manifest(path, {signer.public})


def test_one_changed_byte_anywhere_is_noticed(tmp_path: Path, signer: Signer) -> None:
    good = manifest(signer, 2)
    path = tmp_path / "m"
    for at in range(0, len(good), 7):
        data = bytearray(good)
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(ManifestRefused):
            read_manifest(path, {signer.public})


def test_half_a_file_is_refused_wherever_it_ends(tmp_path: Path, signer: Signer) -> None:
    good = manifest(signer, 2)
    path = tmp_path / "m"
    for end in range(0, len(good), 5):
        path.write_bytes(good[:end])
        with pytest.raises(ManifestRefused, match=r"cut off|empty"):
            read_manifest(path, {signer.public})


def test_another_factorys_key_is_named(tmp_path: Path, signer: Signer) -> None:
    path, other = tmp_path / "m", Signer.from_seed(b"2" * 32)
    path.write_bytes(manifest(other, 2))
    with pytest.raises(ManifestRefused) as refused:
        read_manifest(path, {signer.public})
    assert b64.encode(other.public.raw) in str(refused.value)
    assert "factory.manifest_keys" in str(refused.value)
    lines = manifest(signer, 2).splitlines(keepends=True)[:-1]
    path.write_bytes(signed_again(lines, other))  # the header names the trusted key, another one signs
    with pytest.raises(ManifestRefused, match="signature is wrong"):
        read_manifest(path, {signer.public})


@pytest.mark.parametrize("kind", ["lines", "one line", "zeros"])
def test_an_endless_file_is_refused_after_a_few_bytes(tmp_path: Path, signer: Signer, kind: str) -> None:
    path = tmp_path / "m"
    good = manifest(signer, 3)
    more = {"lines": good.splitlines(keepends=True)[1] * 20, "one line": b"x" * 5000, "zeros": bytes(5000)}[kind]
    with path.open("wb") as file:
        file.write(good + more)
        file.truncate(10**12)  # a hole: whoever reads it to its end needs an hour
    with pytest.raises(ManifestRefused, match=r"line [67]: (there is more|the line is longer)"):
        read_manifest(path, {signer.public})


def test_what_is_no_file_is_refused(tmp_path: Path, signer: Signer) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "nothing"):
        with pytest.raises(FactoryError, match="is not there, or is not a file"):
            read_manifest(tmp_path / name, {signer.public})


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 5)
    path = tmp_path / "m"
    path.write_bytes(manifest(signer, 200))

    def change_the_last_row(_done: int, _total: int) -> None:
        data = path.read_bytes()
        with path.open("r+b") as file:
            file.write(data.replace(b'"SN-199"', b'"SN-XXX"'))

    with pytest.raises(ManifestRefused, match="changed while it was read"):
        read_manifest(path, {signer.public}, change_the_last_row)
