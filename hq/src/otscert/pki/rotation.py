"""From one root to the next while boxes pin the old one, both, or the new one (docs/decisions/0014).

    steady ──prepare──► prepared ──switch──► switched ──finish──► steady

Each step may be cut off at any line and be given again. A file says how far it came: root-next.pem that a next root is
ready, root.pem which one signs, root-old.pem that its word still travels. Knows files, not terminals.
"""

from __future__ import annotations

from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.pki.certificates import (
    KeyPair,
    issued_by,
    make_cross,
    make_next_root,
    may_vouch,
    utc_now_from,
)
from otscert.pki.files import LEAVES, PkiFolder
from otscert.pki.pem import Locked, PkiError, fits, key_pem, pair_pem, read_key

_UNFINISHED = "the rotation before this one is not finished: otscert hq-root rotate --finish"
_NOT_PREPARED = "no next root is prepared: otscert hq-root rotate"


class Stage(StrEnum):
    STEADY = "steady"
    PREPARED = "prepared"
    SWITCHED = "switched"


def stage(pki: PkiFolder) -> Stage:
    """How far a rotation has come; a switch that was cut off still counts as prepared."""
    if (pki.folder / "root-next.pem").exists():
        return Stage.PREPARED
    old = pki.folder / "root-old.pem"
    # Before the new root counts, a copy of the old one lies beside it for a moment.
    return Stage.SWITCHED if old.exists() and old.read_bytes() != pki.root_pem.read_bytes() else Stage.STEADY


def prepare(pki: PkiFolder, root: KeyPair, *, passphrase: bytes | None, now_s: int) -> None:
    """Make the next root, its key behind `passphrase`, and the file with both pins."""
    with pki.changing():
        _refuse(pki, Stage.SWITCHED, _UNFINISHED)
        _refuse(pki, Stage.PREPARED, "the next root is ready already: otscert hq-root rotate --switch lets it sign")
        if not may_vouch(root.certificate):
            raise PkiError(
                f"{pki.root_pem} may sign leaves only (path length 0), so it cannot vouch for a next root:"
                " HQ goes on with it as it is; a new HQ (otscert init) has a root that can be rotated"
            )
        now = utc_now_from(now_s)
        following = make_next_root(root.certificate, now=now)
        pki.write("root-next.key", key_pem(following.key, passphrase))
        pki.write("cross.pem", make_cross(root, following.certificate, now=now).public_bytes(Encoding.PEM))
        # Last of those that cannot be made again: from here on the next root is there.
        pki.write("root-next.pem", following.certificate.public_bytes(Encoding.PEM))
        _write_pins(pki, "root.pem", "root-next.pem")


def complete_preparation(pki: PkiFolder) -> None:
    """Write the file with both pins, if the preparation was cut off before it; needs no key."""
    with pki.changing():
        _refuse(pki, Stage.STEADY, _NOT_PREPARED)
        _refuse(pki, Stage.SWITCHED, _UNFINISHED)
        if pki.read("root.pem") != pki.read("root-next.pem"):  # else a switch was cut off, which wrote them
            _write_pins(pki, "root.pem", "root-next.pem")


def switch(pki: PkiFolder, following: KeyPair, *, hosts: tuple[str, ...], now_s: int) -> None:
    """Sign with the next root from now on. `hosts` is empty where no leaves are kept (offline)."""
    with pki.changing():
        _refuse(pki, Stage.STEADY, _NOT_PREPARED)
        if hosts:
            for name in LEAVES:
                _sign_by(pki, name, following, hosts=hosts, now_s=now_s)
        promote(pki, following.certificate)


def _sign_by(pki: PkiFolder, name: str, root: KeyPair, *, hosts: tuple[str, ...], now_s: int) -> None:
    present = pki.tls() if name == "tls.pem" else pki.answer()
    by_it = issued_by(present.certificate, root.certificate) and present.chain == root.chain
    if not by_it or pki.due(name, hosts=hosts, now_s=now_s):
        pki.write(name, pair_pem(pki.new_leaf(name, root, hosts=hosts, now_s=now_s)))


def promote(pki: PkiFolder, following: x509.Certificate) -> None:
    """Make the next root the current one, in an order in which every beginning of it is a folder that works."""
    if following != pki.root_certificate():
        pki.write("root-old.pem", pki.read("root.pem"))
        pki.write("root.pem", following.public_bytes(Encoding.PEM))
    _write_pins(pki, "root-old.pem", "root.pem")
    _retire_key(pki, following)
    if (pki.folder / "root-next.key").exists():
        pki.rename("root-next.key", "root.key")
    pki.remove("root-next.pem")


def _retire_key(pki: PkiFolder, following: x509.Certificate) -> None:
    """Put the old root's key aside, when it is here; never the next root's, whose name may be changed already."""
    key = pki.folder / "root.key"
    if not key.exists() or (pki.folder / "root-old.key").exists():
        return
    if not (pki.folder / "root-next.key").exists():
        try:
            if fits(read_key(key, None), following):
                return
        except Locked:
            return  # whose it is cannot be told without its passphrase
    pki.rename("root.key", "root-old.key")


def finish(pki: PkiFolder) -> None:
    """Send the old root's word no longer, and forget the old root with its key."""
    with pki.changing():
        _refuse(pki, Stage.STEADY, "no rotation is under way: otscert hq-root rotate begins one")
        _refuse(pki, Stage.PREPARED, "the next root does not sign yet: otscert hq-root rotate --switch")
        for name in LEAVES:
            if (pki.folder / name).exists():
                pair = pki.tls() if name == "tls.pem" else pki.answer()
                pki.write(name, pair_pem(KeyPair(key=pair.key, certificate=pair.certificate)))
        for name in ("cross.pem", "pins.pem", "root-old.key", "root-old.pem"):  # the one that says "switched" last
            pki.remove(name)


def _refuse(pki: PkiFolder, when: Stage, why: str) -> None:
    if stage(pki) is when:
        raise PkiError(why)


def _write_pins(pki: PkiFolder, *names: str) -> None:
    pins = b"".join(pki.read(name) for name in names)
    if not (pki.folder / "pins.pem").exists() or pki.read("pins.pem") != pins:
        pki.write("pins.pem", pins)
