"""The one error of the wire format."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes from the other side are not what the protocol allows; the text says which rule they break."""
