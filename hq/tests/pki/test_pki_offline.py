"""HQ gets leaves from a machine with the root key, by two files that anybody may read, and takes nothing else."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
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

from otscert.pki.certificates import fingerprint
from otscert.pki.files import PkiError, PkiFolder, RootKey
from otscert.pki.offline import install, is_open, make_request, sign_request
from otscert.pki.rotation import Stage, finish, prepare, stage, switch

LATE_S = NOW_S + 330 * DAY_S


@pytest.fixture
def places(tmp_path: Path) -> tuple[PkiFolder, PkiFolder]:
    """HQ without its root key, and the machine that has it: root.pem and root.key alone."""
    hq, safe = make_folder(tmp_path / "hq"), PkiFolder(folder=tmp_path / "safe")
    safe.folder.mkdir(mode=0o700)
    shutil.copy(hq.root_pem, safe.root_pem)
    (hq.folder / "root.key").rename(safe.folder / "root.key")
    return hq, safe


def carried(document: dict[str, Any]) -> dict[str, Any]:
    """What is left of it after a trip in a file."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def signed(hq: PkiFolder, safe: PkiFolder, *, now_s: int = LATE_S) -> dict[str, Any]:
    request = carried(make_request(hq, hosts=HOSTS))
    return carried(sign_request(safe, safe.root(), request, now_s=now_s))


def test_hq_without_its_root_key_gets_new_leaves(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    assert hq.renew_leaves(hosts=HOSTS, now_s=LATE_S) == []
    answer = signed(hq, safe)
    assert is_open(hq)
    assert fingerprint(install(hq, answer, now_s=LATE_S)) == fingerprint(hq.root_certificate())
    assert generations(hq) == (2, 2)
    assert believes(hq, hq.root_pem.read_bytes(), now_s=LATE_S)
    assert not is_open(hq)
    assert hq.renew_leaves(hosts=("other.example.com",), now_s=LATE_S) == []


def test_what_travels_holds_no_private_key(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    request = make_request(hq, hosts=HOSTS)
    assert "PRIVATE" not in json.dumps(request)
    assert "PRIVATE" not in json.dumps(sign_request(safe, safe.root(), request, now_s=LATE_S))
    assert (hq.folder / "requested.json").stat().st_mode & 0o777 == 0o600


def test_a_request_made_again_asks_for_the_same_keys_until_they_are_there(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    first = make_request(hq, hosts=HOSTS)
    answer = carried(sign_request(safe, safe.root(), first, now_s=LATE_S))
    again = make_request(hq, hosts=HOSTS)
    install(hq, answer, now_s=LATE_S)  # the answer to the first one still fits
    assert again["generations"] == first["generations"] == {"tls": 2, "answer": 2}
    assert make_request(hq, hosts=HOSTS)["generations"] == {"tls": 3, "answer": 3}


def test_an_answer_that_is_installed_twice_is_refused_the_second_time(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    answer = signed(hq, safe)
    install(hq, answer, now_s=LATE_S)
    with pytest.raises(PkiError, match="no request is open"):
        install(hq, answer, now_s=LATE_S)


def test_another_hosts_request_makes_the_earlier_answer_worthless(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    answer = signed(hq, safe)
    make_request(hq, hosts=("moved.example.com",))
    with pytest.raises(PkiError, match="not what HQ asked for last"):
        install(hq, answer, now_s=LATE_S)


def test_an_answer_to_another_request_is_refused(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    answer = signed(hq, safe)
    (hq.folder / "requested.json").unlink()
    request = make_request(hq, hosts=HOSTS)
    with pytest.raises(PkiError, match="not what HQ asked for last"):
        install(hq, answer, now_s=LATE_S)
    # And the right keys in certificates of another generation, which boxes would hold against HQ later.
    request["generations"] = {"tls": 2, "answer": 2_000_000_000}
    with pytest.raises(PkiError, match="the answer certificate is not what HQ asked for last"):
        install(hq, sign_request(safe, safe.root(), request, now_s=LATE_S), now_s=LATE_S)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda it: it.pop("otscert_hq_signed"), "not an answer of otscert hq-root sign"),
        (lambda it: it.pop("tls"), "cannot be used"),
        (lambda it: it.update(answer="hello"), "cannot be used"),
        (lambda it: it.update(tls=it["answer"]), "not what HQ asked for"),
        (lambda it: it.update(tls=it["root"]), "not what HQ asked for"),
    ],
    ids=["version", "a member less", "no certificate", "the wrong leaf", "a root"],
)
def test_a_changed_answer_changes_nothing(places: tuple[PkiFolder, PkiFolder], change: Change, why: str) -> None:
    hq, safe = places
    answer = signed(hq, safe)
    before = {path.name: path.read_bytes() for path in hq.folder.iterdir()}
    change(answer)
    with pytest.raises(PkiError, match=why):
        install(hq, answer, now_s=LATE_S)
    assert {path.name: path.read_bytes() for path in hq.folder.iterdir()} == before


def test_leaves_of_a_foreign_root_are_refused(places: tuple[PkiFolder, PkiFolder], tmp_path: Path) -> None:
    hq, _ = places
    foreign = make_folder(tmp_path / "foreign")
    request = make_request(hq, hosts=HOSTS)
    with pytest.raises(PkiError, match="the request is for HQ's root"):
        sign_request(foreign, foreign.root(), request, now_s=LATE_S)
    forged = {**request, "root_sha256": fingerprint(foreign.root_certificate())}
    answer = sign_request(foreign, foreign.root(), forged, now_s=LATE_S)
    with pytest.raises(PkiError, match="does not vouch"):
        install(hq, answer, now_s=LATE_S)


def test_leaves_from_a_machine_whose_clock_is_wrong_are_refused(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    for now_s in (NOW_S - 400 * DAY_S, LATE_S + 10 * 365 * DAY_S):
        with pytest.raises(PkiError, match="look at both machines' clocks"):
            install(hq, signed(hq, safe, now_s=now_s), now_s=LATE_S)


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(tls=it["tls"].replace("MI", "MJ", 1)),
        lambda it: it.update(generations=None),
        lambda it: it.update(hosts="hq.example.com"),
        lambda it: it.pop("answer"),
        lambda it: it.update(answer=_with_a_wrong_signature(it["answer"])),
    ],
)
def test_a_request_that_was_damaged_is_not_signed(places: tuple[PkiFolder, PkiFolder], change: Change) -> None:
    hq, safe = places
    request = carried(make_request(hq, hosts=HOSTS))
    change(request)
    with pytest.raises(PkiError, match="the request cannot be used"):
        sign_request(safe, safe.root(), request, now_s=LATE_S)


def test_an_offline_root_is_rotated_without_its_key_ever_being_at_hq(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    old = hq.root_pem.read_bytes()
    prepare(safe, safe.root(), passphrase=None, now_s=NOW_S)
    pins = safe.pins_pem.read_bytes()
    switch(safe, safe.root(name="root-next.pem"), hosts=(), now_s=NOW_S)
    install(hq, signed(hq, safe), now_s=LATE_S)
    assert (stage(hq), hq.root_key()) == (Stage.SWITCHED, RootKey.ELSEWHERE)
    assert chain_lengths(hq.tls(), hq.answer()) == [1, 1]
    assert hq.pins_pem.read_bytes() == pins
    assert all(believes(hq, each, now_s=LATE_S) for each in (old, pins, hq.root_pem.read_bytes()))
    # The next leaves come the same way; and HQ ends the rotation when its operator says so.
    install(hq, signed(hq, safe), now_s=LATE_S)
    assert believes(hq, old, now_s=LATE_S)
    finish(hq)
    install(hq, signed(hq, safe), now_s=LATE_S)
    assert chain_lengths(hq.tls(), hq.answer()) == [0, 0]
    assert not believes(hq, old, now_s=LATE_S)


def test_a_key_that_was_left_at_hq_is_put_aside_when_the_next_root_comes(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    shutil.copy(safe.folder / "root.key", hq.folder / "root.key")
    prepare(safe, safe.root(), passphrase=None, now_s=NOW_S)
    switch(safe, safe.root(name="root-next.pem"), hosts=(), now_s=NOW_S)
    install(hq, signed(hq, safe), now_s=LATE_S)
    assert hq.root_key() is RootKey.ELSEWHERE
    assert (hq.folder / "root-old.key").exists()


@pytest.mark.parametrize("rotated", [False, True], ids=["the same root", "the next root"])
def test_an_installation_that_is_killed_anywhere_can_be_given_again(tmp_path: Path, *, rotated: bool) -> None:
    for lives in itertools.count():
        hq = make_folder(tmp_path / f"{lives}")
        old, answer = hq.root_pem.read_bytes(), _answer_from(hq, tmp_path / f"{lives}.safe", rotated=rotated)
        try:
            install(MortalFolder(folder=hq.folder, lives=lives), answer, now_s=LATE_S)
        except Killed:
            assert believes(hq, old, now_s=LATE_S if generations(hq)[1] > 1 else NOW_S)
            install(hq, answer, now_s=LATE_S)
        else:
            break
        assert believes(hq, old, now_s=LATE_S)
        assert believes(hq, hq.root_pem.read_bytes(), now_s=LATE_S)
        assert (hq.root_pem.read_bytes() != old) == rotated
    assert lives > (7 if rotated else 2)


def _answer_from(hq: PkiFolder, folder: Path, *, rotated: bool) -> dict[str, Any]:
    shutil.copytree(hq.folder, folder)
    safe = PkiFolder(folder=folder)
    if rotated:
        prepare(safe, safe.root(), passphrase=None, now_s=NOW_S)
        switch(safe, safe.root(name="root-next.pem"), hosts=(), now_s=NOW_S)
    (hq.folder / "root.key").unlink()
    return signed(hq, safe)


def test_a_key_on_another_curve_is_not_signed(places: tuple[PkiFolder, PkiFolder]) -> None:
    hq, safe = places
    request = make_request(hq, hosts=HOSTS)
    other = _csr_of(ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(PkiError, match="P-256"):
        sign_request(safe, safe.root(), {**request, "tls": other}, now_s=LATE_S)


def _with_a_wrong_signature(csr_pem: str) -> str:
    der = bytearray(x509.load_pem_x509_csr(csr_pem.encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


def _csr_of(key: ec.EllipticCurvePrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
