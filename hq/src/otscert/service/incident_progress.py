"""How far an incident is: what becomes of the boxes that it waits for. Read in pages, beside a running HQ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from otscert.domain.device import MAX_UNSERVED, DeviceState
from otscert.store.incidents import Incident, Marked

LEAST_OFFLINE_S = 24 * 3600
_MISSED_CALLS = 3
_SHOWN = 10


class Doing(StrEnum):
    """What the box of a marked certificate is doing about it."""

    ORDERING = "ordering"  # its order waits or is under way
    WAITING = "waiting for the box"  # it has not called since, or was told and has not ordered yet
    UNSERVED = "not served yet"  # it has a new certificate, which nobody has seen it serve
    OFFLINE = "offline"  # it has missed several calls
    FAILED = "failed"  # its order failed, or it may not order: a person has to look


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts by what boxes do and by issuer; `failed` names some boxes that a person has to look at."""

    doing: Counter[Doing] = field(default_factory=Counter)
    issuers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By present issuer and model."""
    failed: list[Marked] = field(default_factory=list)

    def add(self, page: Iterable[Marked], incident: Incident, *, now_s: int, offline_s: int) -> None:
        """Count another page."""
        for marked in page:
            doing = doing_of(marked, incident, now_s=now_s, offline_s=offline_s)
            self.doing[doing] += 1
            self.issuers[marked.issuer, marked.model] += 1
            if doing is Doing.FAILED and len(self.failed) < _SHOWN:
                self.failed.append(marked)


def offline_after_s(checkin_s: int) -> int:
    """A box that did not call for so long is switched off, or has no way to HQ."""
    return max(LEAST_OFFLINE_S, _MISSED_CALLS * checkin_s)


def doing_of(marked: Marked, incident: Incident, *, now_s: int, offline_s: int) -> Doing:
    """What the box does about its marked certificate."""
    if marked.ordering:
        return Doing.ORDERING
    if marked.state != DeviceState.ACTIVE or marked.unserved >= MAX_UNSERVED:
        return Doing.FAILED
    if not marked.in_dns or now_s - marked.last_seen_s > offline_s:
        return Doing.OFFLINE
    if marked.last_order_s >= incident.started_s:
        return Doing.UNSERVED if marked.last_order == "issued" else Doing.FAILED
    return Doing.WAITING
