"""Gathers what alerting looks at: from the store, from HQ's own certificates, from its disk. Judges nothing.

Runs in a survey's thread, so files may be read here.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from otscert.domain.alert_digest import Numbers
from otscert.domain.alert_facts import BudgetFacts, ChannelFacts, Facts, IncidentFacts, IssuerFacts, Some
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S
from otscert.domain.breaker import BreakerState
from otscert.domain.budget import Bucket
from otscert.pki.files import PkiError, PkiFolder
from otscert.service.canary import RNG_REPEATS
from otscert.store.issuers import Issuer
from otscert.store.outbox import Posted
from otscert.store.transaction import Transaction

CHECKINS_MISSED = 4
"""A box that has missed so many check-ins does not call."""
ORDERING_S = 15 * MINUTE_S
"""An order that is younger is taken to be just obtaining the certificate."""
SERVING_S = 12 * HOUR_S
"""A box that calls so long after a certificate was issued should serve it."""
UNATTENDED_S = MINUTE_S
_PROCESSES_S = HOUR_S
"""How long a process that went silent is remembered."""
_ENDING_DAYS = (1, 7, 30)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What there is to look at, by the configuration. `models` may change while HQ runs."""

    issuers: Sequence[str]
    models: Mapping[str, object]
    checkin_s: int
    away_boxes: Callable[[], int]
    """So many boxes must be away before that is a fact; 0: it never is."""
    data_dir: Path
    pki: PkiFolder | None
    """None: this process does not renew HQ's own certificates, so its copies say nothing."""

    @property
    def silence_s(self) -> int:
        """For how long a box may be silent and still counts as calling."""
        return max(DAY_S, CHECKINS_MISSED * self.checkin_s)


def gather(transaction: Transaction, watched: Watched, *, channels: Sequence[str], heard_s: int, now_s: int) -> Facts:
    """Return the facts. `heard_s`: since when boxes could be heard without a gap; before it silence means nothing."""
    trouble = transaction.trouble
    calling_since_s = now_s - watched.silence_s
    ordered_before_s = now_s - ORDERING_S
    from_id = trouble.first_event_since(now_s - DAY_S)
    revocations = transaction.statistics.revocations()
    return Facts(
        late=trouble.late(now_s=now_s, calling_since_s=calling_since_s, ordered_before_s=ordered_before_s),
        lapsed=trouble.lapsed(now_s=now_s, calling_since_s=calling_since_s, ordered_before_s=ordered_before_s),
        away=_away(transaction, watched, heard_s=heard_s, now_s=now_s),
        not_served=trouble.not_served(issued_before_s=now_s - DAY_S, called_after_s=SERVING_S),
        held_back=trouble.held_back(),
        unattended=trouble.unattended(due_before_s=now_s - UNATTENDED_S, now_s=now_s),
        old_orders=trouble.old_orders(made_before_s=now_s - DAY_S),
        shared=trouble.frozen(),
        copied_units=_copied_units(transaction, from_id),
        copies_told=0 if from_id is None else trouble.count_events("clone.seen", from_id=from_id),
        revocations=Some(count=revocations.count, since_s=revocations.since_s),
        repeating=_repeating(transaction, watched),
        issuers=issuers(transaction, watched, now_s=now_s),
        budgets=budgets(transaction),
        incidents=[
            IncidentFacts(id=each.id, reason=each.reason, started_s=each.started_s, marked=each.count, left=each.left)
            for each in transaction.incidents.running()
        ],
        channels=failing(transaction.outbox.waiting(), channels),
        disk_free_bytes=_disk_free(watched.data_dir),
        own_ends=_own_ends(watched.pki) if watched.pki else (),
        worker_seen_s=_worker_seen_s(transaction, now_s=now_s),
    )


def numbers(transaction: Transaction, watched: Watched, *, channels: Sequence[str], now_s: int) -> Numbers:
    """What the digest counts."""
    from_id = transaction.trouble.first_event_since(now_s - DAY_S)

    def happened(kind: str) -> int:
        return 0 if from_id is None else transaction.trouble.count_events(kind, from_id=from_id)

    return Numbers(
        boxes=sum(group.count for group in transaction.statistics.devices() if group.state == "active"),
        issued=happened("order.issued"),
        renewals=happened("device.renewing"),
        admitted=happened("device.admitted"),
        failed=happened("order.failed"),
        revoked=happened("certificate.revoked"),
        ending=[(days, transaction.statistics.ending(now_s=now_s, within_s=days * DAY_S)) for days in _ENDING_DAYS],
        orders_waiting=sum(each.count for each in transaction.statistics.orders().values()),
        issuers=issuers(transaction, watched, now_s=now_s),
        budgets=budgets(transaction),
        given_up=_given_up(transaction, channels, now_s=now_s),
    )


def issuers(transaction: Transaction, watched: Watched, *, now_s: int) -> list[IssuerFacts]:
    return [_issuer(transaction.issuers.get(name), now_s=now_s) for name in watched.issuers]


def _issuer(known: Issuer, *, now_s: int) -> IssuerFacts:
    """A few failures are none yet: the breaker says when an issuer fails."""
    breaker, problem = known.breaker, known.problem
    failing = breaker.state(now_s) is not BreakerState.CLOSED
    return IssuerFacts(
        name=known.name,
        failing_since_s=breaker.failing_since_s if failing else None,
        failures=breaker.failures,
        reason=breaker.reason,
        last_success_s=known.last_success_s,
        account_problem=problem.kind if problem else "",
        account_reason=problem.reason if problem else "",
        account_link=problem.link if problem else "",
        account_since_s=problem.since_s if problem else None,
    )


def budgets(transaction: Transaction) -> list[BudgetFacts]:
    """The buckets that orders wait for; those of issuers that are gone, too."""
    return [
        BudgetFacts(
            issuer=Bucket.parse(each.bucket).issuer,
            bucket=each.bucket,
            waiting=each.count,
            urgent=each.urgent,
            since_s=each.since_s,
            reason=transaction.trouble.why_parked(each.bucket),
        )
        for each in transaction.trouble.waiters()
    ]


def failing(waiting: Sequence[Posted], channels: Sequence[str]) -> list[ChannelFacts]:
    """The channels that have refused what waits for them."""
    by_channel: defaultdict[str, list[Posted]] = defaultdict(list)
    for posted in waiting:
        by_channel[posted.channel].append(posted)
    return [
        ChannelFacts(
            name=channel,
            waiting=len(posted),
            since_s=min(each.created_s for each in posted if each.problem),
            problem=next(each.problem for each in posted if each.problem),
        )
        for channel, posted in sorted(by_channel.items())
        if channel in channels and any(each.problem for each in posted)
    ]


def _given_up(transaction: Transaction, channels: Sequence[str], *, now_s: int) -> list[ChannelFacts]:
    found = []
    for channel in channels:
        lost = transaction.outbox.given_up(channel, after_s=now_s - DAY_S)
        if lost:
            since_s = min(each.created_s for each in lost)
            found.append(ChannelFacts(name=channel, waiting=len(lost), since_s=since_s, problem=lost[0].problem))
    return found


def _away(transaction: Transaction, watched: Watched, *, heard_s: int, now_s: int) -> Some:
    least = watched.away_boxes()
    if not least or now_s - heard_s < watched.silence_s:
        return Some()
    away = transaction.trouble.away(now_s=now_s, calling_since_s=now_s - watched.silence_s)
    return away if away.count >= least else Some()


def _copied_units(transaction: Transaction, from_id: int | None) -> Some:
    if from_id is None:
        return Some()
    count = transaction.trouble.count_events("unit.cloned", from_id=from_id)
    return Some(count=count, examples=tuple(transaction.trouble.boxes_of_events("unit.cloned", from_id=from_id)))


def _repeating(transaction: Transaction, watched: Watched) -> list[tuple[str, int]]:
    return [
        (model, mark.at_s)
        for model in sorted(watched.models)
        for mark in transaction.canaries.marks(model)
        if mark.kind == RNG_REPEATS
    ]


def _worker_seen_s(transaction: Transaction, *, now_s: int) -> int | None:
    """When a worker was last there. None while no process at all has said that it is."""
    processes = transaction.processes.seen_since(now_s - _PROCESSES_S)
    if not processes:
        return None
    workers = [each.seen_s for each in processes if "worker" in each.roles.split()]
    return max(workers) if workers else min(each.started_s for each in processes)


def _disk_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        _log.warning("alerting.disk_not_read", extra={"reason": str(error)})
        return None


def _own_ends(pki: PkiFolder) -> list[tuple[str, int]]:
    found = []
    readers: Mapping[str, Callable[[], x509.Certificate]] = {
        "tls": lambda: pki.tls().certificate,
        "answer": lambda: pki.answer().certificate,
        "root": pki.root_certificate,
    }
    for name, read in readers.items():
        try:
            found.append((name, int(read().not_valid_after_utc.timestamp())))
        except (PkiError, OSError) as error:
            _log.warning("alerting.certificate_not_read", extra={"certificate": name, "reason": str(error)})
    return found
