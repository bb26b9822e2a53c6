"""Every request to a CA is counted by how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from otscert.ca import IssuerSettings, new_account_key, open_issuer
from otscert.ca.errors import CaError
from otscert.counting import Tally
from tests.scripted_ca import Fate, Script, start_scripted_ca


@pytest.mark.parametrize(
    ("fate", "outcome"),
    [
        (Fate(on="directory", status=503), "5xx"),
        (Fate(on="directory", status=429, type="rateLimited"), "429"),
        (Fate(on="directory", status=403, type="unauthorized"), "4xx"),
        (Fate(on="directory", form="drop", times=2), "unreachable"),  # a GET is sent again by aiohttp
        (Fate(on="directory", form="redirect"), "unusable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_that_fails_is_counted_once(tmp_path: Path, fate: Fate, outcome: str) -> None:
    counts = Tally()
    async with start_scripted_ca(Script(fates=(fate,))) as ca:
        (tmp_path / "root.pem").write_text(ca.trust_pem)
        settings = IssuerSettings(name="ca", directory_url=ca.directory_url, trust_file=tmp_path / "root.pem")
        async with open_issuer(settings, new_account_key(), requests=counts) as issuer:
            with pytest.raises(CaError):
                await issuer.directory()
            assert counts.snapshot() == {("ca", outcome): 1}
            await issuer.directory()
            assert counts.snapshot() == {("ca", outcome): 1, ("ca", "2xx"): 1}
