"""The messages of protocol v1 (docs/protocol.md, "Messages"): one frozen type each, the `typ` it travels under.

Binary members are base64url text here; times are Unix seconds; spans are seconds. Unknown members are ignored on read.
Whether a value is acceptable (a real CSR, a known token) is the reader's business, not this file's.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from otscert_agent.wire.errors import WireError

PROTOCOL = 1

PATH_HELLO = "/device/v1/hello"
PATH_ENROLL = "/device/v1/enroll"
PATH_ORDERS = "/device/v1/orders/"  # followed by the order's id
PATH_CHECKIN = "/device/v1/checkin"

TYP_BINDING = "otscert-v1-binding"
TYP_ORDER = "otscert-v1-order"  # the request for an order's state: an empty payload

NONCE_BYTES = 16
TXID_BYTES = 16
SEED_BYTES = 32
EPOCH_TOKEN_BYTES = 32


@dataclass(frozen=True)
class SourceReport:
    """What the box claims about its randomness; it can only lower HQ's trust, never raise it."""

    source: str  # starved | jitter | hwrng | secure-element
    crng: str  # ready | not-ready | unknown
    kernel: str = ""
    crng_ready_s: Optional[float] = None  # seconds after boot
    hwrng: Optional[str] = None
    used: list[str] = field(default_factory=list)  # names of the sources that were not empty


@dataclass(frozen=True)
class Hello:
    """Box -> HQ: I am this model, here is my half of a key."""

    TYP: ClassVar[str] = "otscert-v1-hello"
    model: str
    firmware: str
    hardware_fingerprint: str
    nonce: str
    d0: str  # 65-byte SEC1 point
    build_epoch: int
    report: SourceReport
    canary: str  # SHA-256 of 16 kernel bytes drawn at this boot
    serial: Optional[str] = None
    epoch_token: Optional[str] = None  # a known device only: the current one
    boot: int = 0  # the box's own count of its starts: tells one canary said twice from two equal ones


@dataclass(frozen=True)
class Contribution:
    """HQ's half of the key: exactly one member. `open` is r itself, `sealed` an X25519 public key (`wire.sealed`)."""

    open: Optional[str] = None
    sealed: Optional[str] = None


@dataclass(frozen=True)
class Challenge:
    """HQ -> box: your names if you are admitted, HQ's half of the key, and what enrolment will ask for."""

    TYP: ClassVar[str] = "otscert-v1-challenge"
    txid: str
    names: list[str]
    contribution: Contribution
    asks: list[str]  # of: token, approval
    ttl_s: int


@dataclass(frozen=True)
class Enroll:
    """Box -> HQ: the CSR for exactly those names, and proof where the model's policy asks for it."""

    TYP: ClassVar[str] = "otscert-v1-enroll"
    txid: str
    csr: str  # DER
    addresses: list[str]
    token_proof: Optional[str] = None
    binding: Optional[dict[str, str]] = None  # flattened JWS by the hello key over Binding
    epoch_token: Optional[str] = None


@dataclass(frozen=True)
class Binding:
    """The hello key's word that this identity key is its successor in this transaction."""

    txid: str
    thumbprint: str


@dataclass(frozen=True)
class Granted:
    """HQ -> box: admitted; the certificate is being obtained at `order`."""

    TYP: ClassVar[str] = "otscert-v1-granted"
    device_id: str
    names: list[str]
    order: str  # URL
    epoch_token: str
    next_checkin_s: int
    seed: str  # 32 fresh random bytes for the saved pool


@dataclass(frozen=True)
class Pending:
    """HQ -> box: not decided yet; send the same enrolment (same txid, new seq) again after the wait."""

    TYP: ClassVar[str] = "otscert-v1-pending"
    reason: str
    retry_after_s: int
    pairing_code: Optional[str] = None


@dataclass(frozen=True)
class Refused:
    """HQ -> box: not admitted. `final` says whether asking again as it is can ever help."""

    TYP: ClassVar[str] = "otscert-v1-refused"
    reason: str
    final: bool
    retry_after_s: Optional[int] = None


@dataclass(frozen=True)
class OrderState:
    """HQ -> box: the order's state: `issued` (with chain, PEM), `waiting` or `failed` (with why)."""

    TYP: ClassVar[str] = "otscert-v1-order-state"
    status: str
    chain: Optional[str] = None
    why: Optional[str] = None
    retry_after_s: Optional[int] = None


@dataclass(frozen=True)
class CheckIn:
    """Box -> HQ, as often as HQ said: still here, at these addresses, serving this certificate."""

    TYP: ClassVar[str] = "otscert-v1-checkin"
    epoch_token: str
    txid: str
    hardware_fingerprint: str
    addresses: list[str]
    firmware: str
    agent: str
    canary: str
    served_sha256: Optional[str] = None  # hex, the leaf that the box's web server really presents
    resolver_filters: Optional[bool] = None  # the LAN's resolver drops private addresses
    boot: int = 0  # as in Hello


@dataclass(frozen=True)
class Command:
    """One thing HQ asks of the box: renew | rekey | hold | reset | move | report. Never code, never a URL to fetch."""

    name: str
    reason: str = ""


@dataclass(frozen=True)
class CheckInAnswer:
    """HQ -> box: the next ratchet token, when to call again, fresh randomness, and commands."""

    TYP: ClassVar[str] = "otscert-v1-checkin-answer"
    epoch_token: str
    next_checkin_s: int
    seed: str
    cmd_seq: int
    commands: list[Command] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """RFC 9457 problem details. `type` is stable; `detail` says what is wrong and what to do."""

    TYP: ClassVar[str] = "otscert-v1-problem"
    type: str
    title: str
    status: int
    detail: str = ""
    retry_after_s: Optional[int] = None
    last_seq: Optional[int] = None


T = TypeVar("T")


def to_json(message: Any) -> bytes:
    """Encode a message; members that are None are left out."""
    return json.dumps(_without_none(dataclasses.asdict(message)), separators=(",", ":")).encode()


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_none(member) for member in value]
    return value


def from_object(kind: type[T], value: Any, *, what: str = "payload") -> T:
    """Build a message from decoded JSON; raise `WireError` naming the member that is missing or of the wrong type."""
    if not isinstance(value, dict):
        raise WireError(f"{what} is not a JSON object")
    members: dict[str, Any] = {}
    message: Any = kind
    hints = _type_hints(message)
    for member in dataclasses.fields(message):
        if member.name in value:
            members[member.name] = _read(hints[member.name], value[member.name], f"{what}.{member.name}")
        elif member.default is dataclasses.MISSING and member.default_factory is dataclasses.MISSING:
            raise WireError(f"{what}.{member.name} is missing")
    return kind(**members)


@functools.cache
def _type_hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, value: Any, what: str) -> Any:
    if get_origin(hint) is Union:  # Optional[X]: null reads as absent
        return None if value is None else _read(get_args(hint)[0], value, what)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise WireError(f"{what} is not a list")
        return [_read(get_args(hint)[0], item, f"{what}[{index}]") for index, item in enumerate(value)]
    if get_origin(hint) is dict:
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise WireError(f"{what} is not an object of strings")
        return value
    if dataclasses.is_dataclass(hint):
        return from_object(hint, value, what=what)  # type: ignore[arg-type]  # hint is a class here
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise WireError(f"{what} is not a {'number' if hint in (int, float) else hint.__name__}")
    return value
