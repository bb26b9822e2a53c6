"""New leaves for an HQ whose root key is elsewhere: HQ asks, the machine with the root key signs, HQ installs.

Only public keys and certificates travel, as JSON files. The private keys are made at HQ and wait there, in
requested.json, until their certificates come. Does not know how the files travel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from otscert.pki.certificates import (
    KeyPair,
    fingerprint,
    generation_of,
    issue_answer_leaf,
    issue_tls_leaf,
    issued_by,
    names_of,
    p256,
    utc_now_from,
)
from otscert.pki.files import LEAVES, PkiFolder
from otscert.pki.pem import PkiError, fits, key_pem, lasts, pair_pem
from otscert.pki.rotation import promote

_OPEN = "requested.json"
_REQUEST, _SIGNED = "otscert_hq_request", "otscert_hq_signed"
_KNOWN_BY = {"tls.pem": "tls", "answer.pem": "answer"}


def make_request(pki: PkiFolder, *, hosts: tuple[str, ...]) -> dict[str, Any]:
    """What HQ asks for. Asked again before the answer came, it is the same keys again."""
    with pki.changing():
        generations = {_KNOWN_BY[name]: pki.generation(name) + 1 for name in LEAVES}
        kept = _requested(pki)
        if kept is None or kept["generations"] != generations or kept["hosts"] != list(hosts):
            keys = {name: key_pem(ec.generate_private_key(ec.SECP256R1()), None).decode() for name in generations}
            kept = {"generations": generations, "hosts": list(hosts), "keys": keys}
            pki.write(_OPEN, json.dumps(kept).encode())
    return {
        _REQUEST: 1,
        "root_sha256": fingerprint(pki.root_certificate()),
        "hosts": kept["hosts"],
        "generations": kept["generations"],
        **{name: _csr(_key(text)) for name, text in kept["keys"].items()},
    }


def sign_request(pki: PkiFolder, root: KeyPair, request: Mapping[str, Any], *, now_s: int) -> dict[str, Any]:
    """The leaves that HQ asked for, signed by the root of this folder. Raises `PkiError`."""
    _need_version(request, _REQUEST)
    known = [pki.root_certificate()]
    known += [pki.root_certificate("root-old.pem")] if (pki.folder / "root-old.pem").exists() else []
    if request.get("root_sha256") not in {fingerprint(each) for each in known}:
        raise PkiError(
            f"the request is for HQ's root {str(request.get('root_sha256'))[:16]}…, not for the one in {pki.folder}:"
            " sign it where that root's key is"
        )
    try:
        hosts, generations = _hosts(request["hosts"]), request["generations"]
        now = utc_now_from(now_s)
        tls = issue_tls_leaf(root, _asked(request, "tls"), hosts=hosts, generation=int(generations["tls"]), now=now)
        answer = issue_answer_leaf(root, _asked(request, "answer"), generation=int(generations["answer"]), now=now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PkiError(f"the request cannot be used: {error}; make it again with otscert hq-root request") from error
    return {
        _SIGNED: 1,
        "root": _pem(root.certificate),
        "cross": [_pem(each) for each in root.chain],
        "tls": _pem(tls),
        "answer": _pem(answer),
    }


def install(pki: PkiFolder, signed: Mapping[str, Any], *, now_s: int) -> x509.Certificate:
    """Check what came back and use it; returns the root that signed it, which may be HQ's next one."""
    _need_version(signed, _SIGNED)
    with pki.changing():
        kept = _requested(pki)
        if kept is None:
            raise PkiError("no request is open in this folder: it was installed already, or made at another HQ")
        root, *cross = _certificates(signed, "root", "cross")
        if root == pki.root_certificate():
            cross = list(pki.cross_for(root))  # HQ knows better whether the old root's word still travels
        else:
            _check_next_root(pki, root, cross)
        leaves = {}
        for name in LEAVES:
            (leaf,) = _certificates(signed, _KNOWN_BY[name])
            pair = KeyPair(key=_key(kept["keys"][_KNOWN_BY[name]]), certificate=leaf, chain=tuple(cross))
            _check_leaf(pki, name, pair, root, kept, now_s=now_s)
            leaves[name] = pair
        # From here on each beginning is a folder that works, and the same file can be installed again.
        for each in cross:
            pki.write("cross.pem", each.public_bytes(Encoding.PEM))
        for name, pair in leaves.items():
            pki.write(name, pair_pem(pair))
        if root != pki.root_certificate():
            promote(pki, root)
        pki.remove(_OPEN)
        return root


def is_open(pki: PkiFolder) -> bool:
    """Whether HQ asked for leaves that it did not get yet."""
    return (pki.folder / _OPEN).exists()


def _check_next_root(pki: PkiFolder, root: x509.Certificate, cross: list[x509.Certificate]) -> None:
    present = pki.root_certificate()
    try:
        vouched = len(cross) == 1 and p256(cross[0]) == p256(root) and issued_by(cross[0], present)
    except ValueError:
        vouched = False
    if not vouched:
        raise PkiError(
            f"it was signed by the root {fingerprint(root)[:16]}…, for which HQ's own ({fingerprint(present)[:16]}…)"
            " does not vouch: sign the request where HQ's root key, or the next root that it made, is"
        )


def _check_leaf(
    pki: PkiFolder, name: str, pair: KeyPair, root: x509.Certificate, kept: Mapping[str, Any], *, now_s: int
) -> None:
    leaf, short = pair.certificate, _KNOWN_BY[name]
    try:
        sound = (
            fits(pair.key, leaf)
            and issued_by(leaf, root)
            and generation_of(leaf) == kept["generations"][short]
            and (short != "tls" or names_of(leaf) >= set(kept["hosts"]))
        )
    except (ValueError, x509.ExtensionNotFound):
        sound = False
    if not sound:
        raise PkiError(f"the {short} certificate is not what HQ asked for last: install the answer to that request")
    present = pki.tls() if name == "tls.pem" else pki.answer()
    if generation_of(leaf) <= pki.generation(name) and not fits(pair.key, present.certificate):
        raise PkiError(f"HQ has got another {short} certificate meanwhile: otscert hq-root request asks again")
    if not lasts(pair, now_s=now_s):
        raise PkiError(f"the {short} certificate does not last for 60 days from now: look at both machines' clocks")


def _requested(pki: PkiFolder) -> dict[str, Any] | None:
    if not is_open(pki):
        return None
    found: dict[str, Any] = json.loads(pki.read(_OPEN))  # written whole, by us alone
    return found


def _need_version(document: Mapping[str, Any], kind: str) -> None:
    if document.get(kind) != 1:
        what = {_REQUEST: "a request of otscert hq-root request", _SIGNED: "an answer of otscert hq-root sign"}[kind]
        raise PkiError(f"the file is not {what} (of this version)")


def _hosts(hosts: object) -> tuple[str, ...]:
    if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
        raise ValueError("its hosts are no list of names")
    return tuple(hosts)


def _asked(request: Mapping[str, Any], name: str) -> ec.EllipticCurvePublicKey:
    csr = x509.load_pem_x509_csr(request[name].encode())
    key = csr.public_key()
    if not csr.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError(f"its {name} key does not sign for itself, or is not on P-256")
    return key


def _certificates(signed: Mapping[str, Any], *names: str) -> list[x509.Certificate]:
    try:
        texts = [text for name in names for text in (signed[name] if name == "cross" else [signed[name]])]
        return [x509.load_pem_x509_certificate(text.encode()) for text in texts]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PkiError(f"the file cannot be used: {error}") from error


def _key(text: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(text.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - made above
    return key


def _csr(key: ec.EllipticCurvePrivateKey) -> str:
    """Proof that HQ has the key; what it will be used for stands beside it."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode("ascii")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
