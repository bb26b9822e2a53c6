"""What the doctor says of HQ's root while it is rotated, behind a passphrase, or elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hq.tests.pki.trusting import DAY_S, HOSTS, NOW_S, Killed, MortalFolder, make_folder

from otscert.ops.doctor_finding import Finding, Outcome
from otscert.ops.doctor_keys import check_keys
from otscert.pki.files import PkiFolder
from otscert.pki.rotation import finish, prepare, switch


def found(pki: PkiFolder, *, now_s: int = NOW_S) -> dict[str, Finding]:
    return {each.check: each for each in check_keys(pki, now_s=now_s)}


@pytest.mark.parametrize(
    ("key", "root", "mend"),
    [
        ("here", "renews its certificates by itself", "within the hour"),
        ("encrypted", "otscert hq-root sign once a year", "otscert hq-root sign asks"),
        ("elsewhere", "request, sign and install", "then otscert hq-root install"),
    ],
)
def test_who_has_to_renew_is_said_and_how(tmp_path: Path, key: str, root: str, mend: str) -> None:
    pki = make_folder(tmp_path / "pki", passphrase=b"secret" if key == "encrypted" else None)
    if key == "elsewhere":
        (pki.folder / "root.key").unlink()
    findings = found(pki, now_s=NOW_S + 310 * DAY_S)
    assert root in findings["keys.root"].what
    for check in ("keys.tls", "keys.answer"):
        assert findings[check].outcome is Outcome.WARNING
        assert mend in findings[check].mend


def test_a_certificate_from_the_future_is_wrong(tmp_path: Path) -> None:
    pki = make_folder(tmp_path / "pki")
    pki.renew_leaves(hosts=HOSTS, now_s=NOW_S + 3650 * DAY_S)
    findings = found(pki)
    assert findings["keys.tls"].outcome is findings["keys.answer"].outcome is Outcome.FAILED
    assert "when a clock was wrong" in findings["keys.answer"].what


def test_a_rotation_is_said_and_one_that_was_cut_off_is_warned_of(tmp_path: Path) -> None:
    pki = make_folder(tmp_path / "pki")
    assert "keys.rotation" not in found(pki)
    prepare(pki, pki.root(), passphrase=None, now_s=NOW_S)
    assert "prepared" in found(pki)["keys.rotation"].what
    following = pki.root(name="root-next.pem")
    with pytest.raises(Killed):
        switch(MortalFolder(folder=pki.folder, lives=4), following, hosts=HOSTS, now_s=NOW_S)
    assert found(pki)["keys.rotation"].outcome is Outcome.WARNING
    switch(pki, following, hosts=HOSTS, now_s=NOW_S)
    assert found(pki)["keys.rotation"].outcome is Outcome.OK
    finish(pki)
    assert "keys.rotation" not in found(pki)
