from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.zones.quick_txt import _question, _values

NAME = "_acme-challenge.nifty.boxes.example.com"


def answer(*values: str, **changes: int) -> bytes:
    """What dnspython, an independent judge, makes of a TXT answer; `flags` and `rcode` change it."""
    query = dns.message.make_query(NAME, "TXT", flags=0)
    message = dns.message.make_response(query)
    message.flags |= dns.flags.AA
    message.flags ^= changes.get("flags", 0)
    message.set_rcode(dns.rcode.Rcode(changes.get("rcode", 0)))
    if values:
        message.answer.append(dns.rrset.from_text_list(NAME + ".", 10, "IN", "TXT", [f'"{value}"' for value in values]))
    return message.to_wire()


def read(octets: bytes) -> set[str] | None:
    question = _question(NAME)
    assert question is not None
    return _values(octets, question)


def test_a_plain_answer_is_read_as_dnspython_wrote_it() -> None:
    assert read(answer("one", "two")) == {"one", "two"}
    assert read(answer()) == set()
    assert read(answer(rcode=3)) == set()


def test_the_strings_of_a_record_are_joined() -> None:
    assert read(answer('first" "second')) == {"firstsecond"}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"flags": dns.flags.TC}, "truncated"),
        ({"flags": dns.flags.AA}, "not authoritative"),
        ({"flags": dns.flags.QR}, "a question"),
        ({"rcode": 2}, "SERVFAIL"),
        ({"rcode": 5}, "REFUSED"),
    ],
)
def test_what_is_not_plain_is_left_to_dnspython(changes: dict[str, int], what: str) -> None:
    assert read(answer("one", **changes)) is None, what


def test_an_answer_to_another_question_is_not_taken() -> None:
    other = _question("_acme-challenge.other.boxes.example.com")
    assert other is not None
    assert _values(answer("one"), other) is None


def test_the_case_of_the_echoed_question_does_not_matter() -> None:
    octets = answer("one")
    assert read(octets[:12] + octets[12:].replace(b"nifty", b"NiFtY")) == {"one"}


def test_a_record_of_another_name_is_not_taken() -> None:
    octets = bytearray(answer("one"))
    octets[octets.index(b"\xc0\x0c") + 1] = 13
    assert read(bytes(octets)) is None


@pytest.mark.parametrize(
    "name", ["", "a..b", "ü.example.com", "x" * 64 + ".com", ("a" * 49 + ".") * 6 + "com", "a\\.b.c"]
)
def test_a_name_that_is_not_plain_is_left_to_dnspython(name: str) -> None:
    assert _question(name) is None


@given(st.integers(0, 200), st.binary(max_size=4))
def test_cut_and_changed_answers_never_raise(cut: int, noise: bytes) -> None:
    octets = answer("one", "two")
    read(octets[:cut] + noise + octets[cut + len(noise) :])
    read(octets[:cut])


def test_a_record_count_that_lies_is_not_plain() -> None:
    octets = bytearray(answer("one"))
    struct.pack_into("!H", octets, 6, 7)
    assert read(bytes(octets)) is None
