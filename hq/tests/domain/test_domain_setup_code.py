from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain import setup_code


@given(st.binary(min_size=8, max_size=8))
def test_a_code_is_read_as_it_is_shown(randomness: bytes) -> None:
    code = setup_code.make(randomness)
    assert len(code) == 12
    assert [len(part) for part in setup_code.shown(code).split("-")] == [4, 4, 4]
    assert setup_code.parse(setup_code.shown(code)) == code


def test_sixty_bits_of_the_randomness_are_in_the_code() -> None:
    codes = {setup_code.make((1 << bit).to_bytes(8, "big")) for bit in range(64)}
    assert len(codes) == 61  # 60 codes for 60 bits; the 4 lowest bits give the code of zero


@pytest.mark.parametrize("typed", ["abcd-2345-obib", "ABCD2345OBIB", " abcd 2345 081b ", "ABCD\u20132345\u2011OBIB"])
def test_what_people_type_is_understood(typed: str) -> None:
    assert setup_code.parse(typed) == "ABCD2345OBIB"


@pytest.mark.parametrize(
    "typed", ["", "ABCD-2345-OBI", "ABCD-2345-OBIBB", "ABCD-2345-OB9B", "ÄBCD-2345-OBIB", "-" * 49]
)
def test_what_cannot_be_a_code_is_none(typed: str) -> None:
    assert setup_code.parse(typed) is None


def test_the_hash_is_the_published_one_and_belongs_to_one_unit() -> None:
    salt = b"otscert/v1/setup\x00box\x00SN-1"
    published = hashlib.scrypt(b"ABCD2345OBIB", salt=salt, n=1024, r=8, p=1, dklen=32)
    assert setup_code.hash_code("ABCD2345OBIB", model="box", serial="SN-1") == published
    assert setup_code.matches("abcd-2345-0b1b", model="box", serial="SN-1", setup_hash=published)
    assert not setup_code.matches("abcd-2345-0b1c", model="box", serial="SN-1", setup_hash=published)
    assert not setup_code.matches("abcd-2345-0b1b", model="box", serial="SN-2", setup_hash=published)
    assert not setup_code.matches("abcd-2345-0b1b", model="bo", serial="SN-1", setup_hash=published)
    assert not setup_code.matches("nonsense", model="box", serial="SN-1", setup_hash=published)
