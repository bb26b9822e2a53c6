"""Names that say their own address: exactly one spelling each, and only what the policy allows."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.zones.computed import ComputedNames, address_label, labelled_address

Ask = Callable[..., dns.message.Message]

PRIVATE = st.sampled_from(DEFAULT_POLICY.networks).flatmap(lambda network: st.ip_addresses(network=network))
NAMES = ComputedNames(DEFAULT_POLICY)


@given(PRIVATE)
def test_every_private_address_has_a_name_that_is_read_back(address: IPv4Address | IPv6Address) -> None:
    label = address_label(address)
    assert labelled_address(label.encode()) == address
    assert (NAMES.packed(label.encode()) == address.packed) is DEFAULT_POLICY.judge(address).allowed


@given(st.ip_addresses())
def test_no_other_address_is_computed(address: IPv4Address | IPv6Address) -> None:
    allowed = DEFAULT_POLICY.judge(address).allowed
    for _ in range(2):
        assert NAMES.packed(address_label(address).encode()) == (address.packed if allowed else None)


@given(st.one_of(st.binary(max_size=63), st.from_regex(rb"[0-9a-f-]{1,63}", fullmatch=True)))
def test_a_label_that_is_read_is_the_only_spelling_of_its_address(label: bytes) -> None:
    address = labelled_address(label)
    if address is not None:
        assert address_label(address).encode() == label


@given(st.tuples(*[st.integers(0, 300)] * 4).map(lambda octets: "-".join(map(str, octets)).encode()))
def test_four_numbers_are_an_address_when_each_fits_an_octet(label: bytes) -> None:
    fits = all(int(octet) <= 255 for octet in label.split(b"-"))
    assert (labelled_address(label) is not None) is fits


@pytest.mark.parametrize(
    "label",
    [
        b"192-168-1-020",
        b"192-168-01-20",
        b"192-168-1-256",
        b"192-168-1",
        b"192-168-1-2-3",
        b"192-168-1-",
        b"-192-168-1-20",
        b"192--168-1",
        b"192.168-1-20",
        b"192-168-1-+20",
        b"192-168-1- 20",
        b"192-168-1-\xb2\xb0",
        b"0xc0a80114",
        b"c0a80114",
        b"fd00000000000000000000000000002g",
        b"fd0000000000000000000000000000 0",
        b"fd00000000000000000000000000 020",
        b"fd0000000000000000000000000000020",
        b"fd00--20",
    ],
)
def test_other_spellings_are_no_names(label: bytes) -> None:
    assert labelled_address(label) is None


@pytest.mark.parametrize(
    ("label", "rtype", "other_type"),
    [("192-168-1-20", "A", "AAAA"), ("fd000000000000000000000000000020", "AAAA", "A")],
)
def test_a_computed_name_answers_its_family_and_nodata_for_the_rest(
    ask: Ask, label: str, rtype: str, other_type: str
) -> None:
    response = ask(f"{label}.both.boxes.example.com", rtype)
    [rrset] = response.answer
    assert rrset.ttl == 86400
    assert address_label(ip_address(str(rrset[0]))) == label
    for nodata_type in (other_type, "TXT", "HTTPS", "CAA"):
        negative = ask(f"{label}.both.boxes.example.com", nodata_type)
        assert negative.rcode() == dns.rcode.NOERROR
        assert not negative.answer


def test_the_case_of_hexadecimal_digits_does_not_matter(ask: Ask) -> None:
    response = ask("FD0000000000000000000000000000AB.both.boxes.example.com", "AAAA")
    assert str(response.answer[0][0]) == "fd00::ab"


@pytest.mark.parametrize(
    "label",
    [
        "8-8-8-8",
        "127-0-0-1",
        "169-254-169-254",
        "100-64-0-1",
        "0-0-0-0",
        "00000000000000000000ffffc0a80114",
        "fe800000000000000000000000000001",
        "fd000ec2000000000000000000000254",
        "fd00000000000000021122fffe334455",
        "192-168-1-020",
    ],
)
def test_an_address_that_the_policy_refuses_has_no_name(ask: Ask, label: str) -> None:
    for rtype in ("A", "AAAA", "ANY"):
        assert ask(f"{label}.both.boxes.example.com", rtype).rcode() == dns.rcode.NXDOMAIN


def test_the_memory_of_verdicts_is_bounded() -> None:
    names = ComputedNames(DEFAULT_POLICY)
    for number in range(40_000):
        names.packed(address_label(IPv4Address(0x0A000000 + number)).encode())
    assert len(names._remembered) <= 16_384
