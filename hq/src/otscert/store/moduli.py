"""Moduli of the fleet's RSA keys, numbered in the order in which they came; never forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetModulus:
    number: int
    modulus: int
    spki_sha256: bytes
    device_id: str


_COLUMNS = "number, modulus, spki_sha256, device_id"


def _fleet_modulus(row: tuple[Any, ...]) -> FleetModulus:
    return FleetModulus(number=row[0], modulus=int.from_bytes(row[1], "big"), spki_sha256=row[2], device_id=row[3])


class Moduli:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def add(self, modulus: int, *, spki_sha256: bytes, device_id: str) -> None:
        """Enter the modulus of a verified key; belongs into the transaction that enters the key."""
        self._sql(
            "INSERT INTO rsa_modulus (spki_sha256, modulus, device_id) VALUES (?, ?, ?)",
            (spki_sha256, modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"), device_id),
        )

    def after(self, number: int, *, limit: int) -> list[FleetModulus]:
        """Return the first so many that came after this number (0: from the beginning), in their order."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM rsa_modulus WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
        )
        return [_fleet_modulus(row) for row in rows]

    def between(self, first: int, last: int) -> list[FleetModulus]:
        """Return those with these numbers, both ends included."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM rsa_modulus WHERE number BETWEEN ? AND ? ORDER BY number", (first, last)
        )
        return [_fleet_modulus(row) for row in rows]
