"""A CA in memory, behind the ports of `service`: limits and ARI windows as at Let's Encrypt, outages, an end.

It answers at once. It believes nothing: TXT values are looked up in the zone, limits are counted by itself, and it
keeps the ledger by which the year is judged.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from otscert.acme.certificate import Chain, ari_id
from otscert.acme.fault import Asked, classify
from otscert.acme.identifier import Identifier
from otscert.acme.order import Order, OrderStatus
from otscert.acme.problem import ACME_URN, Problem
from otscert.acme.renewal_info import RenewalInfo
from otscert.ca.errors import CaError, CaUnreachableError
from otscert.ca.issuer import Dns01Challenge, Polled, RenewalAdvice
from tests.year.ledger import Entry, Ledger

HOUR_S, DAY_S = 3600, 86_400
SHORT_LIFE_S = 10 * DAY_S
Look = Callable[[str, str], bool]
"""Whether the zone answers this TXT value at `_acme-challenge.<name>`."""


class Tokens:
    """A token bucket, counted apart from HQ's own arithmetic."""

    def __init__(self, count: int, period_s: int) -> None:
        self.count, self.period_s = count, period_s
        self._left: dict[str, tuple[float, float]] = {}

    def left(self, subject: str, now: float) -> float:
        left, since = self._left.get(subject, (float(self.count), now))
        return min(self.count, left + (now - since) * self.count / self.period_s)

    def take(self, subject: str, now: float) -> None:
        self._left[subject] = (self.left(subject, now) - 1, now)


@dataclass(slots=True, kw_only=True)
class _Issued:
    not_before_s: int
    not_after_s: int
    replaced: bool = False
    recalled_s: int | None = None
    """When its window was moved into the past."""


@dataclass(slots=True, kw_only=True)
class MemoryCa:
    """One account at one CA. `lives` is the life of certificates by profile; `away` its outages (from, until)."""

    name: str
    now_s: Callable[[], int]
    look: Look
    ledger: Ledger
    lives: Mapping[str | None, int]
    away: list[tuple[int, int]] = field(default_factory=list)
    per_account: Tokens = field(default_factory=lambda: Tokens(300, 3 * HOUR_S))
    per_domain: Tokens = field(default_factory=lambda: Tokens(1000, 7 * DAY_S))
    per_names: Tokens = field(default_factory=lambda: Tokens(5, 7 * DAY_S))
    ask_again_s: float = 6 * HOUR_S
    proved: bool = False
    """Every authorization is valid already: an order is ready at once."""
    issued: dict[str, _Issued] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _orders: dict[str, Order] = field(default_factory=dict)
    _proved: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _chains: dict[str, bytes] = field(default_factory=dict)
    _newest: dict[frozenset[str], str] = field(default_factory=dict)
    _known_names: set[frozenset[str]] = field(default_factory=set)

    # ---- Issuer

    async def open_order(
        self, names: Sequence[str], *, profile: str | None = None, replaces: str | None = None
    ) -> Order:
        self._be_there()
        unfinished = self._unfinished(frozenset(names))
        if unfinished is not None and replaces is None:
            return unfinished  # as Boulder: an order that can still be used comes back
        self._count(frozenset(names), replaces)
        url = f"https://{self.name}.test/order/{len(self._orders)}"
        self._orders[url] = Order(
            url=url,
            status=OrderStatus.READY if self.proved else OrderStatus.PENDING,
            identifiers=tuple(Identifier(type="dns", value=name) for name in names),
            authorizations=tuple(f"{url}/authz/{number}" for number in range(len(names))),
            finalize=f"{url}/finalize",
            profile=profile,
            replaces=replaces,
        )
        self._newest[frozenset(names)] = url
        return self._orders[url]

    async def find_order(self, names: Iterable[str]) -> Order | None:
        self._be_there()
        return self._unfinished(frozenset(names))

    async def order(self, url: str) -> Polled:
        self._be_there()
        order = self._orders[url]
        if order.status is OrderStatus.PENDING and len(self._proved[url]) == len(order.identifiers):
            order = self._orders[url] = replace(order, status=OrderStatus.READY)
        return Polled(order=order, retry_after_s=None)

    async def finalize(self, order: Order, csr_der: bytes) -> Polled:
        self._be_there()
        chain = self._issue(order, csr_der)
        self._chains[order.url] = chain
        leaf = x509.load_pem_x509_certificate(chain)
        found = ari_id(leaf)
        assert found is not None
        begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        self.issued[found] = _Issued(not_before_s=int(begins.timestamp()), not_after_s=int(ends.timestamp()))
        if order.replaces in self.issued:
            self.issued[order.replaces].replaced = True
        self._known_names.add(order.names)
        self.ledger.add(self.name, Entry.CERTIFICATE, now_s=self.now_s())
        self._orders[order.url] = replace(order, status=OrderStatus.VALID, certificate=f"{order.url}/certificate")
        return Polled(order=self._orders[order.url], retry_after_s=None)

    async def chain(self, order: Order) -> Chain:
        self._be_there()
        return Chain.parse(self._chains[order.url])

    # ---- Challenger

    async def challenges(self, order: Order) -> tuple[Dns01Challenge, ...]:
        self._be_there()
        if order.status is not OrderStatus.PENDING:
            return ()
        return tuple(
            Dns01Challenge(
                name=each.value.removeprefix("*."),
                txt_value=f"proof-{order.url.rsplit('/', 1)[1]}-{number}",
                url=f"{order.url} {number}",
                wildcard=each.value.startswith("*."),
            )
            for number, each in enumerate(order.identifiers)
        )

    async def answer(self, challenge: Dns01Challenge) -> None:
        self._be_there()
        if not self.look(challenge.name, challenge.txt_value):
            raise AssertionError(f"the zone does not answer {challenge.txt_value} for {challenge.name}")
        url, number = challenge.url.split(" ")
        self._proved[url].add(number)

    # ---- RenewalSource, Revoker

    async def renewal_info(self, ari_id: str) -> RenewalAdvice:
        self._be_there()
        issued = self.issued[ari_id]
        if issued.recalled_s is not None:
            info = RenewalInfo(start_s=issued.recalled_s - HOUR_S, end_s=issued.recalled_s - HOUR_S // 2)
        else:
            start_s, end_s = window_of(issued.not_before_s, issued.not_after_s)
            info = RenewalInfo(start_s=start_s, end_s=end_s)
        return RenewalAdvice(info=info, retry_after_s=self.ask_again_s)

    async def revoke(self, certificate_der: bytes, reason: int) -> None:  # noqa: ARG002 - the port has it
        self._be_there()
        found = ari_id(x509.load_der_x509_certificate(certificate_der))
        assert found is not None
        self.revoked.add(found)
        self.ledger.add(self.name, Entry.REVOKED, now_s=self.now_s())

    # ---- what a test does to it

    def recall_all(self) -> set[str]:
        """Move the windows of all living certificates into the past; returns their ids."""
        now_s = self.now_s()
        living = {each for each, issued in self.issued.items() if issued.not_after_s > now_s and not issued.replaced}
        for each in living:
            self.issued[each].recalled_s = now_s
        return living

    # ---- inside

    def _be_there(self) -> None:
        now_s = self.now_s()
        if any(start_s <= now_s < end_s for start_s, end_s in self.away):
            self.ledger.add(self.name, Entry.UNREACHABLE, now_s=now_s)
            raise CaUnreachableError(f"{self.name} does not answer")

    def _unfinished(self, names: frozenset[str]) -> Order | None:
        newest = self._orders.get(self._newest.get(names, ""))
        return newest if newest is not None and newest.status in {OrderStatus.PENDING, OrderStatus.READY} else None

    def _count(self, names: frozenset[str], replaces: str | None) -> None:
        now_s = self.now_s()
        replaced = self.issued.get(replaces) if replaces is not None else None
        if replaced is not None and replaced.replaced:
            self.ledger.add(self.name, Entry.REPLACED, now_s=now_s)
            raise self._refusal(409, "alreadyReplaced", "cannot replace it again", asked=Asked.REPLACING_ORDER)
        in_window = replaced is not None and _is_inside(replaced, now_s)
        if in_window:
            entry, limits = Entry.EXEMPT, []
        elif names in self._known_names:
            entry, limits = Entry.SAME_NAMES, [(self.per_names, " ".join(sorted(names)))]
        else:
            entry = Entry.CHARGED
            limits = [(self.per_account, ""), (self.per_domain, ""), (self.per_names, " ".join(sorted(names)))]
        for tokens, subject in limits:
            if tokens.left(subject, now_s) < 1:
                self.ledger.add(self.name, Entry.REFUSED, now_s=now_s)
                self.refused.append(f"{now_s}: {tokens.count} in {tokens.period_s} s for {subject or 'the account'}")
                wait_s = tokens.period_s / tokens.count
                raise self._refusal(429, "rateLimited", "too many of them", retry_after_s=wait_s)
        for tokens, subject in limits:
            tokens.take(subject, now_s)
        self.ledger.add(self.name, entry, now_s=now_s)

    def _refusal(
        self, status: int, kind: str, detail: str, *, asked: Asked = Asked.OTHER, retry_after_s: float | None = None
    ) -> CaError:
        headers = {} if retry_after_s is None else {"Retry-After": str(int(retry_after_s) + 1)}
        problem = Problem(type=f"{ACME_URN}{kind}", detail=detail, status=status)
        return CaError(classify(status, problem, headers, datetime.fromtimestamp(self.now_s(), UTC), asked=asked))

    def _issue(self, order: Order, csr_der: bytes) -> bytes:
        csr = x509.load_der_x509_csr(csr_der)
        start = datetime.fromtimestamp(self.now_s(), UTC) - timedelta(hours=1)
        life = timedelta(seconds=self.lives[order.profile])
        names = [x509.DNSName(name) for name in sorted(order.names)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(csr.public_key())
            .serial_number(int.from_bytes(secrets.token_bytes(16), "big") >> 1)
            .not_valid_before(start)
            .not_valid_after(start + life)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def window_of(not_before_s: int, not_after_s: int) -> tuple[int, int]:
    """Let's Encrypt's window: 2 % of the life, around two thirds of it (half of it below ten days)."""
    life_s = not_after_s - not_before_s
    middle_s = not_before_s + (life_s // 2 if life_s < SHORT_LIFE_S else life_s * 2 // 3)
    return middle_s - life_s // 100, middle_s + life_s // 100


def _is_inside(issued: _Issued, now_s: int) -> bool:
    start_s, end_s = window_of(issued.not_before_s, issued.not_after_s)
    return issued.recalled_s is None and start_s <= now_s <= end_s
