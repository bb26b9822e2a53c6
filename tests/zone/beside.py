"""NSD and Knot beside our server: the same records from a zone file, each on a free port. Knows how they start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from otscert.zones.rrs import Rr
from otscert.zones.zone import Zone
from tests.harness.name_servers.running import running, serves
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK, free_port
from tests.zone.served import ORIGIN


def zone_file(zone: Zone) -> str:
    """The zone's records, one a line, by dnspython's hand and not by the product's."""
    return "".join(_line(record) for record in zone.rrs())


def _line(record: Rr) -> str:
    owner, _ = dns.name.from_wire(record.owner, 0)
    rtype = dns.rdatatype.RdataType.make(record.rtype)
    data = dns.rdata.from_wire(dns.rdataclass.IN, rtype, record.rdata, 0, len(record.rdata))
    return f"{owner} {record.ttl_s} IN {dns.rdatatype.to_text(data.rdtype)} {data}\n"


@contextmanager
def nsd(folder: Path, zone: Zone) -> Iterator[int]:
    """Run it with the zone as it is now; gives its port."""
    command, port = require_part("nsd"), free_port()
    folder.mkdir(parents=True)
    (folder / "zone").write_text(zone_file(zone), encoding="ascii")
    # No rate limit, which would count loopback as one client; nothing is written outside the folder.
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
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  answer-cookie: no
remote-control:
  control-enable: no
zone:
  name: "{ORIGIN}"
  zonefile: "{folder}/zone"
""",
        encoding="ascii",
    )
    arguments = ("-d", "-c", str(folder / "nsd.conf"))
    with running(command, arguments, log=folder / "log", answers=lambda: serves(port, ORIGIN)):
        yield port


@contextmanager
def knot(folder: Path, zone: Zone) -> Iterator[int]:
    """Run it with the zone as it is now; gives its port."""
    command, port = require_part("knotd"), free_port()
    folder.mkdir(parents=True)
    (folder / "zone").write_text(zone_file(zone), encoding="ascii")
    (folder / "knot.conf").write_text(
        f"""server:
    listen: {LOOPBACK}@{port}
    rundir: "{folder}"
    udp-workers: 1
    tcp-workers: 1
    udp-max-payload: 1232
database:
    storage: "{folder}"
log:
  - target: stdout
    any: warning
zone:
  - domain: {ORIGIN}
    storage: "{folder}"
    file: zone
""",
        encoding="ascii",
    )
    arguments = ("-c", str(folder / "knot.conf"))
    with running(command, arguments, log=folder / "log", answers=lambda: serves(port, ORIGIN)):
        yield port
