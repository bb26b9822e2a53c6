from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from otscert_agent.wire import point
from otscert_agent.wire.errors import WireError

scalars = st.integers(1, point.N - 1)


def by_openssl(scalar: int) -> bytes:
    key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@settings(max_examples=50)
@given(scalars, scalars)
def test_adding_points_is_adding_scalars(first: int, second: int) -> None:
    total = (first + second) % point.N
    if total == 0:
        with pytest.raises(WireError, match="infinity"):
            point.add(by_openssl(first), by_openssl(second))
    else:
        assert point.add(by_openssl(first), by_openssl(second)) == by_openssl(total)


@settings(max_examples=20)
@given(scalars)
def test_a_point_can_be_added_to_itself(scalar: int) -> None:
    assert point.add(by_openssl(scalar), by_openssl(scalar)) == by_openssl(2 * scalar % point.N)


def test_a_point_and_its_negative_are_the_point_at_infinity() -> None:
    with pytest.raises(WireError, match="infinity"):
        point.add(by_openssl(5), by_openssl(point.N - 5))


@settings(max_examples=30)
@given(scalars, scalars)
def test_hq_and_box_arrive_at_the_same_public_key(d0: int, r: int) -> None:
    d = (d0 + r) % point.N
    if d:
        assert point.contributed(point.public_point(d0), r) == by_openssl(d)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        by_openssl(3)[:64],
        b"\x02" + by_openssl(3)[1:33],
        b"\x05" + by_openssl(3)[1:],
        by_openssl(3)[:-1] + b"\x00",
        b"\x04" + bytes(64),
        b"\x04" + point.P.to_bytes(32, "big") + by_openssl(3)[33:],
    ],
    ids=["empty", "infinity", "short", "compressed", "prefix", "off the curve", "zero", "x is p"],
)
def test_what_is_not_an_uncompressed_point_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        point.coordinates(data)


@pytest.mark.parametrize("value", [0, point.N, 2**256 - 1])
def test_scalars_outside_the_group_are_refused(value: int) -> None:
    with pytest.raises(WireError, match=r"1\.\.n-1"):
        point.parse_scalar(value.to_bytes(32, "big"))


@pytest.mark.parametrize("value", [1, point.N - 1])
def test_scalars_at_the_ends_of_the_range_are_accepted(value: int) -> None:
    assert point.parse_scalar(point.encode_scalar(value)) == value


def test_a_scalar_of_another_length_is_refused() -> None:
    with pytest.raises(WireError, match=r"1\.\.n-1"):
        point.parse_scalar(b"\x01")


@given(st.binary(min_size=48, max_size=48))
def test_every_48_bytes_become_a_scalar_of_the_group(data: bytes) -> None:
    assert 1 <= point.scalar_from_bytes(data) < point.N
