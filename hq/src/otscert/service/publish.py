"""Which of a device's addresses are kept, and which stand in the zone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from otscert.domain.addresses import AddressError, AddressPolicy, IPAddress, is_global, parse_address
from otscert.domain.admission import Model
from otscert.service.refusal import Refusal
from otscert_agent.wire.problems import ProblemType

MAX_ADDRESSES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedAddresses:
    """Publishable addresses as canonical text, and the refused ones with their reasons."""

    allowed: tuple[str, ...]
    refused: Mapping[str, str]


def sort_addresses(
    model: Model, texts: Sequence[str], *, caller: str = "", before: Sequence[str] = ()
) -> SortedAddresses:
    """Sort what a box sent by its model's policy; raise `Refusal` only for more than `MAX_ADDRESSES`.

    A global IPv6 address counts as the box's own when it calls from there (`caller`), and from then on for as long as
    it goes on to claim it: it is among those that were allowed `before`.
    """
    if len(texts) > MAX_ADDRESSES:
        raise Refusal(ProblemType.BAD_ADDRESS, f"more than {MAX_ADDRESSES} addresses")
    allowed: list[str] = []
    refused: dict[str, str] = {}
    for text in texts:
        try:
            address = parse_address(text)
        except AddressError as error:
            refused[text[:45]] = str(error)
            continue
        known = is_global(address) and (str(address) in before or _same(address, caller))
        verdict = model.addresses.judge_own(address, known=known)
        if verdict.allowed:
            allowed.append(str(address))
        else:
            refused[str(address)] = verdict.reason
    return SortedAddresses(allowed=tuple(dict.fromkeys(allowed)), refused=refused)


def without_global(texts: Iterable[str]) -> tuple[str, ...]:
    """What a box keeps that does not claim any of these any more: a global address is over at once."""
    return tuple(text for text in texts if not is_global(ip_address(text)))


def published_addresses(model: Model, texts: Iterable[str]) -> tuple[IPAddress, ...]:
    """The addresses for the zone: none for a model whose owners do not want LAN addresses in DNS."""
    return tuple(ip_address(text) for text in texts) if model.static_address else ()


def shown(model: Model, *, serves: bool) -> AddressPolicy:
    """What holds in the zone for a box of this model; `serves`: it presents its newest certificate."""
    policy = model.addresses
    return policy if serves or not policy.https_record else _without_https(policy)


@lru_cache(256)
def _without_https(policy: AddressPolicy) -> AddressPolicy:
    # The same object each time: a zone that is filled compares policies by identity.
    return replace(policy, https_record=False)


def _same(address: IPAddress, caller: str) -> bool:
    try:
        return address == IPv6Address(caller)
    except ValueError:
        return False
