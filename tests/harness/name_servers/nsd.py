"""NSD on loopback: secondary of a zone that HQ lets it transfer by a TSIG key, or primary of what a test writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.harness.name_servers.running import running
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK


@contextmanager
def nsd_secondary(folder: Path, *, zone: str, port: int, primary_port: int, secret: str) -> Iterator[Path]:
    """Run it with the key `otscert` until the block ends; yields its log. It need not have the zone yet."""
    text = f"""key:
  name: otscert
  algorithm: hmac-sha256
  secret: "{secret}"
zone:
  name: "{zone}"
  zonefile: "{folder}/zone"
  allow-notify: {LOOPBACK} otscert
  request-xfr: {LOOPBACK}@{primary_port} otscert
  min-retry-time: 1
  max-retry-time: 1
"""
    with _nsd(folder, LOOPBACK, port, text) as log:
        yield log


@contextmanager
def nsd_primary(folder: Path, *, host: str, port: int, zones: Mapping[str, str]) -> Iterator[None]:
    """Run it with these zones' records until the block ends; `host` is an address of loopback."""
    folder.mkdir(parents=True)
    text = ""
    for zone, records in zones.items():
        (folder / zone).write_text(f"$ORIGIN {zone}.\n$TTL 60\n{records}")
        text += f'zone:\n  name: "{zone}"\n  zonefile: "{folder}/{zone}"\n'
    with _nsd(folder, host, port, text):
        yield


@contextmanager
def _nsd(folder: Path, host: str, port: int, zones: str) -> Iterator[Path]:
    command = require_part("nsd")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nsd.conf").write_text(
        f"""server:
  ip-address: {host}@{port}
  server-count: 1
  username: ""
  zonesdir: "{folder}"
  database: ""
  zonelistfile: "{folder}/zone.list"
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrd-reload-timeout: 0
  verbosity: 2
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
{zones}"""
    )
    log = folder / "log"
    arguments = ("-d", "-c", str(folder / "nsd.conf"))
    with running(command, arguments, log=log, answers=lambda: "nsd started" in log.read_text()):
        yield log
