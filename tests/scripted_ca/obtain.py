"""The shortest honest caller of `AcmeIssuer`: names in, chain out. Tests and measurements of the client use it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.acme import fault, polling
from otscert.acme.certificate import Chain
from otscert.acme.order import Order, OrderStatus
from otscert.ca import AcmeIssuer, CaError, Dns01Challenge, Polled

Publish = Callable[[Sequence[Dns01Challenge]], Awaitable[None]]
WAITING = frozenset({OrderStatus.PENDING, OrderStatus.PROCESSING, OrderStatus.UNKNOWN})


def make_csr(names: Sequence[str], key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Return a CSR in DER for `names` under `key`, or a fresh P-256 key."""
    san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(san, critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


async def until_moved(issuer: AcmeIssuer, polled: Polled, seen: frozenset[OrderStatus] = WAITING) -> Order:
    """Poll while the order is in one of the states `seen`; raises CaError when it ends invalid."""
    attempt = 0
    while polled.order.status in seen:
        await asyncio.sleep(polling.next_poll_s(attempt, polled.retry_after_s, random.random()))
        polled = await issuer.order(polled.order.url)
        attempt += 1
    if polled.order.status is OrderStatus.INVALID:
        raise CaError(fault.of_outcome(polled.order.error))
    return polled.order


async def prove(issuer: AcmeIssuer, order: Order, publish: Publish | None = None) -> Order:
    """Answer what is pending and return the order when it is ready."""
    challenges = await issuer.challenges(order)
    if publish is not None:
        await publish(challenges)
    await asyncio.gather(*map(issuer.answer, challenges))
    return await until_moved(issuer, await issuer.order(order.url))


async def obtain(
    issuer: AcmeIssuer,
    names: Sequence[str],
    csr_der: bytes,
    *,
    publish: Publish | None = None,
    preferred_root: str | None = None,
) -> Chain:
    """Return the chain for `names`, whose challenges `publish` publishes."""
    order = await issuer.open_order(names)
    if order.status is OrderStatus.PENDING:
        order = await prove(issuer, order, publish)
    order = await until_moved(issuer, await issuer.finalize(order, csr_der), WAITING | {OrderStatus.READY})
    return await issuer.chain(order, preferred_root=preferred_root)
