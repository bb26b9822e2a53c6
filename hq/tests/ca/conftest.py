from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from otscert.ca import AcmeIssuer, IssuerSettings, new_account_key, open_issuer
from tests.scripted_ca import ScriptedCa

OpenIssuer = Callable[..., AbstractAsyncContextManager[AcmeIssuer]]


@pytest.fixture
def issuer_of(tmp_path: Path) -> OpenIssuer:
    """Return a function that opens an issuer for a scripted CA, with a fresh account key unless one is given."""

    def connect(ca: ScriptedCa, key: bytes | None = None, **settings: Any) -> AbstractAsyncContextManager[AcmeIssuer]:
        trust = tmp_path / "https-root.pem"
        trust.write_text(ca.trust_pem)
        given = {"name": "scripted", "directory_url": ca.directory_url, "trust_file": trust, **settings}
        return open_issuer(IssuerSettings(**given), key or new_account_key())

    return connect
