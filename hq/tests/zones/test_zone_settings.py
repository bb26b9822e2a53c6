"""Settings that would make a broken zone are refused with the setting's name."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from otscert.zones.errors import SettingsError
from otscert.zones.settings import ZoneSettings, ZoneTtls


def settings(**changes: Any) -> ZoneSettings:
    return ZoneSettings(
        **{"origin": "z.example", "name_servers": ("ns.example.net",), "contact": "hostmaster.example"} | changes
    )


def test_the_least_settings_are_enough() -> None:
    assert settings().ttls.soa_minimum_s == 60


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"origin": "."}, "origin"),
        ({"origin": "a..b"}, "origin"),
        ({"origin": "a." * 80 + "example"}, "origin"),
        ({"origin": "x" * 64 + ".example"}, "origin"),
        ({"name_servers": ()}, "name_servers is empty"),
        ({"name_servers": ("ns.z.example",)}, "no address"),
        ({"name_servers": ("ns..z",)}, "name_servers"),
        ({"contact": "a..b"}, "contact"),
        ({"server_addresses": {"ns.elsewhere.example": (ip_address("192.0.2.1"),)}}, "not below"),
        ({"server_addresses": {"z.example": (ip_address("192.0.2.1"),)}}, "not below"),
        ({"server_addresses": {"ns.z.example": ()}, "name_servers": ("ns.z.example",)}, "no address"),
        ({"first_serial": -1}, "first_serial"),
        ({"first_serial": 2**32}, "first_serial"),
    ],
)
def test_settings_that_contradict_the_dns_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        settings(**changes)


@pytest.mark.parametrize(
    "ttls", [{"address_s": -1}, {"computed_s": 2**31}, {"challenge_s": 11}, {"soa_minimum_s": 86_400}]
)
def test_a_ttl_that_would_hide_a_new_box_or_challenge_is_refused(ttls: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(ttls))):
        ZoneTtls(**ttls)
