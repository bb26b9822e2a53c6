"""Version 4: ranks and leases of orders, small chains, and the tables of budget, issuers, incidents and alerts."""

from __future__ import annotations

import hashlib
import zlib

from alembic import op

from otscert.store.migrations.tables import Tables

revision = "4"
down_revision = "3"

_CHANGED = ("revocation", "certificate", "cert_order", "acme_account", "verified_key")
_END = "-----END CERTIFICATE-----\n"
_AT_ONCE = 500
_ORDER = (
    "id, device_id, txid, label, names, csr_der, state, issuer, profile, attempt, url, reason, created_at_s, next_at_s,"
    " certificate_sha256, replaces"
)
_ACCOUNT = "issuer, directory_url, key_sealed, url, created_at_s"
_KEY = "spki_sha256, x_coordinate, device_id, kind, contribution, source, seen_at_s"
_REVOCATION = "certificate_sha256, reason, asked_at_s, next_at_s, attempt, problem, done_at_s"
_BEFORE = "sha256, device_id, order_id, issuer, serial, spki_sha256, not_before_s, not_after_s"
_AFTER = (
    "issued_at_s, served_at_s, replaced, ari_next_poll_s, ari_start_s, ari_end_s, ari_told_s, renew_at_s,"
    " ari_explanation"
)
_FIRST_BOOT, _ROUTINE = 0, 4


def upgrade() -> None:
    tables = Tables(op.get_bind())
    tables.set_aside(*_CHANGED)
    tables.run("v4.sql")
    # A box without a certificate goes before those that have one.
    tables.execute(
        f"INSERT INTO cert_order ({_ORDER}, rank, lease_until_s) SELECT {_ORDER}, CASE WHEN EXISTS (SELECT 1"
        f" FROM {tables.old('certificate')} c WHERE c.device_id = o.device_id) THEN {_ROUTINE} ELSE {_FIRST_BOOT} END,"
        f" 0 FROM {tables.old('cert_order')} o"
    )
    _copy_certificates(tables)
    tables.execute(f"INSERT INTO revocation ({_REVOCATION}) SELECT {_REVOCATION} FROM {tables.old('revocation')}")
    tables.execute(f"INSERT INTO acme_account ({_ACCOUNT}) SELECT {_ACCOUNT} FROM {tables.old('acme_account')}")
    tables.execute(f"INSERT INTO verified_key ({_KEY}) SELECT {_KEY} FROM {tables.old('verified_key')}")
    tables.drop_old(*_CHANGED)


def _copy_certificates(tables: Tables) -> None:
    """Split each chain: the leaf, deflated, and what follows it, once for all."""
    members = len(f"{_BEFORE}, {_AFTER}".split(", "))
    add = f"INSERT INTO certificate ({_BEFORE}, {_AFTER}, leaf, issuers) VALUES ({', '.join('?' * (members + 2))})"
    last = ""
    while rows := tables.execute(
        f"SELECT {_BEFORE}, {_AFTER}, chain_pem FROM {tables.old('certificate')} WHERE sha256 > ?"
        " ORDER BY sha256 LIMIT ?",
        (last, _AT_ONCE),
    ):
        for *row, chain_pem in rows:
            leaf, end, rest = chain_pem.partition(_END)
            rest = rest if end else ""
            digest = hashlib.sha256(rest.encode("ascii")).digest()
            tables.execute(
                "INSERT INTO issuer_chain (sha256, pem) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING", (digest, rest)
            )
            tables.execute(add, (*row, zlib.compress((leaf + end).encode("ascii")), digest))
        last = rows[-1][0]
