"""Why a message to the maker's systems was not delivered, or its answer cannot be used."""

from __future__ import annotations


class NotDelivered(Exception):
    """No usable answer came; the text says why. Sending it again later may help."""


class TrustFileUnusable(Exception):
    """The file with the roots of the maker's own CA cannot be read, or holds none."""


class ChannelUnusable(Exception):
    """A channel cannot be made as it is configured; the text says why, without any secret."""
