from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from otscert.domain import targets


@pytest.mark.parametrize("text", ["9.9.9.9", "192.0.0.9", "2620:fe::fe", "2a00:1450:4001::1"])
def test_public_addresses_are_called(text: str) -> None:
    assert targets.refusal(ip_address(text), allowed=()) is None


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "239.1.2.3",
        "192.0.2.1",
        "198.18.0.1",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:9.9.9.9",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "2002:7f00:1::1",
        "2002:909:909::1",
        "2001:0:53aa:64c::1",
        "64:ff9b::7f00:1",
        "64:ff9b::909:909",
        "64:ff9b:1::a00:1",
    ],
)
def test_others_are_not(text: str) -> None:
    reason = targets.refusal(ip_address(text), allowed=())
    assert reason is not None
    assert str(ip_address(text)) in reason


def test_a_network_of_the_configuration_is_called_and_its_neighbour_is_not() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd12::/48"))
    assert targets.refusal(ip_address("10.1.2.3"), allowed=allowed) is None
    assert targets.refusal(ip_address("fd12::1"), allowed=allowed) is None
    assert targets.refusal(ip_address("10.2.0.1"), allowed=allowed)
    assert targets.refusal(ip_address("::ffff:10.1.2.3"), allowed=allowed)
