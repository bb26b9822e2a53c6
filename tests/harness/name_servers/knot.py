"""Knot on loopback: secondary of one zone, configured by what examples/knot-secondary has for makers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.name_servers.running import running
from tests.harness.name_servers.snippets import DOC_SECRET, DOC_ZONE
from tests.harness.parts import require_part
from tests.harness.ports import LOOPBACK

EXAMPLE = Path(__file__).parents[3] / "examples" / "knot-secondary" / "knot.conf"


@contextmanager
def knot_secondary(folder: Path, *, zone: str, port: int, primary_port: int, secret: str) -> Iterator[Path]:
    """Run it with the key `otscert` until the block ends; yields its log. It need not have the zone yet."""
    command = require_part("knotd")
    folder.mkdir(parents=True, exist_ok=True)
    text = EXAMPLE.read_text().replace(DOC_ZONE, zone).replace(DOC_SECRET, secret)
    text = re.sub(r"listen: .*", f'listen: {LOOPBACK}@{port}\n    rundir: "{folder}"\n    tcp-workers: 1', text)
    text = text.replace("192.0.2.1@53", f"{LOOPBACK}@{primary_port}").replace("192.0.2.1", LOOPBACK)
    text += f'    storage: "{folder}"\n    retry-min-interval: 1\n    retry-max-interval: 1\n'
    text += f'database:\n    storage: "{folder}"\nlog:\n  - target: stdout\n    any: info\n'
    (folder / "knot.conf").write_text(text)
    log = folder / "log"
    arguments = ("-c", str(folder / "knot.conf"))
    with running(command, arguments, log=log, answers=lambda: "server started" in log.read_text()):
        yield log
