"""The envelope's rules on HQ's side: whose message is this, is it new, and what is the answer to it?

Everything that docs/protocol.md says about `typ`, `url`, `jwk`, `kid` and `seq` is here; what a message asks for is in
the use case that is handed in. The answer is stored (sealed) in the same transaction as its effects, so the same bytes
always get the same answer, whatever happened in between.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from otscert.domain.seq import SeqVerdict, judge_seq
from otscert.service.context import Hq
from otscert.service.notes import note
from otscert.service.ports import AnswerSigner, Seal, Store
from otscert.service.refusal import Refusal, make_problem
from otscert.store.errors import StoreUnavailable
from otscert.store.keys import DeviceKey
from otscert.store.transaction import Transaction
from otscert_agent.wire import jws, messages
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import PublicKey
from otscert_agent.wire.problems import ProblemType

M = TypeVar("M")
MAX_SEQ = 2**53 - 1  # what every JSON implementation can count to
_ANSWER = "answer"
_TELL_AGAIN_S = 60
_MOST_TOLD = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[M]):
    """A message whose signature was verified. `known` is the key's row, None on first sight."""

    message: M
    key: PublicKey
    thumbprint: str
    known: DeviceKey | None
    seq: int
    digest: bytes
    address: str
    now_s: int
    caller: str = ""
    """The address itself from which it came, where `address` says as whom it is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a use case answers, and what is to be done once it is on disk."""

    message: Any
    after: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes out: an HTTP status and a body, signed unless no answer could be signed."""

    status: int
    body: bytes
    signed: bool = True
    outcome: str = "repeated"
    """What became of the message, in one word, for whoever counts."""


class DoFirst(Exception):
    """A use case needs something slow, which must not happen inside a transaction: `work` does it.

    Raised where everything cheap was checked; what the use case wrote is undone, and after `work` it is run again.
    """

    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        super().__init__("to be done first, outside of the transaction")
        self.work = work


class Conversation:
    """Reads, judges and answers the messages of boxes."""

    def __init__(self, *, hq: Hq, store: Store, signer: AnswerSigner, seal: Seal) -> None:
        self._hq = hq
        self._store = store
        self._signer = signer
        self._seal = seal
        self._told: dict[tuple[str, str], int] = {}

    async def read(
        self, body: bytes, *, path: str, typ: str, kind: type[M] | None, address: str, new_key: bool, caller: str = ""
    ) -> Request[M]:
        """Parse and verify a request; raise `Refused` with the answer to send when it is not acceptable.

        `kind` None means an empty payload; `new_key` says whether this message may introduce its key by `jwk`.
        """
        try:
            envelope = jws.parse(body)
        except WireError as error:
            raise Refused(unsigned(ProblemType.MALFORMED, str(error))) from error
        kid = envelope.header.get("kid")
        thumbprint = kid if isinstance(kid, str) else ""
        try:
            _check_text(envelope.header, what="the protected header")
            key = _introduced_key(envelope.header)
            thumbprint = key.thumbprint() if key is not None else thumbprint
            _check_introduction(envelope.header, allowed=new_key)
            # Before anything is said about the key: a message for another HQ must not be told that this one forgot it.
            seq = _seq(envelope.header, typ=typ, url=self._hq.public_url + path)
            known = await self._store.read(lambda transaction: transaction.keys.get(thumbprint))
            key = key or _remembered_key(known)
            _verify(envelope, key)
            message = _payload(envelope.payload, kind)
        except WireError as error:
            raise Refused(self._problem(ProblemType.MALFORMED, str(error), envelope, thumbprint)) from error
        except _NotVerified as refusal:
            # H does not cover the signature: whoever sees a message could break that alone, to get HQ's signed
            # refusal of the very message that the box did send. So this one binds nobody.
            raise Refused(self._sign(refusal.problem, "", envelope.digest())) from refusal
        except Refusal as refusal:
            raise Refused(self._sign(refusal.problem, thumbprint, envelope.digest())) from refusal
        except StoreUnavailable as error:
            raise Refused(self._unavailable(thumbprint, envelope.digest(), error)) from error
        return Request(
            message=message,
            key=key,
            thumbprint=thumbprint,
            known=known,
            seq=seq,
            digest=envelope.digest(),
            address=address,
            now_s=self._hq.now_s(),
            caller=caller,
        )

    async def act(
        self, request: Request[M], use_case: Callable[[Transaction, Request[M]], Reply], *, repeatable: bool = False
    ) -> Answer:
        """Run a use case for a new message, or give the stored answer to a repeated one.

        A `repeatable` use case is run again for the same bytes and its answer is never stored: that is the hello,
        because the two boxes of a cloned image without entropy send the same bytes, and must not get the same r.
        """
        replies: list[Reply] = []
        said: list[tuple[str, str]] = []

        def work(transaction: Transaction) -> Answer:
            replies.clear()
            said.clear()
            repeated = self._repeated(transaction, request, repeatable=repeatable)
            if repeated is not None:
                return repeated
            # Read again: another message of this key may have been accepted since its signature was verified.
            current = replace(request, known=transaction.keys.get(request.thumbprint))
            try:
                with transaction.undo_on_error():
                    reply = use_case(transaction, current)
            except Refusal as refusal:
                if refusal.event is not None:
                    kind, device_id, data = refusal.event
                    note(transaction, kind, now_s=request.now_s, device_id=device_id, data=data)
                answer = self._sign(refusal.problem, request.thumbprint, request.digest)
                refused = True
                said.append((refusal.problem.type, f"{refusal.problem.title}: {refusal}"))
            else:
                replies.append(reply)
                answer = self._sign(reply.message, request.thumbprint, request.digest)
                refused = isinstance(reply.message, messages.Refused)
                said.extend([(reply.message.TYP, reply.message.reason)] if refused else [])
            # A stranger's refused message leaves nothing behind: rows are not to be had for the asking.
            if current.known is not None or not refused:
                self._record(transaction, request, None if repeatable else answer)
            return answer

        try:
            answer = await self._write(work)
        except StoreUnavailable as error:
            return self.unavailable(request, error)
        for reply in replies:
            if reply.after is not None:
                reply.after()
        self._tell_refusal(request, said)
        return answer

    async def _write(self, work: Callable[[Transaction], Answer]) -> Answer:
        """Run `work` in a transaction, and from its beginning again after whatever it wants to be done first."""
        while True:
            try:
                return await self._store.write(work)
            except DoFirst as first:
                await first.work()

    def _tell_refusal(self, request: Request[M], said: list[tuple[str, str]]) -> None:
        """Log why a box was refused, once a minute for an address and a kind: a stranger must not fill the log.

        Not for each reason: it may hold the stranger's own words, and he has many.
        """
        for kind, reason in said:
            told = (request.address, kind)
            if request.now_s - self._told.get(told, 0) < _TELL_AGAIN_S:
                return
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told[told] = request.now_s
            _log.info("box.refused", extra={"reason": reason, "address": request.address, "box": request.thumbprint})

    async def claim(self, request: Request[M]) -> Answer | None:
        """Accept the `seq` of a question that changes nothing; None means go on. The same bytes may ask again."""

        def work(transaction: Transaction) -> Answer | None:
            repeated = self._repeated(transaction, request, repeatable=True)
            if repeated is None:
                self._record(transaction, request, None)
            return repeated

        try:
            return await self._store.write(work)
        except StoreUnavailable as error:
            return self.unavailable(request, error)

    def unavailable(self, request: Request[M], error: StoreUnavailable) -> Answer:
        """Say that the store cannot be used right now."""
        return self._unavailable(request.thumbprint, request.digest, error)

    def answer(self, request: Request[M], message: Any) -> Answer:
        """Sign an answer that is not stored."""
        return self._sign(message, request.thumbprint, request.digest)

    def _repeated(self, transaction: Transaction, request: Request[M], *, repeatable: bool) -> Answer | None:
        """The answer to a message that is not new; None for one that is to be acted on."""
        known = transaction.keys.get(request.thumbprint)
        if known is None:
            return None
        decision = judge_seq(
            last_seq=known.last_seq, last_digest=known.last_digest, seq=request.seq, digest=request.digest
        )
        if decision.verdict is SeqVerdict.NEW or (repeatable and decision.verdict is SeqVerdict.REPEAT):
            return None
        if decision.verdict is SeqVerdict.REPEAT and known.last_answer is not None:
            stored = self._seal.open(known.last_answer, purpose=_ANSWER)
            return Answer(status=int(stored[:3]), body=stored[3:])
        kind = ProblemType.SEQ_CONFLICT if decision.verdict is SeqVerdict.CONFLICT else ProblemType.STALE_SEQ
        problem = make_problem(kind, decision.reason, last_seq=known.last_seq)
        return self._sign(problem, request.thumbprint, request.digest)

    def _record(self, transaction: Transaction, request: Request[M], answer: Answer | None) -> None:
        stored = None
        if answer is not None:
            stored = self._seal.close(b"%03d" % answer.status + answer.body, purpose=_ANSWER)
        transaction.keys.record(
            request.thumbprint,
            alg=request.key.alg,
            raw=request.key.raw,
            seq=request.seq,
            digest=request.digest,
            answer=stored,
            now_s=request.now_s,
        )

    def _problem(self, kind: ProblemType, detail: str, envelope: jws.Jws, thumbprint: str) -> Answer:
        if not thumbprint:  # nobody that an answer could be bound to
            return unsigned(kind, detail)
        return self._sign(make_problem(kind, detail), thumbprint, envelope.digest())

    def _unavailable(self, thumbprint: str, digest: bytes, error: StoreUnavailable) -> Answer:
        """Refuse for now; why is told to the operator, once a minute, and not to whoever asks."""
        now_s, told = self._hq.now_s(), ("", "store")
        if abs(now_s - self._told.get(told, 0)) >= _TELL_AGAIN_S:
            self._told[told] = now_s
            _log.error("box.store_unavailable", extra={"reason": str(error)})
        detail = "HQ's store cannot be written right now; nothing was changed, the box keeps what it has"
        return self._sign(make_problem(ProblemType.UNAVAILABLE, detail, retry_after_s=30), thumbprint, digest)

    def _sign(self, message: Any, thumbprint: str, digest: bytes) -> Answer:
        body = self._signer.sign(
            messages.to_json(message),
            typ=message.TYP,
            audience=thumbprint,
            request_digest=digest,
            now_s=self._hq.now_s(),
        )
        return Answer(status=_status(message), body=body, outcome=_outcome(message))


class _NotVerified(Refusal):
    """The signature is not that of the key that the message names."""


class Refused(Exception):
    """Not accepted; `answer` is what to send."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def unsigned(kind: ProblemType, detail: str, *, retry_after_s: int | None = None) -> Answer:
    """A plain RFC 9457 problem, for requests that no signed answer can be bound to."""
    problem = make_problem(kind, detail, retry_after_s=retry_after_s)
    return Answer(status=problem.status, body=messages.to_json(problem), signed=False, outcome=_outcome(problem))


def _outcome(message: Any) -> str:
    if isinstance(message, messages.Problem):
        return message.type.rpartition(":")[2]
    if isinstance(message, messages.Pending):
        return "pending"
    return "refused" if isinstance(message, messages.Refused) else "ok"


def _status(message: Any) -> int:
    if isinstance(message, messages.Problem):
        return message.status
    if isinstance(message, messages.Pending):
        return 202
    return 403 if isinstance(message, messages.Refused) else 200


def _introduced_key(header: dict[str, Any]) -> PublicKey | None:
    if ("jwk" in header) == ("kid" in header):
        raise WireError("the protected header must have either jwk or kid")
    if "jwk" not in header:
        if not isinstance(header["kid"], str):
            raise WireError("kid is not a string")
        return None
    return PublicKey.from_jwk(header["jwk"])


def _check_introduction(header: dict[str, Any], *, allowed: bool) -> None:
    if "jwk" in header and not allowed:
        raise WireError("this message must name its key by kid")


def _remembered_key(known: DeviceKey | None) -> PublicKey:
    if known is None:
        raise Refusal(ProblemType.UNKNOWN_KEY, "no message with this key's jwk was ever accepted")
    return PublicKey(known.alg, known.raw)


def _verify(envelope: jws.Jws, key: PublicKey) -> None:
    try:
        envelope.verify(key)
    except WireError as error:
        raise _NotVerified(ProblemType.BAD_SIGNATURE, str(error)) from error


def _seq(header: dict[str, Any], *, typ: str, url: str) -> int:
    if header["typ"] != typ:
        raise WireError(f"typ is {json.dumps(header['typ'])[:80]}, but this endpoint takes {typ}")
    signed_url = header.get("url")
    if signed_url != url:
        # Compared with what HQ is configured to be, never with Host (RFC 8555, section 6.4, has the same rule).
        shown = json.dumps(signed_url)[:200] if isinstance(signed_url, str) else "missing"
        raise WireError(f"url is {shown}, but this is {url}")
    seq = header.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= MAX_SEQ:
        raise WireError("seq is not a number from 1 to 2^53-1")
    return seq


def _payload(payload: bytes, kind: type[M] | None) -> Any:
    if kind is None:
        if payload:
            raise WireError("the payload of this message must be empty")
        return None
    members = jws.json_object(payload, what="the payload")
    _check_text(members, what="the payload")
    return messages.from_object(kind, members)


def _check_text(members: dict[str, Any], *, what: str) -> None:
    """Refuse what no store takes: halves of surrogate pairs (RFC 8259, section 8.2), and NUL (PostgreSQL, 8.3)."""
    try:
        text = json.dumps(members, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise WireError(f"{what} has a text with half of a surrogate pair") from None
    except RecursionError:
        raise WireError(f"{what} is nested too deeply") from None
    if "\\u0000" in text.replace("\\\\", ""):
        raise WireError(f"{what} has a text with a NUL in it")
