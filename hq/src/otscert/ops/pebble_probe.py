"""Asks a Pebble on loopback how it is: working, dead-locked or gone. Starts and ends nothing."""

from __future__ import annotations

import http.client
import ssl
from enum import Enum
from pathlib import Path

from otscert.ops.pebble_config import LOOPBACK


class Health(Enum):
    """What a probe of a running Pebble found."""

    ANSWERS = "answers"
    HUNG = "dead-locked: its directory answers, but what needs its database hangs (hold <= 8 orders in flight)"
    DOWN = "down: its directory does not answer"


def probe(*, https_port: int, management_port: int, api_trust: Path, limit_s: float) -> Health:
    """Return how the Pebble at these loopback ports is, waiting at most `limit_s` for each of two answers."""
    if get(https_port, "/dir", api_trust=api_trust, limit_s=limit_s) is None:
        return Health.DOWN
    # The dead-lock is one of the in-memory database's lock, so the directory and newNonce go on answering. This is
    # the one question, in 2.4 and 2.10 alike, that needs the database and no signed request.
    database = get(management_port, "/cert-status-by-serial/1", api_trust=api_trust, limit_s=limit_s)
    return Health.HUNG if database is None else Health.ANSWERS


def get(port: int, path: str, *, api_trust: Path, limit_s: float) -> tuple[int, str] | None:
    """Return status and body of one loopback request, or None when no whole answer came within `limit_s`."""
    tls = ssl.create_default_context(cafile=str(api_trust))
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=limit_s, context=tls)
    try:
        connection.request("GET", path, headers={"User-Agent": "otscert-pebble-probe"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
