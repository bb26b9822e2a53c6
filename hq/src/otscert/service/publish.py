"""Which of a device's addresses stand in the zone."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from otscert.domain.addresses import IPAddress
from otscert.domain.admission import Model


def published_addresses(model: Model, texts: Iterable[str]) -> tuple[IPAddress, ...]:
    """The addresses for the zone: none for a model whose owners do not want LAN addresses in DNS."""
    return tuple(ip_address(text) for text in texts) if model.static_address else ()
