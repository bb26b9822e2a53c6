"""From a box's check-in to what the zone answers: the HTTPS record, and the box's own global IPv6 address."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import aiohttp
import dns.message
from hq.tests.service.conftest import SetStage

from otscert.domain.addresses import DEFAULT_POLICY
from tests.harness.box import Box, leaf_sha256, tls_context
from tests.harness.hq import make_model
from tests.harness.scene import Scene

HTTPS = ['1 . alpn="http/1.1"']
OWN, ANOTHERS = "2001:4860::1234", "2001:4860::99"
PRIVATE = "192.168.1.20"


def answered(scene: Scene, box: Box, kind: str) -> list[str]:
    query = dns.message.make_query(box.names[0], kind).to_wire()
    answer = scene.hq.zone.answer(query, size_limit=None)
    assert answer is not None
    return [rdata.to_text() for rrset in dns.message.from_wire(answer).answer for rdata in rrset]


async def issued_sha256(box: Box) -> str:
    reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
    assert reply.message["status"] == "issued", reply.message
    return leaf_sha256(reply.message["chain"])


async def test_the_https_record_stands_while_the_newest_certificate_is_served(stage: SetStage) -> None:
    models = {"box": make_model(addresses=replace(DEFAULT_POLICY, https_record=True))}
    setting = await stage()
    async with setting.hq(models=models) as scene:
        box = scene.box()
        await box.admit()
        first = await issued_sha256(box)
        await box.check_in()
        assert answered(scene, box, "HTTPS") == []
        await box.check_in(served_sha256=first)
        assert answered(scene, box, "HTTPS") == HTTPS

        (await box.renew()).granted()
        second = await issued_sha256(box)
        assert answered(scene, box, "HTTPS") == []  # before the next check-in
        assert answered(scene, box, "A") == [PRIVATE]
        await box.check_in(served_sha256=first)
        assert answered(scene, box, "HTTPS") == []
        await box.check_in(served_sha256=second)
        assert answered(scene, box, "HTTPS") == HTTPS
    async with setting.hq(models=models) as scene:
        assert answered(scene, box, "HTTPS") == HTTPS  # the store remembers it


async def test_a_global_address_is_published_while_the_box_that_called_from_it_claims_it(stage: SetStage) -> None:
    models = {"box": make_model(addresses=replace(DEFAULT_POLICY, own_global=True))}
    setting = await stage()
    async with setting.hq(models=models, trusted_proxies=(ip_network("127.0.0.0/8"),)) as scene:
        connector = aiohttp.TCPConnector(ssl=tls_context(scene.hq))
        async with aiohttp.ClientSession(connector=connector, headers={"X-Forwarded-For": OWN}) as from_own:
            box = scene.box()
            await box.admit()
            await box.check_in(addresses=[PRIVATE, OWN])
            assert answered(scene, box, "AAAA") == []  # it called from elsewhere
            elsewhere, box.session = box.session, from_own
            await box.check_in(addresses=[PRIVATE, OWN, ANOTHERS])
            assert answered(scene, box, "AAAA") == [OWN]
            box.session = elsewhere
            await box.check_in(addresses=[OWN])
            assert answered(scene, box, "AAAA") == [OWN]  # known to be its own, and claimed still
            await box.check_in(addresses=[PRIVATE])
            assert answered(scene, box, "AAAA") == []
            assert answered(scene, box, "A") == [PRIVATE]
            await box.check_in(addresses=[PRIVATE, OWN])
            assert answered(scene, box, "AAAA") == []


async def test_the_address_of_a_trusted_proxy_is_no_boxs_own(stage: SetStage) -> None:
    models = {"box": make_model(addresses=replace(DEFAULT_POLICY, own_global=True))}
    setting = await stage()
    proxies = (ip_network("127.0.0.0/8"), ip_network(f"{OWN}/128"))
    async with setting.hq(models=models, trusted_proxies=proxies) as scene:
        connector = aiohttp.TCPConnector(ssl=tls_context(scene.hq))
        async with aiohttp.ClientSession(connector=connector, headers={"X-Forwarded-For": OWN}) as by_proxy:
            box = scene.box()
            await box.admit()
            box.session = by_proxy
            await box.check_in(addresses=[PRIVATE, OWN])
            assert answered(scene, box, "AAAA") == []
