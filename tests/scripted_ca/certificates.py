"""Certificate download with alternates, and revocation (RFC 8555 sections 7.4.2 and 7.6)."""

from __future__ import annotations

from cryptography import x509

from tests.scripted_ca import jose
from tests.scripted_ca.http import Response
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.state import Issued, Signed, State, numbered

REASONS = {0, 1, 4, 5}  # what Let's Encrypt accepts


def show(state: State, signed: Signed) -> Response:
    issued = numbered(signed.path[0], state.issued)
    assert isinstance(issued, Issued)
    if issued.order.account is not signed.who():
        raise AcmeProblem("unauthorized", "the certificate is another account's", 403)
    chosen = int(signed.path[1]) if len(signed.path) > 1 else 0
    if chosen >= len(state.issuance.roots):
        raise AcmeProblem("malformed", "there is no such chain", 404)
    headers = [("Content-Type", "application/pem-certificate-chain")]
    others = (number for number in range(len(state.issuance.roots)) if number != chosen)
    path = f"{state.base_url}/cert/{signed.path[0]}"
    headers.extend(("Link", f'<{path}/{number}>;rel="alternate"') for number in others)
    return Response(headers=headers, body=state.issuance.chain(issued.certificate, chosen).encode("ascii"))


def revoke(state: State, signed: Signed) -> Response:
    members = signed.members()
    certificate = x509.load_der_x509_certificate(jose.unb64(str(members.get("certificate"))))
    issued = state.by_serial.get(certificate.serial_number)
    if issued is None or issued.certificate != certificate:
        raise AcmeProblem("malformed", "not a certificate of this CA", 404)
    if issued.order.account is not signed.who():
        raise AcmeProblem("unauthorized", "the certificate is another account's", 403)
    if issued.revoked is not None:
        raise AcmeProblem("alreadyRevoked", "it is revoked already")
    if members.get("reason", 0) not in REASONS:
        raise AcmeProblem("badRevocationReason", f"one of {sorted(REASONS)}")
    issued.revoked = members.get("reason", 0)
    order = issued.order
    state.ledger.write(
        "revoked",
        account=order.account.url,
        order=f"{state.base_url}/order/{order.number}",
        names=order.names,
        serial=f"{certificate.serial_number:x}",
    )
    return Response()
