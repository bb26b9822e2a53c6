"""dns-persist-01 with a CA that is not ours: Pebble validates by the record that stands below every box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.message
import pytest

from otscert.ops.pebble import Pebble
from tests.harness.box import open_session
from tests.harness.hq import ISSUER, LOOPBACK, HqOptions, run_hq
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.test_issuers_pebble import as_ca, certificate_of


@pytest.mark.timeout(120)
async def test_pebble_issues_by_the_record_that_stands_below_the_box(
    pebble: Callable[..., Pebble], tmp_path: Path
) -> None:
    port = free_port()
    ca = pebble(dns_server=f"{LOOPBACK}:{port}")
    (tmp_path / "hq").mkdir()
    options = HqOptions(
        folder=tmp_path / "hq", ca=as_ca(ca), issuer_settings={ISSUER: {"dns_persist": True}}, dns_port=port
    )
    async with run_hq(options) as hq, open_session(hq) as session:
        scene = Scene(hq=hq, session=session)
        put: list[str] = []
        put_txt = hq.zone.put_txt

        def note(label: str, value: str) -> None:
            put.append(value)
            put_txt(label, value)

        hq.zone.put_txt = note  # type: ignore[method-assign]
        box = scene.box()
        await box.admit()
        chain = await certificate_of(box)
        assert len(chain.leaf.names) == 2
        assert put == []  # nothing was changed for this order
        ((url,),) = await hq.rows("SELECT url FROM acme_account")
        ((caa,),) = await hq.rows("SELECT value FROM caa_record")
        assert caa == f"pebble.letsencrypt.org; accounturi={url}; validationmethods=dns-01,dns-persist-01"
        name = next(name for name in chain.leaf.names if not name.startswith("*"))
        query = dns.message.make_query(f"_validation-persist.{name}", "TXT")
        answer = hq.zone.answer(query.to_wire(), size_limit=None)
        assert answer is not None
        texts = [b"".join(rdata.strings).decode() for rdata in dns.message.from_wire(answer).answer[0]]
        assert texts == [f"pebble.letsencrypt.org; accounturi={url}; policy=wildcard"]
