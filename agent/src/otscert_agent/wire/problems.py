"""The problem types of protocol v1 (RFC 9457 `type`): stable names that a box acts on.

What a box does about each is the agent's table (`loop`); the HTTP status and the sentence are HQ's.
"""

from __future__ import annotations

from enum import Enum

_PREFIX = "urn:otscert:v1:"


class ProblemType(str, Enum):
    """One name per thing that a box can do differently."""

    MALFORMED = _PREFIX + "malformed"  # the message breaks protocol v1; sending it again does not help
    BAD_SIGNATURE = _PREFIX + "bad-signature"
    UNKNOWN_KEY = _PREFIX + "unknown-key"  # HQ has never seen this kid: say hello with the jwk
    STALE_SEQ = _PREFIX + "stale-seq"  # seq is not above last_seq: raise it and send again
    SEQ_CONFLICT = _PREFIX + "seq-conflict"  # the same seq with other bytes
    UNKNOWN_MODEL = _PREFIX + "unknown-model"
    USED_D0 = _PREFIX + "used-d0"  # HQ has seen this D0: derive another one
    UNKNOWN_TXID = _PREFIX + "unknown-txid"  # expired or never given: say hello again
    TXID_CONFLICT = _PREFIX + "txid-conflict"  # the same txid with another CSR
    BAD_CSR = _PREFIX + "bad-csr"
    BAD_CONTRIBUTION = _PREFIX + "bad-contribution"  # the CSR's key is not D0 + r*G, or is known already
    BAD_TOKEN = _PREFIX + "bad-token"
    BAD_ADDRESS = _PREFIX + "bad-address"
    STALE_EPOCH = _PREFIX + "stale-epoch"  # the ratchet: this state has a fork; wait, a person may decide
    START_OVER = _PREFIX + "start-over"  # forget identity and name, enrol as a new box
    UNKNOWN_UNIT = (
        _PREFIX + "unknown-unit"
    )  # no imported manifest has this factory key: the maker's HQ has to import it
    BLOCKED_UNIT = _PREFIX + "blocked-unit"  # this unit or serial was blocked or quarantined; a person decides
    LOW_ASSURANCE = _PREFIX + "low-assurance"  # the model demands more randomness of HQ, or a better source, than this
    RETIRED = _PREFIX + "retired"  # HQ's operator has taken this box out of service
    NOT_FOUND = _PREFIX + "not-found"
    OVER_QUOTA = _PREFIX + "over-quota"
    UNSUPPORTED = _PREFIX + "unsupported"
    UNAVAILABLE = _PREFIX + "unavailable"  # HQ cannot right now; the reason and retry_after_s say more
