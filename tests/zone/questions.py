"""Generated questions: names of the zone and near them, in any case, of any type, with and without EDNS.

Knows what is left out, because no other server can answer alike: computed names, ANY, other classes' own names,
cookies, transfers and what is no type of a record. The same seed gives the same questions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from otscert.zones.computed import labelled_address

ORIGIN = b"\x05boxes\x07example\x03com\x00"
TYPES = (1, 1, 1, 2, 5, 6, 12, 13, 15, 16, 16, 16, 28, 28, 33, 35, 39, 43, 44, 46, 47, 48, 50, 52, 64, 65, 65, 257, 257)
# OPT, the meta types of RFC 6895 3.1 (128 to 255: TKEY, TSIG, transfers, MAILA, ANY) and 0 are no types of records.
_NO_TYPES = frozenset((0, 41, *range(128, 256)))
# Obsolete types that NSD compresses or refuses are asked too: nothing of them is in the zone.
_OUTSIDE = (b"\x00", b"\x03com\x00", b"\x07example\x03com\x00", b"\x06xboxes\x07example\x03com\x00", b"\x03org\x00")
_EDNS_SIZES = (0, 512, 600, 1232, 4096, 65_535)


def questions(number: int, *, seed: int, owners: Sequence[bytes]) -> Iterator[bytes]:
    """Yield queries whose ids count from 0; `owners` are the zone's names in wire format."""
    dice = random.Random(seed)
    names = [name[: -len(ORIGIN)] for name in owners]
    for at in range(number):
        name = _name(dice, names)
        flags = dice.choice((0, 0x0100, 0x0100, 0x0120, 0x0110))
        opt = _opt(dice)
        yield b"%b%b\0\1\0\0\0\0\0%c%b%b\0\1%b" % (
            (at & 0xFFFF).to_bytes(2),
            flags.to_bytes(2),
            1 if opt else 0,
            _any_case(dice, name),
            _type(dice).to_bytes(2),
            opt,
        )


def _name(dice: random.Random, names: Sequence[bytes]) -> bytes:
    while True:
        labels = _labels(dice.choice(names))
        kind = dice.random()
        if kind < 0.05:
            return _wire(labels[-1:]) + dice.choice(_OUTSIDE)
        if kind < 0.35:
            labels = _near(dice, labels)
        elif kind < 0.45:
            labels = labels[1:]
        elif kind < 0.6:
            labels = [_word(dice) for _ in range(dice.choice((1, 1, 1, 2, 3, 30)))] + labels
        whole = _wire(labels) + ORIGIN
        # Names that say an address exist for us and for no zone file.
        if len(whole) <= 255 and not (len(labels) > 1 and labelled_address(labels[-2].lower())):
            return whole


def _near(dice: random.Random, labels: list[bytes]) -> list[bytes]:
    if not labels:
        return [_word(dice)]
    at = dice.randrange(len(labels))
    label = bytearray(labels[at])
    label[dice.randrange(len(label))] = dice.choice(b"abcz019-_\x00\xff.*")
    if dice.random() < 0.3 and len(label) < 63:
        label.append(dice.choice(b"ab0"))
    return [*labels[:at], bytes(label), *labels[at + 1 :]]


def _word(dice: random.Random) -> bytes:
    return dice.choice((b"_acme-challenge", b"www", b"*", b"dns", b"_psl", b"a", b"_tcp", dice.randbytes(5)))


def _labels(name: bytes) -> list[bytes]:
    labels, at = [], 0
    while at < len(name):
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return labels


def _wire(labels: Sequence[bytes]) -> bytes:
    return b"".join(len(label).to_bytes(1) + label for label in labels)


def _any_case(dice: random.Random, name: bytes) -> bytes:
    kind = dice.random()
    if kind < 0.4:
        return name
    if kind < 0.5:
        return name.upper()
    upper = name.upper()  # length octets are below "a"
    bits = dice.getrandbits(len(name))
    return bytes(upper[at] if bits >> at & 1 else octet for at, octet in enumerate(name))


def _type(dice: random.Random) -> int:
    if dice.random() < 0.9:
        return dice.choice(TYPES)
    while (rtype := dice.randrange(1, 65_536)) in _NO_TYPES:
        pass
    return rtype


def _opt(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.4:
        return b""
    version = 1 if kind < 0.45 else 0
    flags = 0x8000 if dice.random() < 0.3 else 0
    data = b"\xfd\xe9\0\4abcd" if dice.random() < 0.1 else b""
    return b"\0\0\x29%b\0%c%b%b%b" % (
        dice.choice(_EDNS_SIZES).to_bytes(2),
        version,
        flags.to_bytes(2),
        len(data).to_bytes(2),
        data,
    )
