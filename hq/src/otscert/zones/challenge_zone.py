"""The zone that holds challenges alone, where the boxes' names are held by servers elsewhere and are aliases into it.

Knows that a box is a name here and has nothing else. Does not know the other zone, nor who writes the aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.zones.boxes import BoxEntry
from otscert.zones.zone import Zone

_NOTHING = AddressPolicy(networks=(), computed_names=False)


class ChallengeZone(Zone):
    """A zone whose labels are active without addresses, computed names, HTTPS and CAA records.

    An active label has a placeholder at `_acme-challenge`, so that no resolver remembers that there is nothing.
    """

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        """Make `label` a name; the addresses are judged, and published by the other zone."""
        super().activate(label, (), _NOTHING)
        return tuple(policy.judge(address) for address in addresses if not policy.publishes(address))

    def load(self, boxes: Iterable[BoxEntry], txt: Iterable[tuple[str, str]]) -> tuple[Verdict, ...]:
        """Replace all labels and challenges at once; addresses are left to the other zone."""
        return super().load(((label, (), _NOTHING) for label, _, _ in boxes), txt)

    def set_caa(self, _values: Sequence[str]) -> None:
        """Do nothing: RFC 8659 has a CA look above the box's own name, and for no alias below it."""

    def set_persist(self, _values: Sequence[str]) -> None:
        """Do nothing: `_validation-persist` stands beside the box's name."""
