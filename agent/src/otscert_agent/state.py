"""What a box must not forget: one value, stored as one file, replaced atomically.

Knows the members and their meaning. A reader gets either the old value or the new one, never a mixture, so a rule
like "the sequence number is durable before it is sent" is one `save` before one `send`. Does not know the protocol.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar

from otscert_agent.disk import Disk
from otscert_agent.errors import DamagedError, SpentKeyError, StateError

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

    def __init__(self, disk: Disk, *, tolerant: bool = False) -> None:
        """Read it; raise `DamagedError` for a file that cannot be read.

        A `tolerant` store says so in `damage` instead: it holds nothing then, and writes nothing.
        """
        self._disk = disk
        self._seq: dict[bytes, int] = {}
        self._unsaved = False
        self.damage: DamagedError | None = None
        try:
            self._state = load(disk)
        except DamagedError as error:
            if not tolerant:
                raise
            self._state, self.damage = BoxState(), error

    @property
    def state(self) -> BoxState:
        return self._state

    def save(self, **changes: Any) -> BoxState:
        """Replace members and make the result durable before returning it."""
        return self.replace(dataclasses.replace(self._state, **changes))

    def replace(self, state: BoxState) -> BoxState:
        """Make `state` durable as a whole."""
        if self.damage is not None:
            raise self.damage
        return self._write(state)

    def begin_anew(self, state: BoxState) -> BoxState:
        """As `replace`, for a reset: a damaged file too, and what the file held is overwritten where it lay."""
        self._write(state, wipe=True)
        self.damage = None
        return state

    def _write(self, state: BoxState, *, wipe: bool = False) -> BoxState:
        self._disk.write(FILE, encode(state), wipe=wipe)
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
    """Read the state; an absent file is a new box. Raise `DamagedError` for a file that this version cannot read."""
    try:
        data = disk.read(FILE)
        return BoxState() if data is None else decode(data)
    except StateError as error:
        raise DamagedError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{disk.root / FILE}: {error}") from None


def encode(state: BoxState) -> bytes:
    return json.dumps({"version": VERSION, **_plain(state)}, separators=(",", ":")).encode()


def decode(data: bytes) -> BoxState:
    """Take a file apart; raises `ValueError`, `KeyError` or `TypeError` for what `encode` never wrote."""
    members = json.loads(data)
    version = members.pop("version")
    if type(version) is not int or version != VERSION:
        raise ValueError("it was written by another version of the agent, which can still read it")
    for name in _ALWAYS:
        if name not in members:
            raise ValueError(f"{name} is missing")
    state = _made(BoxState, members)
    if any(key is not None and len(key.seed) not in {0, 32} for key in (state.hello, state.identity)):
        raise ValueError("a key has another length than keys have")
    if state.pending is not None and (len(state.pending.scalar) != 32 or not any(state.pending.scalar)):
        raise ValueError("the pending key is none")
    return state


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if dataclasses.is_dataclass(value):
        return {member.name: _plain(getattr(value, member.name)) for member in dataclasses.fields(value)}
    return value


_Made = TypeVar("_Made")
_Reader = Callable[[Any], Any]


def _made(kind: type[_Made], members: Any) -> _Made:
    """One of the classes above from its JSON object: each member is what its annotation says, or `ValueError`."""
    kinds = {member.name: str(member.type) for member in dataclasses.fields(kind)}  # type: ignore[arg-type]  # they are
    if not isinstance(members, dict) or not members.keys() <= kinds.keys():
        raise ValueError(f"what should be {kind.__name__} is something else")
    read: dict[str, Any] = {}
    for name, value in members.items():
        needed, _, rest = kinds[name].partition(" | ")
        try:
            read[name] = None if rest == "None" and value is None else _READERS[needed](value)
        except (ValueError, TypeError):
            raise ValueError(f"{name} of {kind.__name__} is no {needed}") from None
    return kind(**read)


def _exactly(kind: type) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:  # True is an int to isinstance
            raise ValueError
        return value

    return read


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    return [_exactly(str)(text) for text in _exactly(list)(value)]


def _by_name(value: Any) -> dict[str, str]:
    return {name: _exactly(str)(text) for name, text in _exactly(dict)(value).items()}


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


def _nested(kind: type) -> _Reader:
    return lambda value: _made(kind, value)


_ALWAYS = ("pool", "hello", "identity", "pending", "sent", "hq")  # in every file since the first agent
_READERS: dict[str, _Reader] = {  # by annotation; an agent without one here reads no state at all, so tests see it
    "int": _count,
    "bool": _exactly(bool),
    "str": _exactly(str),
    "bytes": _bytes,
    "list[str]": _texts,
    "dict[str, str]": _by_name,
    **{kind.__name__: _nested(kind) for kind in (KeyState, Pending, Sent, HqMemory, Bound)},
}
