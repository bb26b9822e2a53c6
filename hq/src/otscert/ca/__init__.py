"""Talks to CAs over ACME: a thin asyncio shell around `otscert.acme`. It keeps no orders and schedules nothing."""

from __future__ import annotations

from otscert.ca.connect import IssuerSettings, new_account_key, open_issuer
from otscert.ca.errors import CaError
from otscert.ca.issuer import AcmeIssuer, Dns01Challenge, Polled

__all__ = [
    "AcmeIssuer",
    "CaError",
    "Dns01Challenge",
    "IssuerSettings",
    "Polled",
    "new_account_key",
    "open_issuer",
]
