"""How long an incident takes, by the configuration's issuers and what is left of their limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from otscert.cli import database, show
from otscert.config import Config
from otscert.domain.budget import Bucket, Level
from otscert.domain.forecast import Forecast, Share, foretell
from otscert.domain.registered_domain import registered_domain
from otscert.domain.spans import about
from otscert.store.transaction import Transaction


def forecast(config: Config, shares: Mapping[tuple[str, str], int]) -> Forecast:
    """How long so many certificates take, by their present issuer and model."""
    return foretell(
        tuple(
            Share(before=issuer, issuer=_next_issuer(config, model), count=count)
            for (issuer, model), count in shares.items()
        ),
        limits={issuer.name: issuer.limits for issuer in config.issuers},
        levels=database.read(config, lambda transaction: _levels(transaction, config)),
        shared_domain=_shared_domain(config),
        call_within_s=config.checkin_s,
        now_ms=int(time.time() * 1000),
    )


def forecast_view(expected: Forecast, *, now_s: int) -> dict[str, Any]:
    return {
        "seconds": expected.seconds,
        "until": show.moment(now_s + expected.seconds),
        "span": about(expected.seconds),
        "reason": expected.reason,
    }


def _next_issuer(config: Config, model: str) -> str:
    """Where a box of this model orders first."""
    known = config.models.get(model)
    return known.issuers[0] if known is not None and known.issuers else config.issuers[0].name


def _levels(transaction: Transaction, config: Config) -> dict[Bucket, Level]:
    levels: dict[Bucket, Level] = {}
    for issuer in config.issuers:
        levels |= transaction.buckets.of_issuer(issuer.name)
    return levels


def _shared_domain(config: Config) -> str | None:
    """The registered domain of all boxes; None when the zone is a public suffix, so that each box has its own."""
    one, other = (
        registered_domain(
            f"{label}.{config.zone.origin}", zone=config.zone.origin, public_suffix=config.zone.public_suffix
        )
        for label in ("a", "b")
    )
    return one if one == other else None
