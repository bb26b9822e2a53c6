"""Serial numbers of a batch: from a list, counted from a first one, or none of the maker's own."""

from __future__ import annotations

from collections.abc import Sequence

from otscert.factory.errors import FactoryError
from otscert.factory.reading import SERIAL

_FORM = "letters, digits, '.', '_' and '-', at most 64, a letter or digit first"


def listed(text: str, *, source: str) -> list[str]:
    """One a line; empty lines do not count. Raise `FactoryError` that names the line."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        serial = line.strip()
        if not serial:
            continue
        if not SERIAL.match(serial):
            raise FactoryError(f"{source}, line {number}: {serial[:80]!r} is not a serial number ({_FORM})")
        if serial in lines:
            raise FactoryError(f"{source}, line {number}: {serial} is that of line {lines[serial]}, too")
        lines[serial] = number
    if not lines:
        raise FactoryError(f"{source} has no serial number; write one a line")
    return list(lines)


def counted(prefix: str, first: str, count: int) -> list[str]:
    """`count` numbers from `first` on, as many digits as it has; raise `FactoryError`."""
    if not first.isascii() or not first.isdigit():
        raise FactoryError(f"the first serial number {first!r} is not a number, such as 00042")
    last = str(int(first) + count - 1)
    if len(last) > len(first):
        raise FactoryError(f"{count} numbers from {first} on need {len(last)} digits: write the first with as many")
    serials = [f"{prefix}{int(first) + number:0{len(first)}}" for number in range(count)]
    if not SERIAL.match(serials[0]):
        raise FactoryError(f"{serials[0][:80]!r} is not a serial number ({_FORM})")
    return serials


def chosen(serials: Sequence[str], count: int | None, *, source: str) -> Sequence[str]:
    """The list, when it has as many as were asked for."""
    if count is not None and count != len(serials):
        raise FactoryError(f"{source} has {len(serials)} serial numbers, but --count is {count}")
    return serials
