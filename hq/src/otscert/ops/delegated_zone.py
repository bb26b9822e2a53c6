"""Which zones the world has to find, and what is configured of each. Asks nobody and judges nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from otscert.config import Config
from otscert.ops.doctor_ask import Server
from otscert.ops.doctor_finding import Finding
from otscert.ops.doctor_reach import asked_at


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegatedZone:
    """A zone, and what HQ knows of its servers.

    `name_servers` and `server_addresses` are empty where others hold the zone: its primary says them, not HQ.
    `more_servers` are asked besides, and came from the setting `setting`; `own` are HQ's, asked when nobody is known.
    `prefix` begins the names of what is found, so that two zones' findings have different ones.
    """

    origin: str
    name_servers: tuple[str, ...]
    server_addresses: Mapping[str, tuple[IPv4Address | IPv6Address, ...]]
    more_servers: tuple[Server, ...]
    setting: str
    own: tuple[Server, ...] = ()
    elsewhere: bool = False
    prefix: str = ""

    @property
    def catch_up(self) -> str:
        """What to look at when one of its servers has an older zone than another."""
        if self.elsewhere:
            return (
                "see whether updates.servers takes what HQ sends (zone.updates_not_taken in HQ's log), and whether"
                " this server transfers from there"
            )
        return (
            "see whether it gets NOTIFY and may transfer from HQ (its log, and HQ's), or follows HQ's database"
            " (otscert processes)"
        )

    def named(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """The findings under this zone's names."""
        for finding in findings:
            yield replace(finding, check=f"{self.prefix}{finding.check}")


def delegated_zones(config: Config) -> list[DelegatedZone]:
    """The boxes' zone, and that of challenges where it is another one."""
    zone, updates = config.zone, config.dns.updates
    own = tuple((asked_at(host), port) for host, port in config.listen_dns)
    configured = DelegatedZone(
        origin=zone.origin,
        name_servers=zone.name_servers,
        server_addresses=zone.server_addresses,
        more_servers=zone.check_servers,
        setting="zone.check_servers",
        own=own,
    )
    if updates is None:
        return [configured]
    boxes = replace(configured, name_servers=(), server_addresses={}, own=(), elsewhere=True)
    if not updates.challenge_zone:
        return [boxes]
    challenges = replace(
        configured,
        origin=updates.challenge_zone,
        more_servers=updates.challenge_servers,
        setting="updates.challenge_servers",
        prefix="challenges.",
    )
    return [boxes, challenges]
