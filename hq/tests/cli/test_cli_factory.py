"""The maker's line from the command line: stamp, import while HQ runs, verify, lint."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import pytest

from otscert.cli.progress import Progress

Installation = Any  # the class lives in conftest.py, which cannot be imported


def stamp(at: Installation, *more: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = at.call("factory", "stamp", "--model", "box", *more)
    return done


@pytest.fixture
def served(installed: Installation) -> Any:
    """An HQ that runs and lets stamped units in; stopped at the end."""
    installed.edit('policies = ["token"]', 'policies = ["factory", "token"]')
    with installed.started("serve", "--json") as process:
        assert json.loads(process.stdout.readline())["kind"] == "ready"
        yield installed


def test_from_a_stamped_batch_to_a_unit_that_hq_knows(served: Installation) -> None:
    done = stamp(served, "--out", "b", "--count", "3", "--serial-prefix", "SN-", "--first-serial", "00041", "--hold")
    assert done.returncode == 0, done.stderr
    assert "Stamped 3 units" in done.stdout
    assert "Next: otscert factory import b/manifest.jsonl" in done.stdout
    assert "manifest_keys = [" in done.stdout
    unit = ("factory", "verify", "b/units/SN-00042")
    hello = ("--hq", f"https://127.0.0.1:{served.device_port}", "--root", "hq-data/pki/root.pem")
    before = served.call(*unit, *hello)
    assert before.returncode == 1
    assert "HQ does not have unit SN-00042" in before.stdout
    assert "in no manifest of this HQ" in before.stdout
    imported = served.call("factory", "import", "b/manifest.jsonl")
    assert (imported.returncode, imported.stderr) == (0, "")
    assert imported.stdout.startswith("Imported 3 units of model box, batch box-")
    assert imported.stdout.endswith("They may enrol now.\n")
    again = served.call("factory", "import", "b/manifest.jsonl", "--json")
    assert (again.returncode, json.loads(again.stdout)["outcome"]) == (0, "known")
    after = served.call(*unit, *hello, "--manifest", "b/manifest.jsonl", "--json")
    assert after.returncode == 0, after.stdout
    found = json.loads(after.stdout)
    assert [(each["check"], each["outcome"]) for each in found["findings"]] == [
        ("unit.secret", "ok"),
        ("unit.keys", "ok"),
        ("unit.hold", "ok"),
        ("manifest", "ok"),
        ("hq.table", "ok"),
        ("hq.hello", "ok"),
    ]
    secrets = [path.read_text().strip() for path in (served.folder / "b").rglob("factory.secret")]
    for said in (done, before, imported, again, after):
        assert not any(secret in said.stdout + said.stderr for secret in secrets)


def test_a_line_without_hq_needs_its_key_and_the_url_alone(empty: Installation) -> None:
    options = ("--key", "line.key", "--hq-url", "https://hq.example.com", "--count", "2")
    done = stamp(empty, "--out", "b", *options, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["units"], said["key_made"]) == (2, True)
    assert (empty.folder / "line.key").stat().st_mode & 0o777 == 0o600
    again = json.loads(stamp(empty, "--out", "c", *options, "--json").stdout)
    assert (again["key"], again["key_made"]) == (said["key"], False)
    (unit,) = list((empty.folder / "b" / "units").iterdir())[:1]
    verified = empty.call("factory", "verify", str(unit), "--manifest", "b/manifest.jsonl", "--key", "line.key")
    assert verified.returncode == 0, verified.stdout
    without = stamp(empty, "--out", "d", "--count", "2")
    assert without.returncode == 1
    assert without.stderr.startswith(f"otscert: no otscert.toml in {empty.folder}; --config FILE")
    assert sorted(path.name for path in empty.folder.iterdir()) == ["b", "c", "line.key"]


def test_an_hq_elsewhere_trusts_the_key_that_it_is_told(served: Installation, tmp_path_factory: Any) -> None:
    line = tmp_path_factory.mktemp("line")
    done = stamp(
        served,
        "--out",
        str(line / "b"),
        "--count",
        "2",
        "--hq-url",
        "https://x.example",
        "--key",
        str(line / "k"),
        "--json",
    )
    key = json.loads(done.stdout)["key"]
    refused = served.run("factory", "import", str(line / "b" / "manifest.jsonl"))
    assert refused.returncode == 1
    assert "no manifest key is trusted here" in refused.stderr
    trusting = {"OTSCERT_FACTORY_MANIFEST_KEYS": f"AAAA,{key}"}
    malformed = served.run("factory", "import", str(line / "b" / "manifest.jsonl"), env=trusting)
    assert "factory.manifest_keys has 'AAAA'" in malformed.stderr
    trusting = {"OTSCERT_FACTORY_MANIFEST_KEYS": key}
    imported = served.run("factory", "import", str(line / "b" / "manifest.jsonl"), env=trusting)
    assert imported.returncode == 0, imported.stderr
    other = {"OTSCERT_FACTORY_MANIFEST_KEYS": "_oROt8HgkARCkLxTak2yPhHrEkj2X9BPZTZfLoSt8z8"}
    refused = served.run("factory", "import", str(line / "b" / "manifest.jsonl"), env=other)
    assert refused.returncode == 1
    assert f"line 1: it is signed by the key {key}, which this HQ does not trust" in refused.stderr
    assert refused.stderr.rstrip().endswith("; nothing was imported")


def test_a_clash_with_another_batch_names_the_line(served: Installation) -> None:
    for name in ("a", "b"):
        assert stamp(served, "--out", name, "--count", "2", "--first-serial", "1").returncode == 0
    assert served.call("factory", "import", "a/manifest.jsonl").returncode == 0
    refused = served.call("factory", "import", "b/manifest.jsonl")
    assert refused.returncode == 1
    assert "b/manifest.jsonl, line 2: the serial number 1 is at this HQ already" in refused.stderr
    assert refused.stderr.rstrip().endswith("; nothing was imported")


def test_a_model_that_hq_lacks_is_stamped_by_force_alone(served: Installation) -> None:
    bx = ("factory", "stamp", "--model", "bx", "--out", "b", "--count", "1")
    for more in ((), ("--key", "k", "--hq-url", "https://x.example")):
        refused = served.call(*bx, *more)
        assert refused.returncode == 1
        assert "this HQ has no model bx, but box; otscert model add bx --policy factory adds it" in refused.stderr
        assert not (served.folder / "b").exists()
    forced = served.call(*bx, "--force")
    assert (forced.returncode, "no model bx" in forced.stderr) == (0, True)
    imported = served.call("factory", "import", "b/manifest.jsonl")
    assert (imported.returncode, "may enrol" in imported.stdout) == (0, False)
    assert "no model bx yet, so the units are refused until it has: otscert model add bx" in imported.stderr


def test_a_model_whose_policies_lack_factory_is_told_of(installed: Installation) -> None:
    with installed.started("serve", "--json") as process:
        assert json.loads(process.stdout.readline())["kind"] == "ready"
        done = stamp(installed, "--out", "b", "--count", "1")
        assert (done.returncode, "otscert model set box policies=factory,token" in done.stderr) == (0, True)
        imported = installed.call("factory", "import", "b/manifest.jsonl")
    assert (imported.returncode, "may enrol" in imported.stdout) == (0, False)
    assert "model box does not have the policy factory" in imported.stderr


def test_a_configuration_that_is_not_needed_and_cannot_be_read_is_no_hindrance(installed: Installation) -> None:
    installed.config.write_text("no TOML")
    options = ("--out", "b", "--count", "1", "--key", "k", "--hq-url", "https://x.example")
    assert stamp(installed, *options).returncode == 0
    assert stamp(installed, *options, "--config", "otscert.toml").returncode == 1


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (("--out", "b"), 2, "say how many units"),
        (("--count", "2"), 2, "--out"),
        (("--out", "b", "--count", "0"), 2, "greater than or equal to 1"),
        (("--out", "b", "--count", "100001"), 2, "less than or equal to 100000"),
        (("--out", "b", "--count", "2", "--serial-prefix", "SN-"), 2, "--first-serial"),
        (("--out", "b", "--count", "2", "--serials", "s", "--first-serial", "1"), 2, "not both"),
        (("--out", "b", "--serials", "nothing"), 1, "nothing cannot be read: No such file"),
        (("--out", "b", "--serials", "twice"), 1, "twice, line 3: A is that of line 1, too"),
        (("--out", "b", "--serials", "latin"), 1, "latin is not UTF-8"),
        (("--out", "b", "--serials", "two", "--count", "3"), 1, "has 2 serial numbers, but --count is 3"),
        (("--out", "b", "--count", "2", "--batch", "a b"), 2, "is not a name"),
        (("--out", "b", "--count", "2", "--hq-url", "https://hq.example.com/?q"), 2, "must look like"),
        (("--out", "b", "--count", "2", "--hq-url", f"https://{'a' * 200}"), 2, "at most 120"),
        (("--out", "b", "--count", "2", "--key", "wide"), 1, "chmod 600 wide"),
        (("--out", "b", "--count", "2", "--key", "text"), 1, "text is not a PEM private key"),
        (("--out", "b", "--count", "2", "--key", "no/where"), 1, "cannot be made: No such file"),
        (("--out", "hq-data", "--count", "2"), 1, "hq-data exists"),
        (("--out", "no/where", "--count", "2"), 1, "no/where cannot be made: No such file"),
    ],
)
def test_what_cannot_be_stamped_is_said_and_makes_nothing(
    installed: Installation, options: tuple[str, ...], status: int, why: str
) -> None:
    files = {"twice": b"A\nB\nA\n", "two": b"A\nB\n", "latin": b"\xe4\n", "s": b"A\n", "text": b"no key", "wide": b""}
    for name, data in files.items():
        (installed.folder / name).write_bytes(data)
        (installed.folder / name).chmod(0o644 if name == "wide" else 0o600)
    done = installed.call("factory", "stamp", "--model", "box", *options)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == status, said
    assert why in said
    assert "Traceback" not in said
    assert not (installed.folder / "b").exists()


def test_serial_numbers_of_a_list_are_those_of_the_line(installed: Installation) -> None:
    (installed.folder / "serials").write_text("X-9\nX-7\n")
    done = installed.call("factory", "stamp", "--model", "box", "--out", "b", "--serials", "serials", "--form", "uboot")
    assert done.returncode == 0, done.stderr
    with (installed.folder / "b" / "line.csv").open(newline="") as file:
        assert [row["serial"] for row in csv.DictReader(file)] == ["X-9", "X-7"]
    assert (installed.folder / "b" / "units" / "X-7" / "uboot.env").exists()


def test_labels_lead_where_the_configuration_says(installed: Installation) -> None:
    def urls(out: str, *more: str) -> set[str]:
        assert stamp(installed, "--out", out, "--count", "1", *more).returncode == 0
        with (installed.folder / out / "line.csv").open(newline="") as file:
            return {row["url"].rpartition("/u/")[0] for row in csv.DictReader(file)}

    public_url = f"https://127.0.0.1:{installed.device_port}"
    assert urls("a") == {public_url}
    for out, more, warned in (
        ("a-2", (), True),
        ("a-3", ("--hq-url", f"{public_url}/"), True),
        ("a-4", ("--hq-url", "https://x.example"), False),
    ):
        done = stamp(installed, "--out", out, "--count", "1", *more)
        assert (done.returncode, "a phone gets a certificate warning" in done.stderr) == (0, warned)
    text = installed.config.read_text()
    installed.config.write_text(f'{text}\n[factory]\nlabel_url = "https://start.example.com/box/"\n')
    assert urls("b") == {"https://start.example.com/box"}
    assert urls("c", "--hq-url", "http://x.example/") == {"http://x.example"}
    for wrong in ("ftp://x", "https://x/?id=", "https://user@x"):
        installed.config.write_text(f'{text}\n[factory]\nlabel_url = "{wrong}"\n')
        refused = stamp(installed, "--out", "d", "--count", "1")
        assert (refused.returncode, "factory.label_url is" in refused.stderr) == (1, True)


def test_what_is_wrong_with_a_unit_is_told_without_its_secret(installed: Installation) -> None:
    assert installed.call("factory", "stamp", "--model", "box", "--out", "b", "--count", "2").returncode == 0
    first, second = sorted((installed.folder / "b" / "units").iterdir())
    (first / "factory.secret").chmod(0o644)
    wide = installed.call("factory", "verify", str(first))
    assert (wide.returncode, "has mode 0644" in wide.stdout) == (1, True)
    (first / "factory.secret").write_text((second / "factory.secret").read_text())
    (first / "factory.secret").chmod(0o600)
    swapped = installed.call("factory", "verify", str(first), "--manifest", "b/manifest.jsonl")
    assert swapped.returncode == 1
    assert f"the secret is not that of unit {first.name}" in swapped.stdout
    assert "the manifest has another unit" in swapped.stdout
    damaged = {"": "0 bytes", "AAAA": "3 bytes", "A" * 43 + "\n": "never written", "?" * 43: "base64url"}
    for text, why in damaged.items():
        (first / "factory.secret").write_text(text)
        told = installed.call("factory", "verify", str(first))
        assert told.returncode == 1
        assert why in told.stdout
    (second / "unit.json").write_text("{}")
    assert installed.call("factory", "verify", str(second)).returncode == 1
    (second / "factory.secret").unlink()
    assert "has neither of" in installed.call("factory", "verify", str(second)).stdout
    os.mkfifo(second / "factory.secret")
    assert installed.call("factory", "verify", str(second)).returncode == 1
    assert installed.call("factory", "verify", "nothing").returncode == 1
    wrong = installed.call("factory", "verify", str(first), "--hq", "https://127.0.0.1:1")
    assert (wrong.returncode, "--root" in wrong.stderr) == (2, True)


def test_a_wrong_folder_is_no_fault_of_a_unit(installed: Installation) -> None:
    assert stamp(installed, "--out", "b", "--count", "1", "--first-serial", "7").returncode == 0
    for folder, why in (
        ("nothing", "nothing is not there"),
        ("b/line.csv", "b/line.csv is not a folder"),
        ("b", "b is the folder of a batch"),
        ("b/units", "b/units is the folder of a batch"),
    ):
        done = installed.call("factory", "verify", folder)
        assert (done.returncode, why in done.stdout) == (1, True), done.stdout
        assert "off the line" not in done.stdout
    assert "such as b/units/7" in installed.call("factory", "verify", "b").stdout


def test_a_serial_number_that_was_stamped_twice_and_a_model_that_hq_lacks_are_told_of(served: Installation) -> None:
    for name in ("a", "b"):
        assert stamp(served, "--out", name, "--batch", name, "--count", "1", "--first-serial", "7").returncode == 0
    assert served.call("factory", "import", "a/manifest.jsonl").returncode == 0
    twice = served.call("factory", "verify", "b/units/7")
    assert twice.returncode == 1
    assert "HQ has 7 of batch a with another key: stamped twice" in twice.stdout
    options = ("--model", "bx", "--force", "--out", "c", "--count", "1", "--first-serial", "8")
    assert served.call("factory", "stamp", *options).returncode == 0
    for then in (", then otscert factory import", ""):
        unknown = served.call("factory", "verify", "c/units/8")
        assert unknown.returncode == 1
        assert "HQ has no model bx" in unknown.stdout
        assert f"otscert model add bx --policy factory{then}" in " ".join(unknown.stdout.split())
        assert served.call("factory", "import", "c/manifest.jsonl").returncode == 0
    assert "factory import" not in unknown.stdout


def test_a_unit_that_hq_did_not_judge_does_not_pass(installed: Installation) -> None:
    hello = ("--hq", f"https://127.0.0.1:{installed.device_port}", "--root", "hq-data/pki/root.pem")
    with installed.started("serve", "--json") as hq:
        assert '"ready"' in hq.stdout.readline()
        assert stamp(installed, "--out", "b", "--count", "1", "--first-serial", "1").returncode == 0
        assert installed.call("factory", "import", "b/manifest.jsonl").returncode == 0
        assert installed.call("factory", "verify", "b/units/1", *hello).returncode == 0
        spend_hellos(installed)
        crowded = installed.call("factory", "verify", "b/units/1", *hello)
    assert crowded.returncode == 1
    assert "cannot tell  HQ did not judge the unit: more than 30 hellos" in crowded.stdout


def spend_hellos(installed: Installation) -> None:
    """The quota of every unit, as if it had said all its hellos of this hour."""
    with closing(sqlite3.connect(installed.folder / "hq-data" / "hq.db")) as database, database:
        changed = database.execute(
            "UPDATE quota SET tat_ms = ? WHERE bucket LIKE 'hello:unit:%'", (int(time.time() + 3600) * 1000,)
        )
        assert changed.rowcount == 1


def test_an_image_is_refused_with_a_list(empty: Installation) -> None:
    image = empty.folder / "rootfs"
    (image / "etc").mkdir(parents=True)
    clean = empty.call("factory", "lint", "rootfs")
    assert (clean.returncode, clean.stderr) == (0, "")
    assert clean.stdout.startswith("The image holds no state")
    assert json.loads(empty.call("factory", "lint", "rootfs", "--json").stdout) == {"ok": True, "findings": []}
    (image / "etc" / "machine-id").write_text("0123\n")
    warned = empty.call("factory", "lint", "rootfs")
    assert (warned.returncode, "machine-id is set" in warned.stdout) == (0, True)
    (image / "var/lib/otscert-agent").mkdir(parents=True)
    (image / "var/lib/otscert-agent/state.json").write_text("{}")
    (image / "etc" / "urandom.seed").write_bytes(bytes(512))
    refused = empty.call("factory", "lint", "rootfs", "--json")
    assert refused.returncode == 1
    found = json.loads(refused.stdout)
    assert found["ok"] is False
    assert sorted((each["check"], each["outcome"]) for each in found["findings"]) == [
        ("image.machine-id", "warning"),
        ("image.seed", "failed"),
        ("image.state", "failed"),
    ]
    assert empty.call("factory", "lint", "nothing").returncode == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "shown"),
    [
        (Terminal, "\r\x1b[Kunits: 5 of 8 (62 %)\r\x1b[Kunits: 7 of 8 (87 %)\r\x1b[K"),
        (io.StringIO, "units: 5 of 8 (62 %)\n"),
    ],
)
def test_work_of_more_than_two_seconds_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, stderr: type[io.StringIO], shown: str
) -> None:
    told, now_s = stderr(), [100.0]
    monkeypatch.setattr(sys, "stderr", told)
    progress = Progress(clock=lambda: now_s[0])
    for at_s, done in ((101.9, 4), (102.1, 5), (102.2, 6), (102.4, 7)):
        now_s[0] = at_s
        progress("units", done, 8)
    progress.finish()
    assert told.getvalue() == shown


def test_short_work_says_nothing_of_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Terminal()
    monkeypatch.setattr(sys, "stderr", told)
    progress = Progress()
    progress("units", 1, 2)
    progress.finish()
    assert told.getvalue() == ""
