"""The zone's serial, and its SOA at that serial. Knows RFC 1982's arithmetic; does not know what changed."""

from __future__ import annotations

from otscert.zones.records import SoaRecords
from otscert.zones.settings import ZoneSettings

_ALL = 2**32
_HALF = 2**31


def is_ahead(serial: int, other: int) -> bool:
    """Whether a secondary at `other` takes `serial` for newer (RFC 1982 3.2)."""
    return 0 < (serial - other) % _ALL < _HALF


def newest(first: int, second: int) -> int:
    """The one that a secondary takes for newer; the first where RFC 1982 leaves it open."""
    return second if is_ahead(second, first) else first


class Serials:
    """`soa` stands at the origin, `negative_soa` in answers without records; both are of `serial`.

    The serial never passes `ceiling`: a move beyond it is owed until the ceiling is raised. None: there is none.
    """

    def __init__(self, settings: ZoneSettings) -> None:
        apex_s = settings.ttls.apex_s
        # RFC 2308 3: the TTL of the SOA in a negative answer is the lesser of its MINIMUM and its own TTL.
        negative_s = min(apex_s, settings.ttls.soa_minimum_s)
        self.serial = settings.first_serial
        self.soa = SoaRecords(settings, serial=self.serial, ttl_s=apex_s)
        self.negative_soa = SoaRecords(settings, serial=self.serial, ttl_s=negative_s)
        self._ceiling: int | None = None
        self._owed = False

    def whole_soa(self) -> tuple[int, bytes]:
        """The TTL in seconds and the data of the SOA at the origin, without compression."""
        return self.soa.ttl_s, self.soa.whole()

    @property
    def room(self) -> int:
        """How many moves there are before the ceiling."""
        return _HALF if self._ceiling is None else (self._ceiling - self.serial) % _ALL

    def move(self) -> bool:
        """Go to the next serial; False when the ceiling forbids it."""
        if self.serial == self._ceiling:
            self._owed = True
            return False
        # RFC 1982 3.1: addition modulo 2**32; any step below 2**31 is an increase.
        self._be((self.serial + 1) % _ALL)
        return True

    def allow(self, ceiling: int) -> bool:
        """Let the serial go as far as `ceiling`, which is not behind it; True when it made the move that was owed."""
        self._ceiling = ceiling
        return self._owed and self.move()

    def jump(self, serial: int) -> None:
        """Be `serial`, and stay there until the next jump; the same one again changes nothing."""
        self._ceiling = serial
        if serial != self.serial:
            self._be(serial)

    def _be(self, serial: int) -> None:
        self._owed = False
        self.serial = serial
        self.soa = self.soa.renumbered(serial)
        self.negative_soa = self.negative_soa.renumbered(serial)
