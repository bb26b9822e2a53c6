"""What a model's switches put into the zone: computed names, HTTPS records, own global IPv6, persistent validation."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import dns.message
import dns.rcode
import pytest

from otscert.domain.addresses import DEFAULT_POLICY, AddressPolicy
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

OWN = "2a02:810d:1:2:a::1"
HTTPS = replace(DEFAULT_POLICY, https_record=True)
PERSIST = "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard"


def asked(zone: Zone, name: str, kind: str) -> list[str] | None:
    """What the zone answers, None for a name that does not exist; asked twice, for what it remembers."""
    query = dns.message.make_query(f"{name}.boxes.example.com", kind, id=1).to_wire()
    answer = zone.answer(query, size_limit=None)
    assert answer is not None
    assert zone.answer(query, size_limit=None) == answer
    message = dns.message.from_wire(answer)
    if message.rcode() == dns.rcode.NXDOMAIN:
        return None
    return sorted(rdata.to_text() for rrset in message.answer for rdata in rrset)


@pytest.fixture
def zone(settings: ZoneSettings) -> Zone:
    return Zone(settings)


def activate(zone: Zone, policy: AddressPolicy, *addresses: str) -> None:
    zone.activate("box", [ip_address(text) for text in addresses or ("192.168.1.20",)], policy)


def test_a_model_may_have_no_computed_names(zone: Zone) -> None:
    activate(zone, DEFAULT_POLICY)
    assert asked(zone, "192-168-1-9.box", "A") == ["192.168.1.9"]
    activate(zone, replace(DEFAULT_POLICY, computed_names=False))
    assert asked(zone, "192-168-1-9.box", "A") is None
    assert asked(zone, "box", "A") == ["192.168.1.20"]
    assert asked(zone, "_acme-challenge.box", "TXT") == ['"no challenge is waiting"']


def test_an_https_record_comes_and_goes_with_the_certificate_that_is_served(zone: Zone) -> None:
    for policy, records in ((HTTPS, ['1 . alpn="http/1.1"']), (DEFAULT_POLICY, []), (HTTPS, ['1 . alpn="http/1.1"'])):
        activate(zone, policy)
        assert asked(zone, "box", "HTTPS") == records
        assert asked(zone, "192-168-1-20.box", "HTTPS") == records
    zone.withdraw("box")
    assert asked(zone, "box", "HTTPS") is None


@pytest.mark.parametrize(
    ("own_global", "address", "published"),
    [
        (True, OWN, True),
        (False, OWN, False),
        (True, "2a02:810d::2ff:fe00:1", False),
        (True, "2001:db8::1", False),
        (True, "2002:c000:204::1", False),
        (True, "4000::1", False),
    ],
)
def test_a_global_address_is_published_by_the_models_switch(
    zone: Zone, *, own_global: bool, address: str, published: bool
) -> None:
    activate(zone, replace(DEFAULT_POLICY, own_global=own_global), address)
    assert asked(zone, "box", "AAAA") == ([address] if published else [])
    assert asked(zone, f"{ip_address(address).packed.hex()}.box", "AAAA") is None


@pytest.mark.parametrize(
    ("own_global", "known", "allowed"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_global_address_is_the_boxs_own_once_it_called_from_there(
    *, own_global: bool, known: bool, allowed: bool
) -> None:
    policy = replace(DEFAULT_POLICY, own_global=own_global)
    assert policy.judge_own(ip_address(OWN), known=known).allowed is allowed
    assert policy.judge_own(ip_address("192.168.1.2"), known=False).allowed


def test_validation_persist_stands_below_every_box_and_nowhere_else(zone: Zone) -> None:
    activate(zone, DEFAULT_POLICY)
    assert asked(zone, "_validation-persist.box", "TXT") is None
    zone.put_txt("unborn", "value")
    serial = zone.serial
    zone.set_persist([PERSIST])
    assert zone.serial != serial
    assert asked(zone, "_validation-persist.box", "TXT") == [f'"{PERSIST}"']
    assert asked(zone, "_validation-persist.box", "A") == []
    assert asked(zone, "_validation-persist.unborn", "TXT") is None
    assert asked(zone, "x._validation-persist.box", "TXT") is None
    assert any(PERSIST.encode() in rr.rdata for rr in zone.rrs())
    zone.withdraw("box")
    assert asked(zone, "_validation-persist.box", "TXT") is None
    activate(zone, DEFAULT_POLICY)
    zone.set_persist([])
    assert asked(zone, "_validation-persist.box", "TXT") is None


def test_texts_of_the_store_load_as_addresses_do(settings: ZoneSettings) -> None:
    zones = []
    for addresses in ("192.168.1.20 fd00::1 8.8.8.8", [ip_address(each) for each in ("192.168.1.20", "fd00::1")]):
        zone = Zone(settings)
        refused = zone.load([("one", addresses, DEFAULT_POLICY), ("two", addresses, HTTPS)], [])
        zones.append((list(zone.rrs()), len(refused)))
    assert zones[0][0] == zones[1][0]
    assert [refused for _, refused in zones] == [2, 0]
