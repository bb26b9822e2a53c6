from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError


@given(st.binary(max_size=200))
def test_bytes_come_back(data: bytes) -> None:
    assert b64.decode(b64.encode(data)) == data


@given(st.text(max_size=40))
def test_a_text_is_refused_or_is_the_one_spelling_of_its_bytes(text: str) -> None:
    try:
        data = b64.decode(text)
    except WireError:
        return
    assert b64.encode(data) == text


@pytest.mark.parametrize("text", ["YQ==", "YR", "Y", "Y Q", "YQ\n", "+/8", "Ä"])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(WireError):
        b64.decode(text)


def test_a_wrong_length_names_what_has_it() -> None:
    with pytest.raises(WireError, match="txid is 3 bytes long, not 16"):
        b64.decode(base64.urlsafe_b64encode(b"abc").decode(), length=16, what="txid")
