"""The CA's rate limits, as Let's Encrypt has them: token buckets, who is exempt, and the words of a refusal.

Written apart from the product's own model (`otscert.domain.budget`), which it judges: plain tokens, no GCRA.
Sources: letsencrypt.org/docs/rate-limits; Boulder's ratelimits/transaction.go (what is checked when an order is opened,
what is spent when its certificate is issued) and ratelimits/limiter.go (the texts).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from tests.scripted_ca.http import Response
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.script import Exempt, Limit
from tests.scripted_ca.state import Account, Order, State

DOCS = "https://letsencrypt.org/docs/rate-limits"


@dataclass(frozen=True, slots=True)
class Draw:
    """One bucket that a request draws from: which, how large it is, and what a refusal says of it."""

    kind: str
    subject: str
    limit: Limit
    text: str
    anchor: str


def admit_order(state: State, account: Account, names: tuple[str, ...], exempt: Exempt) -> None:
    """Refuse a new order that a limit does not allow; else spend what the order itself costs.

    The limits on certificates are only looked at here and spent in `count_certificate`, as Boulder does. Of several
    limits that are spent the one that lasts longest is named.
    """
    if exempt == "ari window":
        return
    orders = [] if exempt else _per_account(state, account)
    looked_at = [*orders, *([] if exempt else _per_domain(state, names)), *_per_names(state, names)]
    looked_at += _failures(state, account, names)
    waits = [(state.buckets.wait_s((draw.kind, draw.subject), draw.limit, state.clock()), draw) for draw in looked_at]
    wait_s, draw = max(waits, key=lambda each: each[0], default=(0.0, None))
    if draw is not None and wait_s > 0:
        raise _refusal(state, draw, wait_s)
    _spend(state, orders)


def count_certificate(state: State, order: Order) -> None:
    """Spend what an issued certificate costs; the exact set is counted even for a renewal that was let through."""
    per_domain = [] if order.exempt else _per_domain(state, order.names)
    _spend(state, [*per_domain, *_per_names(state, order.names)])


def count_failure(state: State, account: Account, name: str) -> None:
    _spend(state, _failures(state, account, (name,)))


def at_load_balancer(state: State, resource: str) -> Response | None:
    """The answer of the machine in front of the CA to too many requests per second: no problem document."""
    table = state.script.limits.per_second
    of = resource if resource in table else ""
    if of not in table:
        return None
    rate, burst = table[of]
    limit, bucket = (burst, burst / rate), ("per second", of)
    wait_s = state.buckets.wait_s(bucket, limit, state.clock())
    if wait_s <= 0:
        state.buckets.spend(bucket, limit, state.clock())
        return None
    state.ledger.limited["per second"] += 1
    headers = [("Content-Type", "text/html"), ("Retry-After", str(int(wait_s) + 1))]
    return Response(status=503, headers=headers, body=b"<html><body>503 Service Temporarily Unavailable</body></html>")


def registered_domain(name: str, suffixes: Iterable[str]) -> str:
    """One label below the longest public suffix; a top-level domain that is not listed is a suffix too."""
    labels = name.removeprefix("*.").split(".")
    known = set(suffixes)
    for start in range(1, len(labels)):
        if ".".join(labels[start:]) in known:
            return ".".join(labels[start - 1 :])
    return ".".join(labels[-2:])


def _per_account(state: State, account: Account) -> list[Draw]:
    limit = state.script.limits.orders_per_account
    text = "too many new orders ({count}) from this account in the last {period}"
    return [] if limit is None else [Draw("orders", account.url, limit, text, "new-orders-per-account")]


def _per_domain(state: State, names: tuple[str, ...]) -> list[Draw]:
    limits = state.script.limits
    if limits.certificates_per_domain is None:
        return []
    domains = sorted({registered_domain(name, limits.suffixes) for name in names})
    anchor = "new-certificates-per-registered-domain"
    text = 'too many certificates ({count}) already issued for "{subject}" in the last {period}'
    return [Draw("domain", domain, limits.certificates_per_domain, text, anchor) for domain in domains]


def _per_names(state: State, names: tuple[str, ...]) -> list[Draw]:
    limit = state.script.limits.certificates_per_names
    text = "too many certificates ({count}) already issued for this exact set of identifiers in the last {period}"
    anchor = "new-certificates-per-exact-set-of-identifiers"
    return [] if limit is None else [Draw("names", ",".join(sorted(set(names))), limit, text, anchor)]


def _failures(state: State, account: Account, names: tuple[str, ...]) -> list[Draw]:
    limit = state.script.limits.failures_per_name
    if limit is None:
        return []
    text = 'too many failed authorizations ({count}) for "{name}" in the last {period}'
    anchor = "authorization-failures-per-identifier-per-account"
    identifiers = sorted({name.removeprefix("*.") for name in names})
    texts = [text.replace("{name}", each) for each in identifiers]
    return [
        Draw("failures", f"{account.url} {name}", limit, said, anchor)
        for name, said in zip(identifiers, texts, strict=True)
    ]


def _spend(state: State, draws: Iterable[Draw]) -> None:
    for draw in draws:
        state.buckets.spend((draw.kind, draw.subject), draw.limit, state.clock())


def _refusal(state: State, draw: Draw, wait_s: float) -> AcmeProblem:
    count, period_s = draw.limit
    state.ledger.limited[draw.kind] += 1
    again = dt.datetime.fromtimestamp(state.clock() + wait_s, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    text = draw.text.format(count=count, subject=draw.subject, period=_in_go(period_s))
    detail = f"{text}, retry after {again}: see {DOCS}/#{draw.anchor}"
    return AcmeProblem("rateLimited", detail, 429, headers=(("Retry-After", str(int(wait_s) + 1)),))


def _in_go(period_s: float) -> str:
    hours, seconds = divmod(round(period_s), 3600)
    return f"{hours}h{seconds // 60}m{seconds % 60}s"
