"""Routes of protocol v1. Translates between HTTP and the use cases; decides nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from otscert.api.http import (
    BODY_S,
    BodyTooLarge,
    BodyTooSlow,
    ClientDisconnect,
    Network,
    client_address,
    own_address,
    read_body,
)
from otscert.counting import Tally
from otscert.service.conversation import Answer, Conversation, Refused, Reply, Request, unsigned
from otscert.service.polling import OrderPolling
from otscert.store.transaction import Transaction
from otscert_agent.wire import jws
from otscert_agent.wire.messages import (
    PATH_CHECKIN,
    PATH_ENROLL,
    PATH_HELLO,
    PATH_ORDERS,
    TYP_ORDER,
    CheckIn,
    Enroll,
    Hello,
)
from otscert_agent.wire.problems import ProblemType

_log = logging.getLogger(__name__)
_ORDER_PATH = re.compile(re.escape(PATH_ORDERS) + "[^/]+")
_WORDS = {PATH_HELLO: "hello", PATH_ENROLL: "enroll", PATH_CHECKIN: "checkin"}
_ORDER, _OTHER = "order", "other"
UseCase = Callable[[Transaction, Request[Any]], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceApi:
    """The face as an ASGI application (`app()`)."""

    conversation: Conversation
    hello: UseCase
    enroll: UseCase
    checkin: UseCase
    orders: OrderPolling
    trusted_proxies: Sequence[Network]
    body_s: float = BODY_S
    """How long a message may take to arrive."""
    counts: Tally = field(default_factory=Tally)
    """What came, and what became of it."""

    def app(self) -> ASGIApp:
        """The application. Four paths need no router: its layers cost more than a signature."""
        messages = {
            PATH_HELLO: self._message(PATH_HELLO, Hello, self.hello, new_key=True, repeatable=True),
            PATH_ENROLL: self._message(PATH_ENROLL, Enroll, self.enroll, new_key=True),
            PATH_CHECKIN: self._message(PATH_CHECKIN, CheckIn, self.checkin, new_key=False),
        }

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"]
            answer = self._order if _ORDER_PATH.fullmatch(path) else messages.get(path)
            if answer is None or scope["method"] != "POST":
                given, close = _no_such_page(), False
            else:
                given, close = await _answer(HttpRequest(scope, receive), answer, within_s=self.body_s)
            self.counts.count(_WORDS.get(path, _ORDER if answer else _OTHER), given.outcome)
            response = _response(given, close=close)
            await response(scope, receive, send)

        return application

    def _message(
        self, path: str, kind: Any, use_case: UseCase, *, new_key: bool, repeatable: bool = False
    ) -> Callable[[HttpRequest, bytes], Awaitable[Answer]]:
        async def answer(request: HttpRequest, body: bytes) -> Answer:
            read = await self.conversation.read(
                body,
                path=path,
                typ=kind.TYP,
                kind=kind,
                address=client_address(request, self.trusted_proxies),
                new_key=new_key,
                caller=own_address(request, self.trusted_proxies),
            )
            return await self.conversation.act(read, use_case, repeatable=repeatable)

        return answer

    async def _order(self, request: HttpRequest, body: bytes) -> Answer:
        order_id = str(request.scope["path"]).removeprefix(PATH_ORDERS)
        read: Request[None] = await self.conversation.read(
            body,
            path=PATH_ORDERS + order_id,
            typ=TYP_ORDER,
            kind=None,
            address=client_address(request, self.trusted_proxies),
            new_key=False,
        )
        return await self.orders(read, order_id)


async def _answer(
    request: HttpRequest, answer: Callable[[HttpRequest, bytes], Awaitable[Answer]], *, within_s: float
) -> tuple[Answer, bool]:
    """What to answer, and whether the connection is closed after it."""
    try:
        body = await read_body(request, limit_bytes=jws.MAX_BYTES, within_s=within_s)
        return await answer(request, body), False
    except Refused as refused:
        return refused.answer, False
    except BodyTooLarge:
        return unsigned(ProblemType.MALFORMED, f"the message is longer than {jws.MAX_BYTES} bytes"), True
    except (BodyTooSlow, ClientDisconnect):
        return unsigned(ProblemType.MALFORMED, "the message did not arrive in time"), True
    except Exception:  # noqa: BLE001
        _log.exception("device.crashed", extra={"path": request.url.path})
        detail = "HQ itself failed on this message; its log has the details"
        return unsigned(ProblemType.UNAVAILABLE, detail, retry_after_s=60), False


def _response(answer: Answer, *, close: bool) -> Response:
    headers = {"Cache-Control": "no-store"}
    if close:
        headers["Connection"] = "close"
    media_type = jws.CONTENT_TYPE if answer.signed else "application/problem+json"
    return Response(answer.body, status_code=answer.status, media_type=media_type, headers=headers)


def _no_such_page() -> Answer:
    return unsigned(ProblemType.NOT_FOUND, "this is HQ's device API; see docs/protocol.md for its paths")
