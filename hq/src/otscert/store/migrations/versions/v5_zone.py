"""Version 5: how far the zone has come, here and on other servers."""

from __future__ import annotations

from alembic import op

from otscert.store.migrations.tables import Tables

revision = "5"
down_revision = "4"


def upgrade() -> None:
    Tables(op.get_bind()).run("v5.sql")
