"""Knot on loopback: primary of one zone that takes updates, configured by what docs/own-dns.md has for makers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.name_servers.bind import NameServer
from tests.harness.name_servers.running import running, serves
from tests.harness.name_servers.snippets import DOC_SECRET, DOC_ZONE, snippet, zone_file
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK, free_port


@contextmanager
def knot_primary(folder: Path, *, zone: str, secret: str, acl: str = "update") -> Iterator[NameServer]:
    """Run it with the key `otscert`, which may do what `acl` says."""
    command, port = require_part("knotd"), free_port()
    folder.mkdir(parents=True)
    (folder / "zone.db").write_text(zone_file(zone))
    text = snippet("knot.conf").replace(DOC_ZONE, zone).replace(DOC_SECRET, secret)
    text = text.replace("/var/lib/knot/", f"{folder}/").replace("action: update", f"action: {acl}")
    text += (
        f'server:\n    listen: {LOOPBACK}@{port}\n    rundir: "{folder}"\n    tcp-workers: 1\n'
        f'database:\n    storage: "{folder}"\nlog:\n  - target: stdout\n    any: info\n'
    )
    (folder / "knot.conf").write_text(text)
    arguments = ("-c", str(folder / "knot.conf"))
    with running(command, arguments, log=folder / "log", answers=lambda: serves(port, zone)):
        yield NameServer(port=port, folder=folder)
