"""What this process has counted since it started, as metrics. Series that alerts are made of begin at nought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from otscert.api.metrics.families import counter, gauge, histogram
from otscert.counting import Counts
from otscert.zones.counters import AnswerCounters
from otscert.zones.notify import Standing

_MESSAGES = ("hello", "enroll", "checkin", "order")
_CA_OUTCOMES = ("2xx", "4xx", "5xx", "429", "unreachable", "unusable")


def counted(counts: Counts, *, issuers: Sequence[str], last_issued: Mapping[str, int]) -> Iterator[Metric]:
    messages: dict[tuple[str, ...], int] = {
        (word, outcome): 0 for word in _MESSAGES for outcome in ("ok", "unavailable")
    }
    yield counter(
        "messages",
        "Messages of boxes that were answered; outcome: ok, pending, refused, repeated, or the problem type.",
        messages | counts.messages.snapshot(),
        "message",
        "outcome",
    )
    requests: dict[tuple[str, ...], int] = {(issuer, outcome): 0 for issuer in issuers for outcome in _CA_OUTCOMES}
    yield counter(
        "ca_requests",
        "Requests to a CA, by status class, 429, unreachable, or unusable (no answer of an ACME server).",
        requests | counts.ca_requests.snapshot(),
        "issuer",
        "outcome",
    )
    yield counter(
        "webhook_questions",
        "Questions to a model's webhook: allowed, denied, unclear, unreachable, crashed.",
        counts.webhooks.snapshot(),
        "model",
        "outcome",
    )
    yield counter(
        "zone_updates",
        "Updates of the zone (RFC 2136) to a server elsewhere: taken, or why not.",
        counts.zone_updates.snapshot(),
        "server",
        "outcome",
    )
    yield histogram(
        "issuance_duration_seconds",
        "From an order's acceptance to its certificate.",
        counts.issuances.durations.snapshot(),
    )
    yield gauge(
        "issuer_last_success_timestamp_seconds",
        "When the issuer last gave a certificate; no series when it has not yet.",
        {(issuer,): at_s for issuer, at_s in last_issued.items()},
        "issuer",
    )


def dns(answers: AnswerCounters, *, connections: int, unsent: int) -> Iterator[Metric]:
    yield counter(
        "dns_answers",
        "Answers of the name server; type none: no question could be read, other: one that the zone does not know.",
        {(kind, rcode): count for (kind, rcode), count in answers.snapshot().items()},
        "type",
        "rcode",
    )
    yield counter("dns_dropped", "Messages that got no answer: not queries, or too short.", {(): answers.dropped})
    yield counter("dns_unsent", "Answers over UDP that the kernel did not send.", {(): unsent})
    yield counter(
        "dns_truncated", "Answers over UDP that did not fit, so that the client asks over TCP.", {(): answers.truncated}
    )
    yield counter(
        "dns_limited", "Answers over UDP beyond dns.rate_limit_per_s: no records, ask over TCP.", {(): answers.limited}
    )
    yield counter("dns_tcp_queries", "Queries that came over TCP.", {(): answers.tcp})
    yield counter(
        "dns_cookies",
        "Queries with a DNS cookie: new (only the client's own), valid, bad (not ours, of another address, or old).",
        {(standing.value,): count for standing, count in answers.cookies.items()},
        "standing",
    )
    yield gauge("dns_connections", "Open TCP connections to the name server.", {(): connections})


def secondaries(serial: int, standings: Sequence[Standing]) -> Iterator[Metric]:
    yield gauge("zone_serial", "The serial of the zone's SOA.", {(): serial})
    yield gauge(
        "secondary_serial",
        "The newest serial of which the server took NOTIFY; no series when it has taken none yet.",
        {(each.secondary, each.server): each.acknowledged for each in standings if each.acknowledged is not None},
        "secondary",
        "server",
    )
    yield gauge(
        "secondary_behind_seconds",
        "For how long there have been changes of which the server did not take NOTIFY; 0: it took the newest.",
        {(each.secondary, each.server): each.behind_s for each in standings},
        "secondary",
        "server",
    )
