from __future__ import annotations

from ipaddress import IPv6Network

from otscert.domain.callers import buckets


def test_an_ipv4_address_is_one_caller() -> None:
    assert buckets("203.0.113.7") == (("203.0.113.7", 1),)


def test_an_ipv6_caller_is_charged_with_its_line_too() -> None:
    assert buckets("2001:db8:1:2::/64") == (("2001:db8:1:2::/64", 1), ("2001:db8:1::/56", 4), ("2001:db8:1::/48", 16))


def test_all_networks_of_one_line_share_four_callers_budget() -> None:
    line = IPv6Network("2001:db8:1:200::/56")
    shared = {buckets(str(network))[1] for network in line.subnets(new_prefix=64)}
    assert shared == {("2001:db8:1:200::/56", 4)}


def test_a_name_that_is_no_address_is_counted_as_it_is() -> None:
    assert buckets("unix") == (("unix", 1),)
