"""What can go wrong with a zone, one class per thing that a caller can do differently."""

from __future__ import annotations


class ZoneError(Exception):
    """The base of all errors of this package."""


class SettingsError(ZoneError):
    """The zone's settings contradict each other or the DNS's limits; nothing was started."""


class LabelError(ZoneError):
    """A label cannot be a box's: not letters, digits and hyphens, too long, or taken by the zone itself."""


class RecordError(ZoneError):
    """A record's value does not fit into the DNS; the zone is as it was."""


class MalformedMessageError(ZoneError):
    """A message cannot be read as RFC 1035 section 4 wants it; the answer is FORMERR."""


class ListenError(ZoneError):
    """The server cannot listen on an address; nothing is left open."""


class CheckError(ZoneError):
    """A name server gave no usable answer to the check, with the reason."""


class SnapshotLostError(ZoneError):
    """So much of the zone changed while it was being transferred that the transfer has to begin anew."""


class TsigError(ZoneError):
    """A message's TSIG was refused; `answer` says so to its sender, and `reason` to the operator."""

    def __init__(self, reason: str, answer: bytes) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


class UpdateError(ZoneError):
    """A server did not take an update, with what to do. `kind` is one word or two, for counting."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
