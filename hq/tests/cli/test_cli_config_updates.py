"""What the configuration says about a zone that servers elsewhere hold, and a zone of challenges beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from otscert.config import Config, ConfigError, parse

_SECRET = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBtYWRlIQ=="  # noqa: S105 - an example of a page


def read(tmp_path: Path, updates: str = "", zone: str = "", issuer: str = "", host: str = "hq.example.net") -> Config:
    (tmp_path / "secret").write_text(_SECRET)
    text = f"""
public_url = "https://{host}:8443"
[zone]
origin = "boxes.example.com"
check_servers = ["192.0.2.53:53"]
{zone}
[tsig.otscert]
secret_file = "secret"
[updates]
servers = ["192.0.2.53:53"]
key = "otscert"
{updates}
[issuer.le]
directory_url = "https://ca.example/directory"
{issuer}
[model.box]
policies = ["open"]
computed_names = false
"""
    return parse(text, path=tmp_path / "hq.toml", environment={})


def test_hq_serves_the_zone_of_challenges_and_nothing_else(tmp_path: Path) -> None:
    glue = 'server_addresses = { "ns1.acme.example.com" = ["203.0.113.5"] }'
    config = read(tmp_path, 'challenge_zone = "Acme.example.com."', glue)
    assert (config.served_zone, config.zone.name_servers) == ("acme.example.com", ("ns1.acme.example.com",))
    assert config.zone_elsewhere
    assert read(tmp_path).served_zone == ""


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ('challenge_zone = "acme.boxes.example.com"', "neither may lie in the other"),
        ('challenge_zone = "boxes.example.com"', "neither may lie in the other"),
        ('challenge_zone = "example.com"', "neither may lie in the other"),
        ('challenge_zone = "acme"', "updates.challenge_zone: 'acme' is not a DNS zone"),
        ('challenge_zone = "acme.example.com"', "no address for ns1.acme.example.com"),
        ('challenge_servers = ["192.0.2.1:53"]', "there is no updates.challenge_zone"),
    ],
)
def test_a_zone_of_challenges_that_cannot_be_is_refused(tmp_path: Path, updates: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, updates)


def test_hq_itself_lies_outside_of_the_zone_of_challenges(tmp_path: Path) -> None:
    updates, servers = 'challenge_zone = "acme.example.com"', 'name_servers = ["ns.example.net"]'
    with pytest.raises(ConfigError, match=r"public_url lies in the zone acme\.example\.com"):
        read(tmp_path, updates, servers, host="hq.acme.example.com")


def test_an_issuer_that_proves_names_for_good_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Set issuer\.le\.dns_persist = false"):
        read(tmp_path, issuer="dns_persist = true")
