"""The ACME transport (RFC 8555 section 6): directory, nonces, signed POST and POST-as-GET, badNonce.

It does not know which account it speaks for (`kid` is given per request) nor any resource but the directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from otscert.acme.directory import Directory
from otscert.acme.fault import Asked, Remedy
from otscert.acme.jws import AccountKey
from otscert.ca.answer import Answer
from otscert.ca.errors import CaAnswerError, CaError, CaUnreachableError, ConnectionLostError
from otscert.ca.http import CaHttp, HttpSettings
from otscert.ca.nonces import NoncePool
from otscert.ca.single_flight import SingleFlight

MAX_NONCE_TRIES = 5
DIRECTORY_MAX_AGE_S = 3600.0  # profiles and terms of service change now and then; nobody needs to restart HQ for it


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AcmeClient:
    """Signed requests to one ACME server with one account key; safe for any number of concurrent callers.

    Whatever fails is a `CaError` with its `Fault`. Nothing is retried but a refused nonce and a dead connection.
    """

    def __init__(
        self,
        directory_url: str,
        key: AccountKey,
        http: HttpSettings | None = None,
        *,
        now: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect lazily: nothing is sent before the first call."""
        self.key = key
        self._directory_url = directory_url
        settings = http or HttpSettings()
        self._http, self._pacing = CaHttp(settings, now), settings.pacing
        self._monotonic = monotonic
        self._nonces = NoncePool(self._new_nonce, monotonic)
        self._directory: Directory | None = None
        self._directory_until_s = 0.0
        self._refresh = SingleFlight(self._fetch_directory)

    async def aclose(self) -> None:
        """Close the connections; callers that still wait get a CaError."""
        await self._nonces.aclose()
        await self._http.aclose()

    async def directory(self) -> Directory:
        """Return the CA's directory, fetched at most once an hour.

        Raises:
            CaError: when it cannot be had or lacks a resource that we cannot do without.
        """
        if self._directory is not None and self._monotonic() < self._directory_until_s:
            return self._directory
        return await self._refresh()

    async def post(self, url: str, payload: object, *, kid: str | None, asked: Asked = Asked.OTHER) -> Answer:
        """Send `payload` as signed JSON to `url` and return the answer, whose status is below 300.

        A `kid` of None puts the public key into the header (newAccount). `asked` tells how a refusal is read.

        Raises:
            CaError: for everything else. A refused nonce was tried again, five times in all, with the nonce of the
                refusal (RFC 8555 section 6.5: "the client SHOULD retry the request with the new nonce").
        """
        nonce = await self._nonces.take()
        for _ in range(MAX_NONCE_TRIES):
            body = self.key.sign(url=url, nonce=nonce, payload=payload, kid=kid)
            answer = await self._deliver(url, body, repeatable=payload is None)
            if answer.status < 300:
                self._nonces.put(answer.nonce)
                return answer
            fault = answer.fault(asked)
            if fault.remedy is not Remedy.RETRY_NOW:
                self._nonces.put(answer.nonce)
                raise CaError(fault)
            nonce = answer.nonce or await self._nonces.take()
        raise CaError(
            replace(fault, remedy=Remedy.BACK_OFF, reason=f"{MAX_NONCE_TRIES} times in a row: {fault.reason}")
        )

    async def get(self, url: str, *, kid: str) -> Answer:
        """Fetch `url` by POST-as-GET (RFC 8555 section 6.3); raises CaError as `post` does."""
        return await self.post(url, None, kid=kid)

    async def get_unsigned(self, url: str) -> Answer:
        """Fetch what anybody may see (RFC 9773 section 4.1); raises CaError unless the status is below 300."""
        answer = await self._http.get(url)
        if answer.status >= 300:
            raise CaError(answer.fault())
        return answer

    async def _deliver(self, url: str, body: bytes, *, repeatable: bool) -> Answer:
        """Send `body`, and the very same bytes once more when the connection turns out to be dead.

        That is safe because a nonce is good once (RFC 8555 section 6.5): had the CA acted on the first copy, it would
        refuse the second. Then, and only then, it is not known what the first one did.
        """
        try:
            return await self._http.post(url, body)
        except ConnectionLostError as lost:
            answer = await self._http.post(url, body)
            if not repeatable and answer.status >= 300 and answer.fault().remedy is Remedy.RETRY_NOW:
                self._nonces.put(answer.nonce)
                raise CaUnreachableError(f"{lost}, and the CA may have acted on the request") from lost
            return answer

    async def _fetch_directory(self) -> Directory:
        answer = await self._http.get(self._directory_url)
        if answer.status >= 300:
            raise CaError(answer.fault())
        directory = Directory.parse(answer.document())
        if isinstance(directory, tuple):
            raise CaAnswerError(f"the directory {self._directory_url} lacks {', '.join(directory)}")
        self._directory, self._directory_until_s = directory, self._monotonic() + DIRECTORY_MAX_AGE_S
        if self._pacing is not None:
            self._pacing.learn(directory.urls() | {"directory": self._directory_url})
        return directory

    async def _new_nonce(self) -> str | None:
        # RFC 8555 section 7.2: HEAD is answered with 200, and a nonce.
        answer = await self._http.head((await self.directory()).new_nonce)
        if answer.status >= 300:
            raise CaError(answer.fault())
        return answer.nonce
