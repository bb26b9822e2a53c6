"""Below which registered domain a CA counts a name: one label below a public suffix (publicsuffix.org, "eTLD+1").

The list comes with the package `publicsuffixlist`; as at Let's Encrypt its private section counts too, so a maker's
zone that is listed there makes every box a registered domain of its own. A CA may use an older or newer list than HQ.
"""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList


def registered_domain(name: str, *, zone: str, public_suffix: bool | None) -> str:
    """The registered domain of a name in `zone`; a wildcard is counted like the name below which it stands.

    `public_suffix`: whether the CA takes the zone for a public suffix; None: as HQ's list has it.
    """
    plain = name.removeprefix("*.")
    if public_suffix is None:
        return _list().privatesuffix(plain) or plain
    if public_suffix:
        labels = plain.removesuffix(f".{zone}").rsplit(".", 1)
        return plain if plain == zone else f"{labels[-1]}.{zone}"
    # A zone that is no suffix for the CA, whatever HQ's list says: what lies above it decides.
    above = zone.partition(".")[2]
    return _list().privatesuffix(zone) or (above and _list().privatesuffix(above)) or zone


def is_public_suffix(zone: str) -> bool:
    """Whether HQ's list has the zone itself."""
    return _list().publicsuffix(zone) == zone


@cache
def _list() -> PublicSuffixList:
    return PublicSuffixList()
