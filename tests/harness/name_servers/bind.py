"""BIND (named) on loopback: primary of one zone that takes updates by a TSIG key.

The configuration between the marks in docs/own-dns.md is the one that a maker copies; here its names and paths are put
into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.name_servers.running import running, serves
from tests.harness.name_servers.snippets import DOC_SECRET, DOC_ZONE, snippet, zone_file
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK, free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServer:
    """A name server that runs. `port` is that of UDP and TCP on loopback; `folder` has its files and its log."""

    port: int
    folder: Path

    @property
    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.port

    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def bind(folder: Path, *, zone: str, secret: str, more: str = "", policy: str = "") -> Iterator[NameServer]:
    """Run it with the key `otscert`; `more` lines stand in the zone file, `policy` replaces its update-policy."""
    command, port = require_part("named"), free_port()
    folder.mkdir(parents=True)
    text = snippet("named.conf").replace(DOC_ZONE, zone).replace(DOC_SECRET, secret)
    (folder / "zone.db").write_text(zone_file(zone, more))
    if policy:
        text = text.replace("grant otscert zonesub ANY;", policy)
    options = (
        f'options {{ directory "{folder}"; listen-on port {port} {{ {LOOPBACK}; }}; listen-on-v6 {{ none; }};'
        " pid-file none; session-keyfile none; recursion no; notify no; dnssec-validation no; };\n"
        "controls { };\n"
    )
    (folder / "named.conf").write_text(options + text.replace("/var/lib/bind/", f"{folder}/"))
    arguments = ("-g", "-n", "1", "-c", str(folder / "named.conf"))
    with running(command, arguments, log=folder / "log", answers=lambda: serves(port, zone)):
        yield NameServer(port=port, folder=folder)
