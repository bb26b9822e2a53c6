"""newOrder, order and finalize (RFC 8555 section 7.4), with Boulder's reuse of unfinished orders."""

from __future__ import annotations

import datetime as dt
import hashlib
from email.utils import format_datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.scripted_ca import accounts, authorizations, jose, limits, renewal_info
from tests.scripted_ca.http import Response
from tests.scripted_ca.ledger import Kind
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.script import Exempt
from tests.scripted_ca.state import Account, Issued, Order, Signed, State, json_response, numbered

ORDER_LIFE = dt.timedelta(hours=8)
MAX_NAMES = 25


def create(state: State, signed: Signed) -> Response:
    account, members = signed.who(), signed.members()
    names = _names(members)
    profile = members.get("profile", next(iter(state.script.profiles), ""))
    if state.script.profiles and profile not in state.script.profiles:
        raise AcmeProblem("invalidProfile", f"there is no profile {profile!r}")
    accounts.check_may_order(state, names)
    replaces = renewal_info.checked(state, account, names, members.get("replaces"))
    exempt = renewal_info.exemption(state, names, replaces)
    limits.admit_order(state, account, names, exempt)
    key = (profile, frozenset(names))
    order = account.open_orders.get(key) if state.script.reuse_orders else None
    if order is not None:
        _record(state, "reusedOrder", order)
    else:
        order = _open(state, account, names, profile=profile, replaces=replaces, exempt=exempt)
        account.open_orders[key] = order
        _record(state, "newOrder", order)
    return _response(state, order, 201, location=True)


def show(state: State, signed: Signed) -> Response:
    order = _mine(state, signed)
    if order.status == "processing":
        order.polls_left -= 1
        if order.polls_left < 0 and state.clock() >= order.done_at:
            order.status = "valid"
    return _response(state, order, 200, location=False)


def finalize(state: State, signed: Signed) -> Response:
    order = _mine(state, signed)
    if order.status != "ready":
        raise AcmeProblem("orderNotReady", f"the order is {order.status}", 403)
    csr = _csr(signed.members().get("csr"), order)
    spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    spki_sha256 = hashlib.sha256(spki).hexdigest()
    _record(state, "finalize", order, spki_sha256)
    issued = _issue(state, order, csr)
    leaf = issued.certificate
    limits.count_certificate(state, order)
    _record(state, "issued", order, spki_sha256, f"{leaf.serial_number:x}")
    order.account.open_orders.pop((order.profile, frozenset(order.names)), None)
    order.polls_left = state.script.processing_polls - 1
    order.done_at = state.clock() + state.script.processing_s
    processing = state.script.processing_polls > 0 or state.script.processing_s > 0
    order.status = "processing" if processing else "valid"
    return _response(state, order, 200, location=state.script.location_on_finalize)


def _issue(state: State, order: Order, csr: x509.CertificateSigningRequest) -> Issued:
    key, names, script = csr.public_key(), order.names, state.script
    if script.mistake == "another key":
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
    elif script.mistake == "other names":
        names = tuple(f"not-{name.removeprefix('*.')}" for name in names[:1])
    leaf = state.issuance.issue(key, names, start=state.now(), life_s=script.profiles.get(order.profile, 90 * 86400))
    issued = Issued(certificate=leaf, order=order)
    order.certificate = len(state.issued)
    state.issued.append(issued)
    state.by_serial[leaf.serial_number] = issued
    state.names_issued.add(frozenset(order.names))
    renewal_info.remember(state, issued)
    return issued


def _record(state: State, kind: Kind, order: Order, spki_sha256: str = "", serial: str = "") -> None:
    state.ledger.write(
        kind,
        account=order.account.url,
        order=_url(state, order),
        names=order.names,
        spki_sha256=spki_sha256,
        serial=serial,
        replaces=order.replaces,
        profile=order.profile,
    )


def _open(
    state: State, account: Account, names: tuple[str, ...], *, profile: str, replaces: str | None, exempt: Exempt
) -> Order:
    expires = (state.now() + ORDER_LIFE).strftime("%Y-%m-%dT%H:%M:%SZ")
    order = Order(
        number=len(state.orders),
        account=account,
        names=names,
        authorizations=[authorizations.for_name(state, account, name) for name in names],
        profile=profile,
        replaces=replaces,
        expires=expires,
        exempt=exempt,
    )
    if replaces is not None:
        state.replacing.setdefault(replaces, []).append(order)
    for authorization in order.authorizations:
        authorization.orders.append(order)
    authorizations.settle(order)
    state.orders.append(order)
    account.orders.append(order)
    return order


def _names(members: dict[str, Any]) -> tuple[str, ...]:
    identifiers = members.get("identifiers")
    if not isinstance(identifiers, list) or not 0 < len(identifiers) <= MAX_NAMES:
        raise AcmeProblem("malformed", f"an order has 1 to {MAX_NAMES} identifiers")
    for identifier in identifiers:
        if identifier.get("type") != "dns":
            raise AcmeProblem("unsupportedIdentifier", f"type {identifier.get('type')!r}")
        if "." not in identifier["value"] or identifier["value"] != identifier["value"].lower():
            raise AcmeProblem("rejectedIdentifier", f"{identifier['value']!r} is not a public name")
    return tuple(identifier["value"] for identifier in identifiers)


def _csr(encoded: object, order: Order) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_der_x509_csr(jose.unb64(str(encoded)))
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise AcmeProblem("badCSR", f"the CSR cannot be read: {error}") from None
    if not csr.is_signature_valid:
        raise AcmeProblem("badCSR", "the CSR's signature does not verify")
    if set(san.get_values_for_type(x509.DNSName)) != set(order.names) or len(list(san)) != len(order.names):
        raise AcmeProblem("badCSR", "the CSR's names are not the order's")
    return csr


def _mine(state: State, signed: Signed) -> Order:
    order = numbered(signed.path[0], state.orders)
    assert isinstance(order, Order)
    if order.account is not signed.who():
        raise AcmeProblem("unauthorized", "the order is another account's", 403)
    return order


def _url(state: State, order: Order) -> str:
    return f"{state.base_url}/order/{order.number}"


def _response(state: State, order: Order, status: int, *, location: bool) -> Response:
    headers: list[tuple[str, str]] = [("Location", _url(state, order))] if location else []
    if state.script.retry_after is not None and order.status in {"pending", "processing"}:
        headers.append(("Retry-After", retry_after_header(state.script.retry_after)))
    return json_response(_document(state, order), status, tuple(headers))


def _document(state: State, order: Order) -> dict[str, Any]:
    document: dict[str, Any] = {
        "status": order.status,
        "expires": order.expires,
        "identifiers": [{"type": "dns", "value": name} for name in order.names],
        "authorizations": [f"{state.base_url}/authz/{each.number}" for each in order.authorizations],
        "finalize": f"{state.base_url}/finalize/{order.number}",
    }
    if state.script.profiles:
        document["profile"] = order.profile
    if order.replaces is not None:
        document["replaces"] = order.replaces
    if order.error is not None:
        document["error"] = order.error
    if order.status == "valid":
        document["certificate"] = f"{state.base_url}/cert/{order.certificate}"
    return _made_strange(document) if state.script.strange_members else document


def _made_strange(document: dict[str, Any]) -> dict[str, Any]:
    """Add what a CA of a later year may send: a state, members and an identifier type that nobody knows yet."""
    status = "contemplating" if document["status"] == "processing" else document["status"]
    identifiers = [*document["identifiers"], {"type": "postal", "value": 17}, "what"]
    return {**document, "status": status, "identifiers": identifiers, "expires": 2026, "quantum": {"safe": None}}


def retry_after_header(scripted: str) -> str:
    """Return the header's value: "date:3" is the HTTP-date in 3 s (rounded up), everything else stands as it is."""
    kind, _, seconds = scripted.partition(":")
    if kind != "date":
        return scripted
    return format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=float(seconds) + 1), usegmt=True)
