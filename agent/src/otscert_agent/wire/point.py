"""P-256 arithmetic for HQ's contribution: `D = D0 + r*G` (docs/protocol.md, "Contribution").

Knows points as 65-byte SEC1 strings and scalars as integers in 1..n-1. Only public values pass through the Python
arithmetic here; secret scalars are multiplied by OpenSSL (`public_point`).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.wire.errors import WireError

# SEC 2 version 2.0, section 2.4.2 (secp256r1).
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
SCALAR_BYTES = 32
POINT_BYTES = 65


def scalar_from_bytes(data: bytes) -> int:
    """Map `data` (48 bytes keep the bias below 2^-128, FIPS 186-5 A.2.1) to a scalar in 1..n-1."""
    return int.from_bytes(data, "big") % (N - 1) + 1


def parse_scalar(data: bytes, *, what: str = "r") -> int:
    """Read a 32-byte big-endian scalar; raise `WireError` unless it lies in 1..n-1."""
    value = int.from_bytes(data, "big")
    if len(data) != SCALAR_BYTES or not 1 <= value < N:
        raise WireError(f"{what} is not a P-256 scalar in 1..n-1")
    return value


def encode_scalar(value: int) -> bytes:
    return value.to_bytes(SCALAR_BYTES, "big")


def public_point(scalar: int) -> bytes:
    """Multiply the base point by `scalar` (1..n-1), in OpenSSL, as an uncompressed SEC1 point."""
    key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def coordinates(point: bytes, *, what: str = "point") -> tuple[int, int]:
    """Read an uncompressed SEC1 point; raise `WireError` unless it lies on P-256 (cofactor 1: that is all)."""
    if len(point) != POINT_BYTES or point[0] != 4:
        raise WireError(f"{what} is not a 65-byte uncompressed SEC1 point")
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    if x >= P or y >= P or (y * y - (x * x * x - 3 * x + B)) % P != 0:
        raise WireError(f"{what} is not a point of P-256")
    return x, y


def add(first: bytes, second: bytes) -> bytes:
    """Add two public points; raise `WireError` when the sum is the point at infinity (SEC 1, section 2.2.1)."""
    (x1, y1), (x2, y2) = coordinates(first), coordinates(second)
    if x1 == x2:
        if (y1 + y2) % P == 0:
            raise WireError("the sum of the two points is the point at infinity")
        slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, P)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, P)
    x3 = (slope * slope - x1 - x2) % P
    y3 = (slope * (x1 - x3) - y1) % P
    return b"\x04" + x3.to_bytes(32, "big") + y3.to_bytes(32, "big")


def contributed(d0_point: bytes, r: int) -> bytes:
    """The public key that a box owes after HQ's contribution: `D0 + r*G`."""
    return add(d0_point, public_point(r))
