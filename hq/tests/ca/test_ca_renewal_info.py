"""Asking a CA when to renew: the scripted CA's windows, `replaces` by its rules, and answers that no CA should give."""

from __future__ import annotations

import time

import pytest

from otscert.acme.certificate import Chain
from otscert.acme.fault import Remedy
from otscert.ca import AcmeIssuer, CaError
from tests.scripted_ca import Fate, Script, start_scripted_ca
from tests.scripted_ca.obtain import make_csr, obtain

from .conftest import OpenIssuer

NAMES = ["a.boxes.example", "*.a.boxes.example"]


def ari_id(chain: Chain) -> str:
    assert chain.leaf.ari_id is not None
    return chain.leaf.ari_id


async def issued(issuer: AcmeIssuer) -> Chain:
    return await obtain(issuer, NAMES, make_csr(NAMES))


async def test_the_window_lies_at_two_thirds_of_the_life_and_in_the_past_after_a_revocation(
    issuer_of: OpenIssuer,
) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        chain = await issued(issuer)
        signed = sum(count for name, count in ca.ledger.requests.items() if name not in {"directory", "newNonce"})
        advice = await issuer.renewal_info(ari_id(chain))
        # Nobody has to sign to be told, so no nonce is spent.
        assert ca.ledger.requests["renewalInfo"] == 1
        assert sum(ca.ledger.requests.values()) - signed - ca.ledger.requests["directory"] <= 3
        life_s = chain.leaf.not_after.timestamp() + 1 - chain.leaf.not_before.timestamp()
        middle_s = (advice.info.start_s + advice.info.end_s) / 2
        assert middle_s == pytest.approx(chain.leaf.not_before.timestamp() + life_s * 2 / 3, abs=5)
        assert advice.retry_after_s == 21_600
        await issuer.revoke(chain.ders[0], reason=1)
        assert (await issuer.renewal_info(ari_id(chain))).info.end_s < time.time()


@pytest.mark.parametrize(
    ("header", "retry_after_s"),
    [("60", 60), (None, None), ("tomorrow", None), ("-1", None), ("1000000000000", 7 * 86_400)],
)
async def test_retry_after_of_renewal_info(
    issuer_of: OpenIssuer, header: str | None, retry_after_s: float | None
) -> None:
    async with start_scripted_ca(Script(renewal_retry_after=header)) as ca, issuer_of(ca) as issuer:
        assert (await issuer.renewal_info(ari_id(await issued(issuer)))).retry_after_s == retry_after_s


@pytest.mark.parametrize(
    "fate",
    [
        Fate(on="renewalInfo", status=500),
        Fate(on="renewalInfo", status=503, form="html", retry_after="3"),
        Fate(on="renewalInfo", form="html", status=200),
        Fate(on="renewalInfo", form="cut"),
        Fate(on="renewalInfo", form="drop", times=2),
        Fate(on="renewalInfo", form="oversize"),
        Fate(on="renewalInfo", form="endless"),
        Fate(on="renewalInfo", form="redirect"),
        Fate(on="renewalInfo", form="compressed"),
    ],
    ids=lambda fate: f"{fate.form} {fate.status}",
)
async def test_bad_answers_are_errors_that_pass(issuer_of: OpenIssuer, fate: Fate) -> None:
    async with start_scripted_ca(Script(fates=(fate,))) as ca, issuer_of(ca) as issuer:
        wanted = ari_id(await issued(issuer))
        with pytest.raises(CaError) as caught:  # a connection that is dropped is tried once more by itself
            await issuer.renewal_info(wanted)
        assert caught.value.fault.remedy is Remedy.BACK_OFF
        await issuer.renewal_info(wanted)


async def test_a_window_that_cannot_be_read_and_a_ca_without_renewal_info_are_errors(issuer_of: OpenIssuer) -> None:
    said = {"suggestedWindow": {"start": "2030-01-02T00:00:00Z", "end": "2030-01-01T00:00:00Z"}}
    async with start_scripted_ca(Script(renewal_info=said)) as ca, issuer_of(ca) as issuer:
        wanted = ari_id(await issued(issuer))
        with pytest.raises(CaError, match="no window"):
            await issuer.renewal_info(wanted)
    async with start_scripted_ca(Script(leave_out=("renewalInfo",))) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaError, match="has no renewalInfo"):
            await issuer.renewal_info(wanted)
        # A CA that does not know ARI is not sent what it may not know either.
        await issuer.open_order(NAMES, replaces=wanted)
        assert ca.ledger.entries[-1].replaces is None


async def test_the_ca_is_told_which_certificate_is_replaced_once(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        wanted = ari_id(await issued(issuer))
        await issuer.open_order(NAMES, replaces=wanted)
        assert ca.ledger.entries[-1].replaces == wanted
        for replaces in (wanted, "AAAA.BBBB", wanted + "A"):
            with pytest.raises(CaError) as caught:
                await issuer.open_order(NAMES, replaces=replaces)
            assert caught.value.fault.remedy is Remedy.WITHOUT_REPLACES
        async with issuer_of(ca) as other:  # another account
            with pytest.raises(CaError) as caught:
                await other.open_order(NAMES, replaces=wanted)
            assert caught.value.fault.remedy is Remedy.WITHOUT_REPLACES
