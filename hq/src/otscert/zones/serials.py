"""The zone's serial, and its SOA at that serial. Knows RFC 1982's arithmetic; does not know what changed."""

from __future__ import annotations

from otscert.zones.records import SoaRecords
from otscert.zones.settings import ZoneSettings


class Serials:
    """`soa` stands at the origin, `negative_soa` in answers without records; both are of `serial`."""

    def __init__(self, settings: ZoneSettings) -> None:
        apex_s = settings.ttls.apex_s
        # RFC 2308 3: the TTL of the SOA in a negative answer is the lesser of its MINIMUM and its own TTL.
        negative_s = min(apex_s, settings.ttls.soa_minimum_s)
        self.serial = settings.first_serial
        self.soa = SoaRecords(settings, serial=self.serial, ttl_s=apex_s)
        self.negative_soa = SoaRecords(settings, serial=self.serial, ttl_s=negative_s)

    def whole_soa(self) -> tuple[int, bytes]:
        """The TTL in seconds and the data of the SOA at the origin, without compression."""
        return self.soa.ttl_s, self.soa.whole()

    def move(self) -> None:
        """Go to the next serial."""
        # RFC 1982 3.1: addition modulo 2**32; any step below 2**31 is an increase.
        self.serial = (self.serial + 1) % 2**32
        self.soa = self.soa.renumbered(self.serial)
        self.negative_soa = self.negative_soa.renumbered(self.serial)
