from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain import pairing_code


@pytest.mark.parametrize(
    "typed",
    [
        "K7QM2XOI",
        "k7qm2xoi",
        "K7QM-2XOI",
        " k7 qm 2x oi\t",
        "K7QM\u20132XOI",
        "K7QM2X01",
        "k7qm-2x0i",
        "K7QM\u00a02XO1",
    ],
)
def test_a_code_is_understood_however_it_is_typed(typed: str) -> None:
    assert pairing_code.parse(typed) == "K7QM2XOI"


@pytest.mark.parametrize("typed", ["", "K7QM2XO", "K7QM2XOIA", "K7QM2XO9", "K7QM2XOÄ", "A" * 33, "-" * 8, "\uff21" * 8])
def test_what_cannot_be_a_code_is_none(typed: str) -> None:
    assert pairing_code.parse(typed) is None


@given(st.binary(min_size=5, max_size=5))
def test_every_code_that_is_made_is_read_back(randomness: bytes) -> None:
    code = pairing_code.make(randomness)
    assert len(code) == pairing_code.LENGTH
    assert pairing_code.parse(code.lower()) == code


def test_codes_use_all_of_their_randomness() -> None:
    assert pairing_code.make(bytes(5)) == "AAAAAAAA"
    assert pairing_code.make(b"\xff" * 5) == "77777777"
    assert len({pairing_code.make(secrets.token_bytes(5)) for _ in range(1000)}) > 990
    with pytest.raises(ValueError, match="needs 5 random bytes"):
        pairing_code.make(bytes(8))
