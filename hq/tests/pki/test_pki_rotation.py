"""Roots are rotated under boxes that pin the old one, both, or the new one; what is cut off can be given again."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from hq.tests.pki.trusting import (
    DAY_S,
    HOSTS,
    NOW_S,
    Killed,
    MortalFolder,
    believes,
    chain_lengths,
    generations,
    make_folder,
)

from otscert.pki.files import PkiError, PkiFolder, RootKey
from otscert.pki.rotation import Stage, complete_preparation, finish, prepare, stage, switch
from otscert_agent.trust import Pins

LATE_S = NOW_S + 330 * DAY_S


@pytest.fixture
def pki(tmp_path: Path) -> PkiFolder:
    return make_folder(tmp_path / "pki")


def prepared(pki: PkiFolder) -> tuple[bytes, bytes]:
    """Prepare, and return the pins of the old and of the next root."""
    prepare(pki, pki.root(), passphrase=None, now_s=NOW_S)
    return pki.read("root.pem"), pki.read("root-next.pem")


def do_switch(pki: PkiFolder, *, now_s: int = NOW_S) -> None:
    switch(pki, pki.root(name="root-next.pem"), hosts=HOSTS, now_s=now_s)


def test_before_the_switch_everything_is_as_it_was_and_the_firmware_gets_both_pins(pki: PkiFolder) -> None:
    assert pki.pins_pem == pki.root_pem
    leaves = pki.read("tls.pem"), pki.read("answer.pem")
    old, following = prepared(pki)
    assert stage(pki) is Stage.PREPARED
    assert (pki.read("tls.pem"), pki.read("answer.pem")) == leaves
    assert pki.pins_pem.read_bytes() == old + following
    assert len(Pins.parse(pki.pins_pem.read_bytes()).roots) == 2
    assert believes(pki, old)
    assert believes(pki, old, following)


def test_after_the_switch_old_both_and_new_firmware_go_on(pki: PkiFolder) -> None:
    old, following = prepared(pki)
    do_switch(pki)
    assert stage(pki) is Stage.SWITCHED
    assert pki.read("root.pem") == following
    assert generations(pki) == (2, 2)
    assert [believes(pki, *pins) for pins in ([old], [old, following], [following, old], [following])] == [True] * 4
    assert pki.pins_pem.read_bytes() == old + following
    assert pki.root_key() is RootKey.HERE
    # And so do the leaves that the next root makes later.
    assert pki.renew_leaves(hosts=HOSTS, now_s=LATE_S) == ["tls.pem", "answer.pem"]
    assert believes(pki, old, now_s=LATE_S)
    assert believes(pki, following, now_s=LATE_S)


def test_after_the_finish_the_old_root_is_forgotten(pki: PkiFolder) -> None:
    old, following = prepared(pki)
    do_switch(pki)
    finish(pki)
    assert stage(pki) is Stage.STEADY
    assert chain_lengths(pki.tls(), pki.answer()) == [0, 0]
    assert pki.pins_pem.read_bytes() == following
    assert [believes(pki, *pins) for pins in ([old], [old, following], [following])] == [False, True, True]
    assert sorted(path.name for path in pki.folder.iterdir()) == sorted(
        ["root.pem", "root.key", "tls.pem", "answer.pem", "store.key"]
    )
    # The next rotation begins like the first one.
    third = prepared(pki)[1]
    do_switch(pki)
    assert believes(pki, following)
    assert believes(pki, third)


def test_the_cross_certificate_vouches_for_the_next_root_alone(pki: PkiFolder) -> None:
    prepared(pki)
    do_switch(pki)
    cross, old = pki.root_certificate("cross.pem"), pki.root_certificate("root-old.pem")
    constraints = cross.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert cross.not_valid_after_utc == old.not_valid_after_utc
    assert cross.subject == pki.root_certificate().subject != old.subject


def test_steps_out_of_order_are_refused_with_the_step_that_is_next(pki: PkiFolder) -> None:
    with pytest.raises(PkiError, match="rotate begins one"):
        finish(pki)
    with pytest.raises(PkiError, match="no next root is prepared"):
        complete_preparation(pki)
    with pytest.raises(PkiError, match="no next root is prepared"):
        switch(pki, pki.root(), hosts=HOSTS, now_s=NOW_S)
    prepared(pki)
    with pytest.raises(PkiError, match="rotate --switch"):
        finish(pki)
    pins = pki.read("pins.pem")
    with pytest.raises(PkiError, match="ready already"):
        prepare(pki, pki.root(), passphrase=None, now_s=NOW_S + DAY_S)
    complete_preparation(pki)
    assert pki.read("pins.pem") == pins
    do_switch(pki)
    with pytest.raises(PkiError, match="not finished"):
        complete_preparation(pki)
    with pytest.raises(PkiError, match="not finished"):
        prepare(pki, pki.root(), passphrase=None, now_s=NOW_S)


def test_a_root_that_may_sign_leaves_only_cannot_be_rotated(pki: PkiFolder, tmp_path: Path) -> None:
    prepared(pki)
    as_before = replace(pki.root(), certificate=pki.root_certificate("cross.pem"))  # path length 0
    with pytest.raises(PkiError, match="may sign leaves only"):
        prepare(make_folder(tmp_path / "other"), as_before, passphrase=None, now_s=NOW_S)


@dataclass(slots=True, kw_only=True)
class Operator:
    """Does one step after the other; after a power cut the one that was cut off again, and those that are left."""

    aside: Path
    secret: bytes | None
    step: int = 0

    def ask(self, _path: Path) -> bytes:
        assert self.secret is not None, "somebody asked for a passphrase that there is not"
        return self.secret

    def rotate(self, pki: PkiFolder) -> None:
        if self.step == 0:
            if stage(pki) is Stage.STEADY:
                key_file = self.aside if self.aside.exists() else None
                prepare(pki, pki.root(ask=self.ask, key_file=key_file), passphrase=self.secret, now_s=NOW_S)
            complete_preparation(pki)
            self.step = 1
        if self.step == 1:
            complete_preparation(pki)
            switch(pki, pki.root(ask=self.ask, name="root-next.pem"), hosts=HOSTS, now_s=NOW_S)
            self.step = 2
        finish(pki)


@pytest.mark.parametrize("root_key", ["here", "offline", "encrypted"])
def test_a_rotation_that_is_killed_anywhere_leaves_a_working_hq_and_can_be_given_again(
    tmp_path: Path, root_key: str
) -> None:
    for lives in itertools.count():
        operator = Operator(
            aside=tmp_path / f"{lives}.key", secret=b"correct horse" if root_key == "encrypted" else None
        )
        pki = make_folder(tmp_path / str(lives), passphrase=operator.secret)
        if root_key == "offline":
            (pki.folder / "root.key").rename(operator.aside)
        old, mortal = pki.read("root.pem"), MortalFolder(folder=pki.folder, lives=lives)
        try:
            operator.rotate(mortal)
        except Killed:
            _assert_works(pki, old, step=operator.step, where=mortal.done)
            operator.rotate(pki)
        done = [*mortal.done, "killed"]
        assert stage(pki) is Stage.STEADY, done
        assert pki.read("root.pem") != old, done
        assert pki.root(ask=operator.ask).certificate == pki.root_certificate(), done
        assert not list(pki.folder.glob("*old*")) + list(pki.folder.glob("*next*")), done
        assert believes(pki, pki.read("root.pem")), done
        assert not believes(pki, old), done
        if len(mortal.done) < lives:
            assert lives > 15, "the folder was hardly changed"
            break


def _assert_works(pki: PkiFolder, old: bytes, *, step: int, where: list[str]) -> None:
    """A cut-off step leaves an HQ that firmware with the file of pins believes, also after HQ renewed its leaves."""
    pins = pki.pins_pem.read_bytes()
    firmware = [pins] if step == 2 else [pins, old]
    assert all(believes(pki, each) for each in firmware), where
    copy = PkiFolder(folder=pki.folder.with_suffix(".copy"))
    shutil.copytree(pki.folder, copy.folder)
    if copy.renew_leaves(hosts=HOSTS, now_s=LATE_S):
        assert all(believes(copy, each, now_s=LATE_S) for each in firmware), where
    else:
        assert copy.root_key() is not RootKey.HERE, where
