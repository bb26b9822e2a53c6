"""The transport against a CA that misbehaves: nothing but CaError comes out, bounded in time and size."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from otscert.acme.fault import Remedy
from otscert.ca import CaError, IssuerSettings, new_account_key, open_issuer
from otscert.ca.errors import CaAnswerError, CaUnreachableError
from tests.scripted_ca import Fate, Script, start_scripted_ca
from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.obtain import make_csr, obtain

from .conftest import OpenIssuer

NAMES = ["a.boxes.example", "*.a.boxes.example"]


async def test_a_refused_nonce_costs_one_more_request_with_the_nonce_of_the_refusal(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(reject_nonce_every=2)) as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(["a.boxes.example"])
        for _ in range(20):
            await issuer.order(order.url)
        assert ca.ledger.requests["newNonce"] == 1
        assert ca.ledger.requests["order"] == 40


async def test_a_nonce_storm_loses_and_doubles_nothing(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(reject_nonce_every=10)) as ca, issuer_of(ca) as issuer:
        await asyncio.gather(*(obtain(issuer, [f"b{n}.example"], make_csr([f"b{n}.example"])) for n in range(30)))
        assert len(ca.ledger.of("issued")) == len(ca.ledger.of("newOrder")) == 30


async def test_a_ca_that_refuses_every_nonce_is_left_alone_after_five(issuer_of: OpenIssuer) -> None:
    storm = Fate(on="newOrder", type="badNonce", status=400, times=None)
    async with start_scripted_ca(Script(fates=(storm,))) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaError, match="5 times in a row: badNonce") as caught:
            await issuer.open_order(NAMES)
        assert caught.value.fault.remedy is Remedy.BACK_OFF
        assert ca.ledger.requests["newOrder"] == 5


@pytest.mark.parametrize("status", [200, 403, 404, 502, 503])
@pytest.mark.parametrize("on", ["directory", "newAccount", "newOrder"])
async def test_html_means_come_back_later(issuer_of: OpenIssuer, status: int, on: str) -> None:
    page = Fate(on=on, form="html", status=status, retry_after="17")  # type: ignore[arg-type]  # one of the literals
    async with start_scripted_ca(Script(fates=(page,))) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaError) as caught:
            await issuer.open_order(NAMES)
        assert caught.value.fault.remedy is Remedy.BACK_OFF
        assert caught.value.fault.retry_after_s == 17.0
        assert (await issuer.open_order(NAMES)).authorizations, "and the next request works again"


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("oversize", "larger than 1048576 bytes"),
        ("endless", "larger than 1048576 bytes"),
        ("compressed", "compressed"),
        ("redirect", "redirects /order/0"),
    ],
)
async def test_answers_that_no_acme_server_gives_are_refused(issuer_of: OpenIssuer, form: str, reason: str) -> None:
    fate = Fate(on="order", form=form)  # type: ignore[arg-type]  # one of the literals
    async with start_scripted_ca(Script(fates=(fate,))) as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        seen = ca.ledger.requests["directory"]
        with pytest.raises(CaAnswerError, match=reason) as caught:
            await issuer.order(order.url)
        assert caught.value.fault.remedy is Remedy.BACK_OFF
        assert ca.ledger.requests["directory"] == seen, "a redirect is not followed"
        assert (await issuer.order(order.url)).order.url == order.url


async def test_an_answer_cut_off_in_its_middle_is_no_answer(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(fates=(Fate(on="order", form="cut"),))) as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        with pytest.raises(CaUnreachableError, match="ClientPayloadError"):
            await issuer.order(order.url)


async def test_a_request_on_a_dead_connection_is_sent_again_unseen_by_the_caller(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(fates=(Fate(on="newOrder", form="drop"),))) as ca, issuer_of(ca) as issuer:
        assert (await issuer.open_order(NAMES)).url
        assert ca.ledger.requests["newOrder"] == 2
        assert len(ca.ledger.of("newOrder")) == 1


@pytest.mark.parametrize("reuse", [True, False])
async def test_an_order_whose_answer_was_lost_is_never_opened_twice_behind_the_callers_back(
    issuer_of: OpenIssuer, *, reuse: bool
) -> None:
    lost = Fate(on="newOrder", form="drop", acts=True)
    script = Script(fates=(lost,), reuse_orders=reuse, list_orders=not reuse)
    async with start_scripted_ca(script) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaUnreachableError, match="may have acted"):
            await issuer.open_order(NAMES)
        assert len(ca.ledger.of("newOrder")) == 1
        found = await issuer.find_order(NAMES)
        if reuse:
            assert found is None, "as at Let's Encrypt, which keeps no list"
            found = await issuer.open_order(NAMES)
        assert found is not None
        assert found.url == ca.ledger.of("newOrder")[0].order
        assert len(ca.ledger.of("newOrder")) == 1


async def test_a_lost_answer_to_a_look_is_looked_at_again(issuer_of: OpenIssuer) -> None:
    lost = Fate(on="order", form="drop", acts=True)
    async with start_scripted_ca(Script(fates=(lost,))) as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        assert (await issuer.order(order.url)).order.url == order.url


async def test_a_ca_that_is_too_slow_is_given_up_in_time(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca, request_timeout_s=0.2) as issuer:
        order = await issuer.open_order(NAMES)
        ca.follow(replace(ca.state.script, answer_delay_s=30.0))
        async with asyncio.timeout(5):
            with pytest.raises(CaUnreachableError, match="within the time limit"):
                await issuer.order(order.url)


async def test_urls_that_are_not_https_are_refused(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(http_urls=True)) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaAnswerError, match="is not an absolute https URL"):
            await issuer.open_order(NAMES)


@pytest.mark.parametrize(
    "url",
    ["http://localhost/directory", "localhost/directory", "", "https://", "https://u:p@localhost/dir", "file:///etc"],
)
async def test_a_directory_url_that_is_not_https_is_refused(url: str) -> None:
    async with open_issuer(IssuerSettings(name="x", directory_url=url), new_account_key()) as issuer:
        with pytest.raises(CaAnswerError, match="is not an absolute https URL"):
            await issuer.directory()


async def test_a_directory_that_lacks_new_order_is_named(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(leave_out=("newOrder",))) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaAnswerError, match="lacks newOrder"):
            await issuer.open_order(NAMES)


async def test_a_directory_is_fetched_once_by_many_at_once(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        await asyncio.gather(*(issuer.directory() for _ in range(20)))
        assert ca.ledger.requests["directory"] == 1


async def test_a_ca_under_another_root_is_not_talked_to(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca, trust_file=None) as issuer:
        with pytest.raises(CaUnreachableError, match="certificate verify failed"):
            await issuer.directory()
        assert ca.ledger.requests["directory"] == 0


async def test_a_ca_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"https://127.0.0.1:{closed.getsockname()[1]}/directory"
        async with open_issuer(IssuerSettings(name="x", directory_url=url), new_account_key()) as issuer:
            with pytest.raises(CaUnreachableError, match=r"^127\.0\.0\.1: "):
                await issuer.directory()


async def test_a_trust_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, tmp_path / "absent.pem"):
        settings = IssuerSettings(name="x", directory_url="https://localhost/", trust_file=path)
        async with open_issuer(settings, new_account_key()) as issuer:
            with pytest.raises(CaUnreachableError, match=path.name):
                await issuer.directory()


async def test_the_user_agent_names_product_and_contact(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca, contact_url="https://maker.example/contact") as issuer:
        agents: list[str] = []
        handle = ca.handle

        def listen(request: Request) -> Response:
            agents.append(request.headers["user-agent"])
            return handle(request)

        ca.handle = listen  # type: ignore[method-assign]  # listens at a real server, replaces nothing
        await issuer.directory()
    assert agents == [f"OTS-Cert/{version('otscert')} (+https://maker.example/contact)"]


async def test_cancelled_requests_leave_no_connection_open_after_closing(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca:
        async with issuer_of(ca) as issuer:
            order = await issuer.open_order(NAMES)
            ca.follow(replace(ca.state.script, answer_delay_s=30.0))
            waiting = [asyncio.create_task(issuer.order(order.url)) for _ in range(5)]
            await asyncio.sleep(0.05)
            for task in waiting:
                task.cancel()
        assert {each.fileno() for each in issuer._client._http._sockets} <= {-1}
        with pytest.raises(CaUnreachableError, match="was closed"):
            await issuer.order(order.url)


async def test_many_who_wait_for_a_dead_ca_give_up_together(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(answer_delay_s=30.0)) as ca, issuer_of(ca, request_timeout_s=0.3) as issuer:
        async with asyncio.timeout(2):  # one after the other they would take 6 s
            results = await asyncio.gather(*(issuer.open_order(NAMES) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(result, CaUnreachableError) for result in results)
        ca.follow(Script())
        assert (await issuer.open_order(NAMES)).url, "and the failure is not remembered"


async def test_a_caller_that_gives_up_does_not_stop_the_others(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(answer_delay_s=0.1)) as ca, issuer_of(ca) as issuer:
        first = asyncio.create_task(issuer.directory())
        second = asyncio.create_task(issuer.directory())
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await second).new_order
        assert first.cancelled()
        assert ca.ledger.requests["directory"] == 1
