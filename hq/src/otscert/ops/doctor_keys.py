"""HQ's own keys and the system clock: are they there, and until when do they last?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509

from otscert.ops.doctor_finding import Finding, failed, ok, warning
from otscert.pki.certificates import KeyPair, names_of
from otscert.pki.files import RENEW_BEFORE_S, PkiError, PkiFolder, RootKey
from otscert.pki.rotation import Stage, stage

_DAY_S = 86_400
_PINNED = "boxes believe HQ by these keys alone"
_KEY = {
    RootKey.HERE: "root.key is here: HQ renews its certificates by itself, and whoever has the file can speak for HQ",
    RootKey.ENCRYPTED: "root.key is behind a passphrase: HQ's own certificates need otscert hq-root sign once a year",
    RootKey.ELSEWHERE: "root.key is offline: HQ's own certificates need otscert hq-root request, sign and install"
    " once a year",
}
_RENEW = {
    RootKey.HERE: "a running HQ renews it within the hour; else otscert hq-root sign",
    RootKey.ENCRYPTED: "otscert hq-root sign asks for the passphrase and renews it",
    RootKey.ELSEWHERE: "otscert hq-root request, then sign it where root.key is, then otscert hq-root install",
}


def leaf_names(pair: KeyPair) -> set[str]:
    """Host names and IP addresses that a TLS leaf is for."""
    return names_of(pair.certificate)


def check_keys(pki: PkiFolder, *, now_s: int) -> Iterator[Finding]:
    """Root, root key, leaves and store key."""
    try:
        pki.store_key()
        leaves = {"keys.tls": ("TLS certificate", pki.tls()), "keys.answer": ("answer certificate", pki.answer())}
        key, reached = pki.root_key(), stage(pki)
        cut_off = reached is Stage.PREPARED and pki.read("root.pem") == pki.read("root-next.pem")
    except PkiError as error:
        yield failed("keys", str(error), why=_PINNED, mend="otscert init for a new HQ; else restore the folder")
        return
    for check, (name, pair) in leaves.items():
        yield _lasts(check, name, pair, mend=_RENEW[key], now_s=now_s)
    yield ok("keys.root", _KEY[key])
    if cut_off:
        yield warning(
            "keys.rotation",
            "the change to the next root was cut off",
            why="it works, but files of the old root lie under the next one's names",
            mend="otscert hq-root rotate --switch, once more",
        )
    elif reached is not Stage.STEADY:
        yield ok("keys.rotation", f"the root is being rotated: {reached.value} (otscert hq-root show)")


def _lasts(check: str, name: str, pair: KeyPair, *, mend: str, now_s: int) -> Finding:
    begin, until = pair.certificate.not_valid_before_utc, pair.certificate.not_valid_after_utc
    left_s = until.timestamp() - now_s
    what = f"the {name} lasts until {until:%Y-%m-%d}, {int(left_s // _DAY_S)} days"
    if begin.timestamp() > now_s:
        future = f"the {name} begins on {begin:%Y-%m-%d}: it was made when a clock was wrong"
        return failed(check, future, why="boxes do not believe HQ's time, which is before it", mend=mend)
    if left_s > RENEW_BEFORE_S:
        return ok(check, what)
    if left_s > 0:
        return warning(check, what, why="when it ends, boxes stop believing HQ", mend=mend)
    return failed(check, f"the {name} ended on {until:%Y-%m-%d}", why="boxes do not believe HQ", mend=mend)


def check_clock_floor(pki: PkiFolder, *, now_s: int) -> Finding:
    """The clock cannot be before the day on which HQ's own root was made."""
    try:
        made = x509.load_pem_x509_certificate(pki.root_pem.read_bytes()).not_valid_before_utc
    except (OSError, ValueError) as error:
        return failed("keys.root", f"{pki.root_pem} cannot be read: {error}", why=_PINNED, mend="restore the folder")
    now = datetime.fromtimestamp(now_s, UTC)
    if now < made:
        return failed(
            "clock",
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, before HQ's own root was made ({made:%Y-%m-%d %H:%M})",
            why="boxes take their time from HQ, and certificates are judged by it",
            mend="set the clock, and run an NTP client",
        )
    return ok("clock", f"the clock says {now:%Y-%m-%d %H:%M} UTC, which can be")
