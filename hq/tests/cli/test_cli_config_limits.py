"""What the configuration says about the CAs' limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from otscert.config import Config, ConfigError, parse
from otscert.domain.limits import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, NONE_KNOWN, LimitKind
from otscert.domain.quota import Quota

LE = "https://acme-v02.api.letsencrypt.org/directory"


def read(issuer: str = "", zone: str = "", directory_url: str = LE) -> Config:
    text = f"""
public_url = "https://hq.example.net:8443"
[zone]
origin = "boxes.example.com"
name_servers = ["ns.example.net"]
{zone}
[issuer.le]
directory_url = "{directory_url}"
{issuer}
[model.box]
policies = ["open"]
"""
    return parse(text, path=Path("hq.toml"), environment={})


def test_a_known_cas_limits_hold_without_a_setting() -> None:
    assert read().issuers[0].limits == LETS_ENCRYPT
    assert read(directory_url="https://127.0.0.1:14000/dir").issuers[0].limits == NONE_KNOWN


@pytest.mark.parametrize(
    ("named", "limits"),
    [("letsencrypt", LETS_ENCRYPT), ("letsencrypt-staging", LETS_ENCRYPT_STAGING), ("none", NONE_KNOWN)],
)
def test_limits_are_named_for_a_ca_that_is_not_known_by_its_host(named: str, limits: object) -> None:
    issuer = read(f'limits = "{named}"', directory_url="https://127.0.0.1:14000/dir").issuers[0]

    assert issuer.limits == limits


def test_an_adjusted_limit_replaces_the_known_one() -> None:
    limits = read('orders_per_account = "1000/7d"\ncertificates_per_domain = "none"').issuers[0].limits

    assert limits.by_kind[LimitKind.ORDERS_PER_ACCOUNT] == Quota(count=1000, period_s=604_800)
    assert LimitKind.CERTIFICATES_PER_DOMAIN not in limits.by_kind
    assert limits.by_kind[LimitKind.CERTIFICATES_PER_NAMES].count == 5


@pytest.mark.parametrize(("said", "meant"), [("auto", None), ("true", True), ("false", False)])
def test_the_zone_may_be_a_public_suffix(said: str, meant: object) -> None:
    assert read(zone=f'public_suffix = "{said}"').zone.public_suffix is meant


@pytest.mark.parametrize(
    ("issuer", "zone", "message"),
    [
        ('limits = "letsencryt"', "", "issuer.le.limits is 'letsencryt', but must be auto"),
        ('orders_per_account = "lots"', "", 'issuer.le.orders_per_account: "lots" is no limit'),
        ('failures_per_name = "5/0h"', "", "issuer.le.failures_per_name: .* between a second and a year"),
        ("orders_per_account = 300", "", "issuer.le.orders_per_account must be a text"),
        ("", 'public_suffix = "yes"', "zone.public_suffix is 'yes', but must be auto, true or false"),
    ],
)
def test_what_is_no_limit_refuses_to_start_and_says_where(issuer: str, zone: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(issuer, zone)
