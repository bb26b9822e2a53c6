"""${message}."""

from __future__ import annotations

from alembic import op

from otscert.store.migrations.tables import Tables

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    Tables(op.get_bind()).run("v${up_revision}.sql")
