from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.addresses import DEFAULT_POLICY, AddressError, AddressPolicy, parse_address

SHARED = AddressPolicy(networks=(IPv4Network("100.64.0.0/10"),))
DEMO = AddressPolicy(networks=DEFAULT_POLICY.networks, allow_loopback=True)


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.1.20", "fc00::1", "fdff:ffff::1"],
)
def test_a_private_address_is_allowed_by_default(text: str) -> None:
    verdict = DEFAULT_POLICY.judge(parse_address(text))
    assert verdict.allowed
    assert verdict.reason.startswith(f"{text} is in ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("224.0.0.251", "multicast"),
        ("ff02::fb", "multicast"),
        ("::ffff:192.168.1.20", "mapped"),
        ("::ffff:127.0.0.1", "mapped"),
        ("2002:c0a8:101::1", "6to4"),
        ("64:ff9b::c0a8:101", "NAT64"),
        ("64:ff9b:1::c0a8:101", "NAT64"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fd00::211:22ff:fe33:4455", "EUI-64"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("8.8.8.8", "no network"),
        ("2606:4700::1111", "no network"),
        ("100.64.0.1", "no network"),
        ("172.32.0.1", "no network"),
        ("255.255.255.255", "no network"),
        ("fec0::1", "no network"),
        ("::192.168.1.20", "no network"),
    ],
)
def test_every_other_address_is_refused_with_its_reason(text: str, reason: str) -> None:
    verdict = DEFAULT_POLICY.judge(parse_address(text))
    assert not verdict.allowed
    assert reason in verdict.reason


def test_loopback_is_allowed_only_where_the_model_says_so() -> None:
    assert DEMO.judge(IPv4Address("127.0.0.1")).allowed
    assert DEMO.judge(IPv6Address("::1")).allowed
    assert not DEMO.judge(IPv6Address("::ffff:127.0.0.1")).allowed


def test_shared_address_space_is_allowed_by_model_but_not_its_metadata_service() -> None:
    assert SHARED.judge(IPv4Address("100.64.0.1")).allowed
    assert not SHARED.judge(IPv4Address("100.100.100.200")).allowed
    assert not SHARED.judge(IPv4Address("192.168.1.1")).allowed


def test_a_zone_index_is_refused_even_on_a_unique_local_address() -> None:
    assert not DEFAULT_POLICY.judge(IPv6Address("fd00::1%eth0")).allowed


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "8.8.8.0/24", "127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/7"])
def test_no_policy_can_name_a_network_that_is_not_private(network: str) -> None:
    with pytest.raises(AddressError, match="cannot be allowed"):
        AddressPolicy(networks=(ip_network(network),))


@given(st.ip_addresses())
def test_what_is_allowed_lies_in_a_network_of_the_policy(address: IPv4Address | IPv6Address) -> None:
    if DEFAULT_POLICY.judge(address).allowed:
        assert any(address in network for network in DEFAULT_POLICY.networks)


@given(st.sampled_from(DEFAULT_POLICY.networks).flatmap(lambda network: st.ip_addresses(network=network)))
def test_only_metadata_services_and_eui64_are_refused_inside_the_default_networks(
    address: IPv4Address | IPv6Address,
) -> None:
    is_exception = isinstance(address, IPv6Address) and (
        address.packed[11:13] == b"\xff\xfe" or address in {IPv6Address("fd00:ec2::254"), IPv6Address("fd20:ce::254")}
    )
    assert DEFAULT_POLICY.judge(address).allowed is not is_exception


@given(st.ip_addresses())
def test_an_address_is_read_back_from_its_text(address: IPv4Address | IPv6Address) -> None:
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 10.0.0.1",
        "10.0.0.1\n",
        "010.0.0.1",
        "10.0.0",
        "0x0a000001",
        "167772161",
        "10.0.0.256",
        "\u0661\u0660.0.0.1",
        "fe80::1%eth0",
        "fd00::1/64",
        "[fd00::1]",
        "localhost",
        "1" * 10_000,
    ],
)
def test_a_text_that_is_no_address_is_an_error_with_a_sentence(text: str) -> None:
    with pytest.raises(AddressError, match=r"address|zone index"):
        parse_address(text)


def test_a_network_of_the_other_family_never_matches() -> None:
    only_v6 = AddressPolicy(networks=(IPv6Network("fd00::/8"),))
    assert not only_v6.judge(ip_address("10.0.0.1")).allowed
