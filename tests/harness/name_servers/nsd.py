"""NSD on loopback: secondary of one zone that HQ, the hidden primary, lets it transfer by a TSIG key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.name_servers.running import running
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK


@contextmanager
def nsd_secondary(folder: Path, *, zone: str, port: int, primary_port: int, secret: str) -> Iterator[Path]:
    """Run it with the key `otscert` until the block ends; yields its log. It need not have the zone yet."""
    command = require_part("nsd")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nsd.conf").write_text(
        f"""server:
  ip-address: {LOOPBACK}@{port}
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
key:
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
    )
    log = folder / "log"
    arguments = ("-d", "-c", str(folder / "nsd.conf"))
    with running(command, arguments, log=log, answers=lambda: "nsd started" in log.read_text()):
        yield log
