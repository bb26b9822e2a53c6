"""What the names of one label are to hold on a server elsewhere: what HQ's own name server would answer there.

Knows which record sets of a label are HQ's, and that challenges may be delegated to a zone of their own. Computed names
are not among them. Does not know messages or servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.zones import wire
from otscert.zones.content import CHALLENGE, taken_reason
from otscert.zones.errors import LabelError
from otscert.zones.records import caa_rdata
from otscert.zones.rrs import Rr
from otscert.zones.settings import ZoneSettings, absolute_name, name_octets
from otscert.zones.update import CNAME, Change
from otscert.zones.zone import Zone

_PERSIST = b"\x13_validation-persist"
_NO_SERVER = "ns.invalid"
# An alias never changes; as short as a box's addresses, so that a maker who takes the delegation back waits a minute.
_ALIAS_TTL_S = 60


class UpdateSheet:
    """Holds one label at a time, as a zone does; `take_off` says what it has become and makes room for the next.

    `challenge_zone`: the zone to which the names of challenges are aliases; empty: challenges stand in this one.
    """

    def __init__(self, settings: ZoneSettings, *, challenge_zone: str = "") -> None:
        # The SOA and the NS records are the primary's own; nobody asks this zone for them.
        self._zone = Zone(replace(settings, name_servers=(_NO_SERVER,)))
        self._ttls = settings.ttls
        self.origin = name_octets(absolute_name(settings.origin, setting="origin"))
        self._challenge_zone = (
            name_octets(absolute_name(challenge_zone, setting="challenge_zone")) if challenge_zone else b""
        )

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        refused = self._zone.activate(label, addresses, policy)
        self._check(label)
        return refused

    def withdraw(self, label: str) -> None:
        self._zone.withdraw(label)
        self._check(label)

    def _check(self, label: str) -> None:
        """Raise `LabelError` for a name of the zone itself: what stands there is the maker's, and not to be emptied."""
        if label.lower() in self._zone.left_out:
            raise LabelError(taken_reason(label))

    def set_txt(self, label: str, values: Iterable[str]) -> None:
        self._zone.set_txt(label, values)

    def take_off(self, label: str) -> Change:
        """The change that makes the label's names hold what the sheet does; the sheet is empty then."""
        key = _key(label)
        owner, challenge = key + self.origin, CHALLENGE + key + self.origin
        records = self._zone.rrs_of(key)
        if self._challenge_zone and any(record.owner == challenge for record in records):
            alias = Rr(challenge, CNAME, _ALIAS_TTL_S, CHALLENGE + key + self._challenge_zone)
            records = [*(record for record in records if record.owner != challenge), alias]
        self.withdraw(label)
        self.set_txt(label, ())
        emptied = [
            (owner, wire.A),
            (owner, wire.AAAA),
            (owner, wire.HTTPS),
            (challenge, wire.TXT),
            (challenge, CNAME),
            (_PERSIST + key + self.origin, wire.TXT),
        ]
        others = [(record.owner, record.rtype) for record in records]
        return Change(list(dict.fromkeys([*emptied, *others])), records)

    def top(self, caa: Sequence[str]) -> Change:
        """The change that makes the zone's top hold exactly these CAA records.

        Raises:
            RecordError: a value does not fit.
        """
        records = [Rr(self.origin, wire.CAA, self._ttls.apex_s, caa_rdata(value)) for value in caa]
        return Change([(self.origin, wire.CAA)], records)


def _key(label: str) -> bytes:
    lowered = label.lower().encode("ascii")
    return len(lowered).to_bytes(1) + lowered
