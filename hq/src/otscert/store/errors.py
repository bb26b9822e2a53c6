"""What the store raises."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not do it; nothing was changed."""


class StoreUnavailable(StoreError):
    """The store cannot be written or read right now (disk full, locked, gone); asking again later may help."""


class NewerSchema(StoreError):
    """The database was made by a newer release."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database has schema {found}, this release knows {known}: "
            "start the release that wrote it, or restore a backup made before the upgrade"
        )


class AlreadyThere(StoreError):
    """A row that must be unique exists; `table` says which kind."""

    def __init__(self, table: str) -> None:
        super().__init__(f"there is already such a row in {table}")
        self.table = table


class Moved(StoreError):
    """The row is no longer in the state that was read: somebody else was faster."""


class OutcomeUnknown(StoreUnavailable):
    """The connection was lost while the store was committing: what was written is there as a whole, or not at all."""
