"""The zone on servers elsewhere: who sends them what has changed, by the settings [updates]."""

from __future__ import annotations

from functools import partial

import dns.tsig

from otscert.config import Config
from otscert.roles.dns import addresses_below
from otscert.roles.parts import Parts, Works
from otscert.service.leader import Leader
from otscert.service.zone_pushing import ZonePusher
from otscert.zones.settings import ZoneSettings
from otscert.zones.update_server import UpdateServer
from otscert.zones.update_sheet import UpdateSheet


def pushers(parts: Parts) -> list[ZonePusher]:
    """One for each server that takes updates; none where HQ serves the zone itself."""
    config, updates = parts.config, parts.config.dns.updates
    if updates is None:
        return []
    key = dns.tsig.Key(updates.key.name, updates.key.secret, updates.key.algorithm)
    made = []
    for host, port in updates.servers:
        sheet = UpdateSheet(_settings(config), challenge_zone=updates.challenge_zone)
        made.append(
            ZonePusher(
                models=parts.hq.models,
                issuers=parts.issuers,
                store=parts.store,
                signals=parts.signals,
                sheet=sheet,
                server=UpdateServer(host=host, port=port, origin=sheet.origin, key=key),
                extent=f"{config.zone.origin} {updates.challenge_zone}".rstrip(),
                updates=parts.counts.zone_updates,
            )
        )
    return made


def update_works(parts: Parts, leader: Leader) -> Works:
    """Of all processes one sends the updates for a server."""
    return [partial(leader.lead, f"updates of {each.server.shown}", each.work) for each in pushers(parts)]


def _settings(config: Config) -> ZoneSettings:
    return ZoneSettings(
        origin=config.zone.origin,
        name_servers=("ns.invalid",),
        contact=config.zone.contact,
        server_addresses=addresses_below(config, config.zone.origin),
    )
