from __future__ import annotations

import csv
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from otscert.domain import setup_code
from otscert.factory.errors import FactoryError
from otscert.factory.reading import read_manifest
from otscert.factory.serials import chosen, counted, listed
from otscert.factory.stamping import Batch, stamp
from otscert.factory.unit_folder import Form, read_facts, read_secret
from otscert_agent.wire import b64
from otscert_agent.wire.keys import Signer

MakeBatch = Callable[..., Batch]


def line_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "line.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_batch_has_everything_and_its_parts_agree(stamped: Path, signer: Signer) -> None:
    assert sorted(path.name for path in stamped.iterdir()) == ["labels-1.pdf", "line.csv", "manifest.jsonl", "units"]
    manifest = read_manifest(stamped / "manifest.jsonl", {signer.public})
    assert (manifest.header.model, manifest.header.batch, manifest.header.count) == ("box", "batch-7", 3)
    line = line_of(stamped)
    assert [row["serial"] for row in line] == ["SN-1", "SN-2", "SN-3"]
    for row, told in zip(manifest.rows, line, strict=True):
        _, _, factory = read_secret(stamped / told["folder"])
        facts = read_facts(stamped / told["folder"])
        assert row.public == factory.public
        assert (facts.serial, facts.short_id) == (row.serial, row.short_id) == (told["serial"], told["short_id"])
        assert (facts.sign, facts.seal) == (b64.encode(row.public.sign.raw), b64.encode(row.public.seal))
        assert facts.url == told["url"] == f"https://hq.example.com/u/{row.short_id}"
        assert setup_code.matches(told["setup_code"], model="box", serial=row.serial, setup_hash=row.setup_hash)


def test_no_secret_is_where_it_does_not_belong(stamped: Path) -> None:
    line = line_of(stamped)
    secrets = [read_secret(stamped / row["folder"])[2].text() for row in line]
    codes = [row["setup_code"] for row in line]
    assert len({*secrets, *codes}) == 6
    for path in stamped.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_text(errors="replace")
        assert path.name == "factory.secret" or not any(secret in data for secret in secrets)
        assert path.name in {"line.csv", "labels-1.pdf"} or not any(
            code in data or code.replace("-", "") in data for code in codes
        )
    for row in line:
        assert row["setup_code"] not in row["url"]


def test_others_can_read_nothing_that_matters(stamped: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in stamped.rglob("*") if path.is_file()}
    assert modes["factory.secret"] == modes["line.csv"] == modes["labels-1.pdf"] == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (stamped, *stamped.rglob("*")) if path.is_dir()} == {0o700}


def test_a_maker_without_serial_numbers_gets_the_short_id(
    tmp_path: Path, make_batch: MakeBatch, signer: Signer
) -> None:
    stamp(make_batch(serials=None, count=5), tmp_path / "out", signer)
    assert all(row["serial"] == row["short_id"] for row in line_of(tmp_path / "out"))


def test_a_u_boot_environment_has_the_secret_and_the_serial(
    tmp_path: Path, make_batch: MakeBatch, signer: Signer
) -> None:
    stamp(make_batch(form=Form.UBOOT, hold=True), tmp_path / "out", signer)
    folder = tmp_path / "out" / "units" / "SN-2"
    assert sorted(path.name for path in folder.iterdir()) == ["hold", "uboot.env", "unit.json"]
    path, mode, factory = read_secret(folder)
    assert path.read_text() == f"otscert_factory={factory.text()}\notscert_serial=SN-2\n"
    assert stat.S_IMODE(mode) == 0o600


def test_two_batches_have_nothing_in_common(tmp_path: Path, make_batch: MakeBatch, signer: Signer) -> None:
    for name in ("a", "b"):
        stamp(make_batch(), tmp_path / name, signer)
    first, second = (json.dumps(line_of(tmp_path / name)) for name in ("a", "b"))
    assert first != second
    texts = [read_secret(tmp_path / name / "units" / "SN-1")[2].text() for name in ("a", "b")]
    assert len(set(texts)) == 2


def test_many_labels_are_many_sheets_and_the_line_knows_where_each_is(
    tmp_path: Path, make_batch: MakeBatch, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otscert.factory.stamping.A_SHEET", 42)
    told: list[tuple[str, int, int]] = []
    batch = make_batch(serials=None, count=85)
    stamp(batch, tmp_path / "out", signer, lambda what, done, total: told.append((what, done, total)))
    line = line_of(tmp_path / "out")
    assert [(line[at]["labels"], line[at]["page"]) for at in (0, 20, 21, 41, 42, 84)] == [
        ("labels-1.pdf", "1"),
        ("labels-1.pdf", "1"),
        ("labels-1.pdf", "2"),
        ("labels-1.pdf", "2"),
        ("labels-2.pdf", "1"),
        ("labels-3.pdf", "1"),
    ]
    assert len(list((tmp_path / "out").glob("labels-*.pdf"))) == 3
    assert told[-1] == ("labels", 85, 85)
    assert ("units", 85, 85) in told


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_is_there_is_never_replaced(tmp_path: Path, make_batch: MakeBatch, signer: Signer, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    elif kind == "file":
        out.touch()
    else:
        out.symlink_to("nowhere")
    with pytest.raises(FactoryError, match="exists"):
        stamp(make_batch(), out, signer)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_is_not_there_is_named(tmp_path: Path, make_batch: MakeBatch, signer: Signer) -> None:
    with pytest.raises(FactoryError, match=r"nowhere/out cannot be made: No such file or directory; nothing was left"):
        stamp(make_batch(), tmp_path / "nowhere" / "out", signer)


STAMP = """
import resource, sys
from pathlib import Path
from otscert.factory.errors import FactoryError
from otscert.factory.stamping import Batch, stamp
from otscert.factory.unit_folder import Form
from otscert_agent.wire.keys import Signer

def progress(what, done, total):
    if done == 5:
        print("five", flush=True)

limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
batch = Batch(model="box", name="b", made_at="", count=int(sys.argv[3]), serials=None,
              label_url="https://hq.example.com", form=Form.FILES, hold=False)
try:
    stamp(batch, Path(sys.argv[1]), Signer.from_seed(b"1" * 32), progress)
except FactoryError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("room", [10, 100, 600, 4000], ids=["secret", "description", "table", "labels"])
def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path, room: int) -> None:
    """A limit on the size of files fails writes as a full disk does, at another file each time."""
    command = [sys.executable, "-c", STAMP, str(tmp_path / "out"), str(room), "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "out cannot be made: File too large; nothing was left behind" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def end_this_process(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_helper_process_that_is_ended_leaves_nothing_half_done(
    tmp_path: Path, make_batch: MakeBatch, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otscert.factory.stamping.A_SHEET", 21)
    monkeypatch.setattr("otscert.factory.stamping._write_sheet", end_this_process)
    with pytest.raises(FactoryError, match="a process that draws labels was ended"):
        stamp(make_batch(serials=None, count=43), tmp_path / "out", signer)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing_half_done(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STAMP, str(tmp_path / "out"), "0", "5000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "five\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_there_is_no_batch_of_that_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STAMP, str(tmp_path / "out"), "0", "5000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "five\n"
        process.kill()
        process.wait(60)
    assert not (tmp_path / "out").exists()
    assert [path.name.endswith(".partial") for path in tmp_path.iterdir()] == [True]
    again = subprocess.run([*command[:-1], "2"], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "out" / "units").iterdir())) == 2


def test_serial_numbers_are_counted_with_as_many_digits() -> None:
    assert counted("SN-", "00098", 3) == ["SN-00098", "SN-00099", "SN-00100"]
    with pytest.raises(FactoryError, match="need 4 digits"):
        counted("SN-", "998", 3)
    with pytest.raises(FactoryError, match="not a number"):
        counted("SN-", "x1", 1)
    with pytest.raises(FactoryError, match="not a serial number"):
        counted("../", "1", 1)


def test_a_list_of_serial_numbers_is_read_with_its_lines() -> None:
    assert listed("A1\r\n\n  B2  \n", source="f") == ["A1", "B2"]
    assert chosen(["A1"], None, source="f") == ["A1"]
    for text, why in {
        "A1\nA1\n": "f, line 2: A1 is that of line 1, too",
        "A1\n=cmd()\n": "f, line 2: '=cmd()' is not a serial number",
        "../../etc": "line 1",
        "a b": "line 1",
        "x" * 65: "line 1",
        "\n \n": "f has no serial number",
    }.items():
        with pytest.raises(FactoryError, match=r"line|no serial") as caught:
            listed(text, source="f")
        assert why in str(caught.value)
    with pytest.raises(FactoryError, match="has 1 serial numbers, but --count is 2"):
        chosen(["A1"], 2, source="f")
