"""HQ's own keys and the system clock: are they there, and until when do they last?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509

from otscert.ops.doctor_finding import Finding, failed, ok, warning
from otscert.pki.certificates import KeyPair
from otscert.pki.files import RENEW_BEFORE_S, PkiError, PkiFolder

_DAY_S = 86_400
_PINNED = "boxes believe HQ by these keys alone"


def leaf_names(pair: KeyPair) -> set[str]:
    """Host names and IP addresses that a TLS leaf is for."""
    names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def check_keys(pki: PkiFolder, *, now_s: int) -> Iterator[Finding]:
    """Root, root key, leaves and store key."""
    try:
        pki.store_key()
        leaves = {"keys.tls": ("TLS certificate", pki.tls()), "keys.answer": ("answer certificate", pki.answer())}
    except PkiError as error:
        yield failed("keys", str(error), why=_PINNED, mend="otscert init for a new HQ; else restore the folder")
        return
    key_here = (pki.folder / "root.key").exists()
    for check, (name, pair) in leaves.items():
        yield _lasts(check, name, pair, key_here=key_here, now_s=now_s)
    yield ok(
        "keys.root",
        "root.key is here: HQ renews its certificates by itself, and whoever has the file can speak for HQ"
        if key_here
        else "root.key is offline: HQ's own certificates need it back once a year",
    )


def _lasts(check: str, name: str, pair: KeyPair, *, key_here: bool, now_s: int) -> Finding:
    until = pair.certificate.not_valid_after_utc
    left_s = until.timestamp() - now_s
    what = f"the {name} lasts until {until:%Y-%m-%d}, {int(left_s // _DAY_S)} days"
    if left_s > RENEW_BEFORE_S:
        return ok(check, what)
    mend = "start HQ again: it renews the certificate" if key_here else f"put root.key back and start HQ again: {name}"
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
