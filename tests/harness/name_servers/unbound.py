"""Unbound on loopback, configured like the resolvers of Let's Encrypt's validators, asking one zone's own server.

Source: jsha/unboundtest and Boulder: letter case as a secret (0x20), minimised questions, nothing below an NXDOMAIN, a
validator, no cache, TCP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.harness.name_servers.running import running
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK, free_port

# The root's key as IANA publishes it: with it the validator works, and the zone is told to be unsigned.
_ROOT_DS = ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"


@contextmanager
def unbound(folder: Path, *, zone: str, server_port: int, others: Mapping[str, int] | None = None) -> Iterator[int]:
    """Run it until the block ends; gives its port. The zone's server need not answer yet.

    `others` are the ports of the servers of other zones.
    """
    command, port = require_part("unbound"), free_port()
    zones = {zone: server_port, **(others or {})}
    insecure = "".join(f'  domain-insecure: "{each}"\n' for each in zones)
    stubs = "".join(f'stub-zone:\n  name: "{each}"\n  stub-addr: {LOOPBACK}@{at}\n' for each, at in zones.items())
    folder.mkdir(parents=True)
    (folder / "unbound.conf").write_text(
        f"""server:
  interface: {LOOPBACK}
  port: {port}
  access-control: {LOOPBACK}/32 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  logfile: ""
  log-queries: yes
  verbosity: 1
  num-threads: 1
  do-tcp: yes
  module-config: "validator iterator"
  trust-anchor: "{_ROOT_DS}"
{insecure}  harden-dnssec-stripped: yes
  harden-below-nxdomain: yes
  harden-glue: yes
  use-caps-for-id: yes
  qname-minimisation: yes
  qname-minimisation-strict: yes
  cache-min-ttl: 0
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  edns-buffer-size: 1232
  do-not-query-localhost: no
remote-control:
  control-enable: no
{stubs}""",
        encoding="ascii",
    )
    arguments = ("-d", "-p", "-c", str(folder / "unbound.conf"))
    with running(command, arguments, log=folder / "log", answers=lambda: _answers(port)):
        yield port


def _answers(port: int) -> bool:
    # A name that Unbound answers by itself (RFC 6761 6.3).
    try:
        answer = dns.query.udp(dns.message.make_query("localhost", "A"), LOOPBACK, port=port, timeout=0.5)
    except (OSError, dns.exception.DNSException):
        return False
    return answer.rcode() == dns.rcode.NOERROR
