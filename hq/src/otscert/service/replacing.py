"""Which certificate an order follows (`replaces`, RFC 9773 section 5): what lets the CA see a renewal as one.

At Let's Encrypt such an order costs nothing of the rate limits. A wrong `replaces` has the CA refuse the whole order,
so it is left out in doubt; whoever opens the order goes on without it when the CA does not take it.
"""

from __future__ import annotations

from cryptography import x509

from otscert.acme.certificate import ari_id
from otscert.domain.order import Order, OrderState
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction


def ari_id_of(certificate: Certificate) -> str | None:
    """The certificate's id at its CA; None for one of a CA that leaves out the authority key id."""
    return ari_id(x509.load_pem_x509_certificates(certificate.chain_pem.encode("ascii"))[0])


def find_predecessor(transaction: Transaction, order: Order, *, now_s: int) -> str | None:
    """The ARI id of the certificate that this order follows; None when it follows none.

    It has to be of the same issuer (and so of the same account), to count, to be valid still, and to be followed by no
    other order that may yet be issued.
    """
    newest = transaction.certificates.newest(order.device_id)
    if newest is None or newest.issuer != order.issuer or newest.not_after_s <= now_s:
        return None
    found = ari_id_of(newest)
    others = (other for other in transaction.orders.unfinished_of(order.device_id) if other.id != order.id)
    taken = {other.replaces for other in others if other.state is not OrderState.WAITING}
    return None if found in taken else found
