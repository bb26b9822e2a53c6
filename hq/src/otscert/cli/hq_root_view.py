"""HQ's root and what hangs on it, as the document that `--json` prints; the text is made from the same one."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from otscert.cli import show
from otscert.pki.certificates import KeyPair, fingerprint, generation_of, issued_by, names_of
from otscert.pki.files import PkiFolder
from otscert.pki.offline import is_open
from otscert.pki.rotation import Stage, stage

_NEXT = {
    Stage.STEADY: "otscert hq-root rotate prepares the next root",
    Stage.PREPARED: "build firmware with the file of pins; otscert hq-root rotate --switch when it is on its way",
    Stage.SWITCHED: "otscert hq-root rotate --finish once no firmware in the field pins the old root alone",
}


def root_view(pki: PkiFolder) -> dict[str, Any]:
    """Everything of the folder that is not secret."""
    reached = stage(pki)
    roots = {"root": "root.pem", "next": "root-next.pem", "old": "root-old.pem"}
    found = {
        name: _root(pki.root_certificate(file)) if (pki.folder / file).exists() else None
        for name, file in roots.items()
    }
    leaves = {"tls": pki.tls, "answer": pki.answer} if pki.tls_pem.exists() else {}
    return {
        "folder": str(pki.folder),
        "stage": reached.value,
        "next_step": _NEXT[reached],
        "pins": str(pki.pins_pem),
        "key": pki.root_key().value,
        **found,
        **{name: _leaf(read(), pki.root_certificate()) for name, read in leaves.items()},
        "request_open": is_open(pki),
    }


def print_root(view: dict[str, Any]) -> None:
    """Print the document for people."""
    show.print_fields(f"HQ's root in {view['folder']}", _fields(view))


def _fields(view: dict[str, Any]) -> dict[str, str]:
    fields = {"rotation": view["stage"], "next step": view["next_step"], "pins for firmware": view["pins"]}
    for name, title in (("root", "root"), ("next", "next root"), ("old", "old root")):
        if view[name] is not None:
            fields[title] = f"{view[name]['sha256']}, until {view[name]['not_after'][:10]}"
    fields["root key"] = {
        "here": "here: whoever reads this folder can speak for HQ",
        "encrypted": "here, behind a passphrase",
        "elsewhere": "elsewhere",
    }[view["key"]]
    for name, title in (("tls", "TLS certificate"), ("answer", "answer certificate")):
        if name in view:
            leaf = view[name]
            vouched = "" if leaf["by_root"] else ", signed by another root"
            fields[title] = f"generation {leaf['generation']}, until {leaf['not_after'][:10]}{vouched}"
    if view["request_open"]:
        fields["request"] = "open: new certificates were asked for and not installed yet"
    return fields


def _root(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "sha256": fingerprint(certificate),
        "not_before": show.moment(int(certificate.not_valid_before_utc.timestamp())),
        "not_after": show.moment(int(certificate.not_valid_after_utc.timestamp())),
    }


def _leaf(pair: KeyPair, root: x509.Certificate) -> dict[str, Any]:
    leaf = pair.certificate
    try:
        names = sorted(names_of(leaf))
    except x509.ExtensionNotFound:
        names = []
    return {
        "generation": generation_of(leaf),
        "names": names,
        "not_before": show.moment(int(leaf.not_valid_before_utc.timestamp())),
        "not_after": show.moment(int(leaf.not_valid_after_utc.timestamp())),
        "by_root": issued_by(leaf, root),
        "cross_certificate": bool(pair.chain),
    }
