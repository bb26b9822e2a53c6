"""Which of a device's addresses are kept, and which stand in the zone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from otscert.domain.addresses import AddressError, IPAddress, parse_address
from otscert.domain.admission import Model
from otscert.service.refusal import Refusal
from otscert_agent.wire.problems import ProblemType

MAX_ADDRESSES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedAddresses:
    """Publishable addresses as canonical text, and the refused ones with their reasons."""

    allowed: tuple[str, ...]
    refused: Mapping[str, str]


def sort_addresses(model: Model, texts: Sequence[str]) -> SortedAddresses:
    """Sort what a box sent by its model's policy; raise `Refusal` only for more than `MAX_ADDRESSES`."""
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
        verdict = model.addresses.judge(address)
        if verdict.allowed:
            allowed.append(str(address))
        else:
            refused[str(address)] = verdict.reason
    return SortedAddresses(allowed=tuple(dict.fromkeys(allowed)), refused=refused)


def published_addresses(model: Model, texts: Iterable[str]) -> tuple[IPAddress, ...]:
    """The addresses for the zone: none for a model whose owners do not want LAN addresses in DNS."""
    return tuple(ip_address(text) for text in texts) if model.static_address else ()
