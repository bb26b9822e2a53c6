"""What every process can have beside its roles: the listener for Prometheus."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

from otscert.api.metrics.overview import Overviews
from otscert.api.metrics.page import MOST_CONNECTIONS, metrics_app
from otscert.api.metrics.scrape import NumberedZone, Places, Scraping
from otscert.api.room import Room
from otscert.api.server import HttpServer
from otscert.roles.dns import RunningDns
from otscert.roles.parts import Parts, port_problem
from otscert.service.budget_levels import shared_levels


async def start_metrics(
    parts: Parts,
    *,
    zone: NumberedZone,
    dns: RunningDns | None,
    room: Places | None,
    events_after: int,
    stack: AsyncExitStack,
) -> tuple[tuple[str, int], ...]:
    """Listen for Prometheus where the configuration says so; raise `CannotStart`."""
    config = parts.config
    scraping = Scraping(
        clock=parts.hq.clock,
        issuers=[each.name for each in config.issuers],
        counts=parts.counts,
        zone=zone,
        name_server=dns.server if dns else None,
        secondaries=dns.secondaries if dns else tuple,
        room=room,
        pki=parts.pki,
        database=config.database,
        overviews=Overviews(
            store=parts.store,
            checkin_s=config.checkin_s,
            events_after=events_after,
            channels=parts.live.channels,
            budget=partial(
                shared_levels,
                limits=parts.hq.limits,
                zone=config.zone.origin,
                public_suffix=config.zone.public_suffix,
            ),
        ),
    )
    app, places, taken = metrics_app(scraping), Room(most=MOST_CONNECTIONS), []
    for host, port in config.listen_metrics:
        server = HttpServer(app, host=host, port=port, room=places)
        try:
            taken.append((host, await server.start()))
        except OSError as error:
            raise port_problem("the metrics listener", "listen.metrics", host, port, error) from error
        stack.push_async_callback(server.stop)
    return tuple(taken)
