"""Version 3: the schema of the first release."""

from __future__ import annotations

from alembic import op

from otscert.store.migrations.tables import Tables

revision = "3"
down_revision = None


def upgrade() -> None:
    Tables(op.get_bind()).run("v3.sql")
