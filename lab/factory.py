"""A factory for the laboratory: stamps units as the line does, and enters their manifest into HQ.

What is stamped is what a factory partition would hold. Does not know how a box uses it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

from lab.headquarters import STAMPED_MODEL, Headquarters
from otscert.factory.importing import Importing, units_of
from otscert.factory.reading import Manifest, read_manifest
from otscert.factory.stamping import MANIFEST_FILE, Batch, stamp
from otscert.factory.unit_folder import SECRET_FILE, UNITS_FOLDER, Form
from otscert_agent.wire.keys import Signer


async def stamped_units(folder: Path, hq: Headquarters, serials: list[str]) -> list[bytes]:
    """Stamp a unit for each serial number, and tell HQ of them; return the files with their secrets."""
    manifest = await asyncio.to_thread(_stamp, folder / "batch", serials)
    importing = Importing(manifest=manifest, units=units_of(manifest))
    await hq.running.store.write(lambda transaction: importing(transaction, now_s=int(time.time())))
    return [(folder / "batch" / UNITS_FOLDER / serial / SECRET_FILE).read_bytes() for serial in serials]


def _stamp(out: Path, serials: list[str]) -> Manifest:
    signer = Signer.from_seed(secrets.token_bytes(32))
    batch = Batch(
        model=STAMPED_MODEL,
        name="laboratory",
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        count=len(serials),
        serials=serials,
        label_url="https://hq.example.com",
        form=Form.FILES,
        hold=False,
    )
    stamp(batch, out, signer)
    return read_manifest(out / MANIFEST_FILE, [signer.public])
