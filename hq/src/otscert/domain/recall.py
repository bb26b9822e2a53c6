"""What an operator recalls: which certificates `--where` selects, why they are revoked, how often boxes call meanwhile.

Pure: texts become values here, or a `WhereError` that says what is wrong. Files and boxes that a text names are looked
up by whoever asks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from otscert.domain.errors import DomainError

CALLS_PER_S = 50
"""How many boxes of one incident call per second: 10,000 boxes call every 200 s, a million every 5.5 hours."""
SOONEST_CALL_S = 60
MOST_SERIALS = 5_000_000
_LONGEST_SERIAL = 40  # RFC 5280, section 4.1.2.2: 20 octets
_SERIAL = re.compile(r"[0-9a-f]+\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
KINDS = ("issuer", "key", "model", "serial-list", "issued-between")


class WhereError(DomainError):
    """What was to be selected cannot be understood."""


class CrlReason(IntEnum):
    """Why a certificate is revoked (RFC 5280, section 5.3.1): what Let's Encrypt takes from a subscriber."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5

    @property
    def word(self) -> str:
        """The name in RFC 5280."""
        return _WORDS[self]


_WORDS = {
    CrlReason.UNSPECIFIED: "unspecified",
    CrlReason.KEY_COMPROMISE: "keyCompromise",
    CrlReason.SUPERSEDED: "superseded",
    CrlReason.CESSATION_OF_OPERATION: "cessationOfOperation",
}
REASON_WORDS = tuple(_WORDS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Serials:
    """A list of serial numbers, as an incident remembers it: to know the same list again."""

    count: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which certificates are meant: those that fit every member that is not None. Times are Unix seconds."""

    issuer: str | None = None
    model: str | None = None
    key: bytes | None = None
    """SHA-256 of the SubjectPublicKeyInfo."""
    serials: Serials | None = None
    issued_from_s: int | None = None
    issued_until_s: int | None = None
    """The first moment after the span."""
    certificate: str | None = None
    """The SHA-256 of one leaf, in hex: `otscert cert revoke`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What of a certificate, and of its box, decides whether it is selected."""

    sha256: str
    issuer: str
    model: str
    key: bytes
    issued_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`--where` as it was typed: `key` and `serial_list` are still to be looked up."""

    where: Where
    key: str | None
    serial_list: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """An operator wants a certificate replaced now."""

    incident: str
    since_s: int
    reason: str


def parse_reason(text: str) -> CrlReason:
    """The reason with this word of RFC 5280, or its number; raises `WhereError`."""
    for reason, word in _WORDS.items():
        if text.lower() in {word.lower(), str(int(reason))}:
            return reason
    raise WhereError(f"{text!r} is no reason that a CA takes: {', '.join(REASON_WORDS)}")


def parse_where(texts: Sequence[str]) -> Asked:
    """Read `KIND=VALUE` texts, each kind at most once; raises `WhereError`."""
    values: dict[str, str] = {}
    for text in texts:
        kind, sign, value = text.partition("=")
        kind, value = kind.strip(), value.strip()
        if not sign or kind not in KINDS:
            raise WhereError(f"{text!r}: write KIND=VALUE, KIND is one of {', '.join(KINDS)}")
        if not value:
            raise WhereError(f"{text!r}: the value is missing")
        if kind in values:
            raise WhereError(f"{kind} is given twice; certificates have to fit every --where, so nothing fits both")
        values[kind] = value
    if not values:
        raise WhereError(f"say which certificates: --where KIND=VALUE, KIND is one of {', '.join(KINDS)}")
    from_s, until_s = _parse_span(values["issued-between"]) if "issued-between" in values else (None, None)
    return Asked(
        where=Where(
            issuer=values.get("issuer"),
            model=values.get("model"),
            issued_from_s=from_s,
            issued_until_s=until_s,
        ),
        key=values.get("key"),
        serial_list=values.get("serial-list"),
    )


def parse_serials(text: str) -> list[str]:
    """Serial numbers in hexadecimal, one a line, as CAs publish them; each once, in order; raises `WhereError`.

    Colons, 0x, capitals and leading zeros do not matter; what follows a comma or a space does not, nor does a `#` line.
    """
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found.add(parse_serial(re.split(r"[,;\s]", line.strip())[0], place=f"line {number}"))
        if len(found) > MOST_SERIALS:
            raise WhereError(f"the list has more than {MOST_SERIALS:,} serial numbers: split it")
    if not found:
        raise WhereError("the list has no serial number")
    return sorted(found)


def parse_serial(text: str, *, place: str = "") -> str:
    """One serial number as the store has it: hexadecimal, lower case, no leading zeros; raises `WhereError`."""
    serial = text.strip("\"'").replace(":", "").lower().removeprefix("0x")
    if _SERIAL.match(serial) is None or len(serial.lstrip("0")) > _LONGEST_SERIAL:
        raise WhereError(f"{place}{': ' if place else ''}{text[:60]!r} is no serial number in hexadecimal")
    return serial.lstrip("0") or "0"


def describe(serials: Sequence[str]) -> Serials:
    return Serials(count=len(serials), sha256=hashlib.sha256("\n".join(serials).encode()).hexdigest())


def matches(where: Where, candidate: Candidate) -> bool:
    """Whether the certificate fits; that it is in the list of serial numbers is for whoever walks the list."""
    return (
        where.issuer in {None, candidate.issuer}
        and where.model in {None, candidate.model}
        and where.key in {None, candidate.key}
        and where.certificate in {None, candidate.sha256}
        and (where.issued_from_s is None or where.issued_from_s <= candidate.issued_at_s)
        and (where.issued_until_s is None or candidate.issued_at_s < where.issued_until_s)
    )


def to_json(where: Where) -> str:
    """The text that an incident keeps; the same selection gives the same text."""
    values = {
        "issuer": where.issuer,
        "model": where.model,
        "key": where.key.hex() if where.key is not None else None,
        "serials": {"count": where.serials.count, "sha256": where.serials.sha256} if where.serials else None,
        "issued_from_s": where.issued_from_s,
        "issued_until_s": where.issued_until_s,
        "certificate": where.certificate,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None}, sort_keys=True)


def from_json(text: str) -> Where:
    """What `to_json` wrote."""
    values = json.loads(text)
    serials = values.get("serials")
    return Where(
        issuer=values.get("issuer"),
        model=values.get("model"),
        key=bytes.fromhex(values["key"]) if "key" in values else None,
        serials=Serials(count=serials["count"], sha256=serials["sha256"]) if serials else None,
        issued_from_s=values.get("issued_from_s"),
        issued_until_s=values.get("issued_until_s"),
        certificate=values.get("certificate"),
    )


def in_words(where: Where) -> str:
    """The selection as people read it."""
    parts: Iterable[str | None] = (
        f"issuer {where.issuer}" if where.issuer is not None else None,
        f"model {where.model}" if where.model is not None else None,
        f"key {where.key.hex()}" if where.key is not None else None,
        f"a list of {where.serials.count:,} serial numbers" if where.serials is not None else None,
        f"issued from {_moment(where.issued_from_s)}" if where.issued_from_s is not None else None,
        f"issued before {_moment(where.issued_until_s)}" if where.issued_until_s is not None else None,
        f"certificate {where.certificate}" if where.certificate is not None else None,
    )
    return ", ".join(filter(None, parts))


def call_every_s(*, left: int, usual_s: int) -> int:
    """How often boxes call whose certificates an incident concerns; `left` are those that it waits for.

    As often as HQ can bear: what they have in common is that nobody knows yet what else will be recalled.
    """
    return min(usual_s, max(SOONEST_CALL_S, left // CALLS_PER_S))


def _parse_span(text: str) -> tuple[int, int]:
    first, sign, last = text.partition("..")
    if not sign:
        raise WhereError(f"issued-between={text}: write A..B, two dates or moments such as 2026-11-01..2026-11-03")
    from_s, until_s = _parse_moment(first, end=False), _parse_moment(last, end=True)
    if until_s <= from_s:
        raise WhereError(f"issued-between={text}: it ends before it begins")
    return from_s, until_s


def _parse_moment(text: str, *, end: bool) -> int:
    """A date means its first moment, at the `end` of a span its last one; all of it is UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if end:
            moment += timedelta(days=1) if _DATE.match(text.strip()) else timedelta(seconds=1)
        return int(moment.timestamp())
    except (ValueError, OverflowError):
        raise WhereError(f"{text!r} is no moment of ISO 8601, such as 2026-11-01 or 2026-11-01T12:30Z") from None


def _moment(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
