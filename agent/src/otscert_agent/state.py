"""What a box must not forget: one value, stored as one file, replaced atomically.

Knows the members and their meaning. A reader gets either the old value or the new one, never a mixture, so a rule
like "the sequence number is durable before it is sent" is one `save` before one `send`. Does not know the protocol.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from otscert_agent.disk import Disk
from otscert_agent.errors import SpentKeyError, StateError

FILE = "state.json"
VERSION = 1
MAX_SEQ = 2**53 - 1  # protocol.md, "Limits": what a JSON number carries exactly everywhere
SEQ_BLOCK = 16  # numbers reserved per write: a poll every half minute costs the flash one write in eight minutes


@dataclass(frozen=True)
class KeyState:
    """A signing key of the box: its Ed25519 seed, and the `seq` below which everything may have been sent.

    The seed is empty where the key is the unit's factory key: that one is kept in one place only, and not here.
    """

    seed: bytes
    seq_limit: int = 0


@dataclass(frozen=True)
class Pending:
    """A transaction between challenge and installed certificate. Written before the enrolment is sent."""

    txid: str
    names: list[str]
    scalar: bytes  # d, the private TLS key
    csr: bytes  # DER; kept, so that a repeated enrolment carries the same bytes
    token_proof: str | None = None
    binding: dict[str, str] | None = None
    order: str | None = None  # URL, known after `granted`


@dataclass(frozen=True)
class Sent:
    """A check-in that may have reached HQ: the very bytes, to be sent again until an answer arrives."""

    body: bytes


@dataclass(frozen=True)
class HqMemory:
    """What the box has learned about HQ's certificates (protocol.md, "Clock")."""

    floor: int = 0  # newest notBefore of any verified certificate, Unix seconds
    tls_generation: int = 0
    answer_generation: int = 0
    deaf_s: int = 0  # time (own monotonic clock) without one acceptable answer


@dataclass(frozen=True)
class Bound:
    """The board that this state was made on, as HQ was told: hardware fingerprint, factory key if there is one."""

    fingerprint: str
    unit: str | None = None  # RFC 7638 thumbprint of the factory key


@dataclass(frozen=True)
class BoxState:
    """Everything durable except the certificate pairs. Secrets are inside: it is never logged or shown."""

    attempt: int = 0  # hellos ever made; never falls, so that no D0 is sent twice
    pool: bytes = b""  # 32 bytes, replaced before each use
    hello: KeyState | None = None
    identity: KeyState | None = None
    device_id: str | None = None
    names: list[str] = field(default_factory=list)
    epoch_token: str | None = None
    pending: Pending | None = None
    sent: Sent | None = None
    cmd_seq: int = 0
    next_checkin_s: int = 0
    held: bool = False
    rekey: bool = False  # a renewal that HQ ordered and that has not reached `pending` yet
    served_sha256: str | None = None
    hq: HqMemory = field(default_factory=HqMemory)
    boots: int = 0  # starts of the agent; durable before the start does anything
    bound: Bound | None = None
    forgetting: bool = False  # a reset has begun: whatever is left of it is done first


class Store:
    """The current state and its file. `save` returns when the value is durable."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._state = load(disk)
        self._seq: dict[bytes, int] = {}
        self._unsaved = False

    @property
    def state(self) -> BoxState:
        return self._state

    def save(self, **changes: Any) -> BoxState:
        """Replace members and make the result durable before returning it."""
        return self.replace(dataclasses.replace(self._state, **changes))

    def replace(self, state: BoxState) -> BoxState:
        """Make `state` durable as a whole."""
        self._disk.write(FILE, encode(state))
        self._state = state
        self._unsaved = False
        return state

    def learn(self, hq: HqMemory) -> None:
        """Remember facts about HQ; durable with the next `save`, which every answer that matters brings."""
        if hq != self._state.hq:
            self._state = dataclasses.replace(self._state, hq=hq)
            self._unsaved = True

    def flush(self) -> None:
        """Make what was learned durable, if that is still due."""
        if self._unsaved:
            self.save()

    def next_seq(self, which: str) -> int:
        """The next unused `seq` of the key `which` (hello | identity), durable as used before it is returned.

        Raises `SpentKeyError` when there is none left.
        """
        key: KeyState = getattr(self._state, which)
        seq = self._seq.get(key.seed, key.seq_limit) + 1
        if seq > MAX_SEQ:
            raise SpentKeyError(f"the {which} key has used up its sequence numbers")
        if seq > key.seq_limit:
            self.save(**{which: dataclasses.replace(key, seq_limit=seq + SEQ_BLOCK - 1)})
        self._seq[key.seed] = seq
        return seq

    def fresh_key(self, seed: bytes) -> KeyState:
        """A key that has never signed; its first block of numbers is reserved by the `save` that stores it."""
        self._seq[seed] = 0
        return KeyState(seed, SEQ_BLOCK)

    def raise_seq(self, which: str, last_seq: int) -> None:
        """Skip to above `last_seq`, HQ's own memory of this key."""
        key: KeyState = getattr(self._state, which)
        self._seq[key.seed] = max(last_seq, self._seq.get(key.seed, key.seq_limit))


def load(disk: Disk) -> BoxState:
    """Read the state; an absent file is a new box. Raise `StateError` for a file that this version cannot read."""
    data = disk.read(FILE)
    if data is None:
        return BoxState()
    try:
        return decode(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(f"{disk.root / FILE} is damaged ({error}); remove it to begin as a new box") from None


def encode(state: BoxState) -> bytes:
    return json.dumps({"version": VERSION, **_plain(state)}, separators=(",", ":")).encode()


def decode(data: bytes) -> BoxState:
    members = json.loads(data)
    if members.pop("version") != VERSION:
        raise ValueError("it was written by another version of the agent")
    members["pool"] = _bytes(members["pool"])
    for name in ("hello", "identity"):
        members[name] = _key(members[name])
    if members["pending"] is not None:
        pending = members["pending"]
        members["pending"] = Pending(**{**pending, "scalar": _bytes(pending["scalar"]), "csr": _bytes(pending["csr"])})
    members["sent"] = Sent(_bytes(members["sent"]["body"])) if members["sent"] else None
    members["hq"] = HqMemory(**members["hq"])
    if members.get("bound"):
        members["bound"] = Bound(**members["bound"])
    return BoxState(**members)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if dataclasses.is_dataclass(value):
        return {member.name: _plain(getattr(value, member.name)) for member in dataclasses.fields(value)}
    return value


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _key(members: dict[str, Any] | None) -> KeyState | None:
    return None if members is None else KeyState(_bytes(members["seed"]), members["seq_limit"])
