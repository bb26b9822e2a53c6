"""What an enrolment has to be before anything is done for it: each check returns quietly or raises `Refusal`."""

from __future__ import annotations

from collections.abc import Sequence

from otscert.domain.admission import Model
from otscert.domain.key_index import KeyIndex
from otscert.service.conversation import Request
from otscert.service.publish import SortedAddresses, sort_addresses
from otscert.service.refusal import Refusal
from otscert.store.hellos import HelloRow
from otscert.store.transaction import Transaction
from otscert_agent.wire import jws
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import BENCH
from otscert_agent.wire.keys import PublicKey
from otscert_agent.wire.messages import TYP_BINDING, Binding, Enroll, from_object
from otscert_agent.wire.problems import ProblemType


def addresses_of_a_new_box(model: Model, texts: Sequence[str], *, caller: str) -> SortedAddresses:
    """Raise `Refusal` when a new box sent addresses and none can be published: its owner would find nothing."""
    addresses = sort_addresses(model, texts, caller=caller)
    if texts and not addresses.allowed:
        reasons = "; ".join(addresses.refused.values())  # each of them names its address
        raise Refusal(ProblemType.BAD_ADDRESS, f"{reasons}. Send the box's private LAN addresses")
    return addresses


def open_transaction(transaction: Transaction, request: Request[Enroll]) -> HelloRow:
    """The hello that this enrolment answers to, still open and not another key's."""
    row = transaction.hellos.get(request.message.txid)
    if row is None or row.expires_at_s < request.now_s:
        raise Refusal(ProblemType.UNKNOWN_TXID, "HQ has no open transaction with this txid; say hello again")
    if row.fingerprint == BENCH:
        raise Refusal(ProblemType.UNKNOWN_TXID, "that hello was a test on the maker's line; the box says its own")
    if row.identity is not None and row.identity != request.thumbprint:
        raise Refusal(ProblemType.TXID_CONFLICT, "this transaction was enrolled by another key")
    return row


def check_binding(transaction: Transaction, request: Request[Enroll], row: HelloRow) -> None:
    """The hello key must have named this identity key as its successor, in this transaction."""
    hello_key = transaction.keys.get(row.thumbprint)
    if hello_key is None:
        raise Refusal(ProblemType.UNKNOWN_TXID, "HQ has forgotten the hello of this transaction; say hello again")
    if request.thumbprint == row.thumbprint:
        raise Refusal(
            ProblemType.BAD_SIGNATURE,
            "the hello key signs hello only: derive the identity key from HQ's contribution, enroll with that one",
        )
    if transaction.units.by_thumbprint(request.thumbprint) is not None:
        raise Refusal(ProblemType.BAD_SIGNATURE, "this is a unit's factory key, which signs hello and binding only")
    if request.known is not None and request.known.device_id is not None and row.identity is None:
        raise Refusal(ProblemType.BAD_CONTRIBUTION, "this identity key belongs to a device already")
    try:
        binding = jws.from_object(dict(request.message.binding or {}))
        binding.verify(PublicKey(hello_key.alg, hello_key.raw))
        bound = from_object(Binding, jws.json_object(binding.payload, what="the binding"))
    except WireError as error:
        raise Refusal(ProblemType.BAD_SIGNATURE, f"the binding of the identity key: {error}") from error
    if binding.header["typ"] != TYP_BINDING or bound != Binding(txid=row.txid, thumbprint=request.thumbprint):
        raise Refusal(ProblemType.BAD_SIGNATURE, "the binding names another transaction or another key")


def refuse_known_key(transaction: Transaction, index: KeyIndex, row: HelloRow) -> None:
    """No key may come twice, whoever shows it."""
    holder = transaction.verified_keys.holder(index)
    if holder is not None and transaction.verified_keys.compromised(index):
        raise Refusal(
            ProblemType.BAD_CONTRIBUTION,
            "this key was reported as compromised: it is never accepted again; make a new one",
            event=("key.duplicate", holder, {"model": row.model, "fingerprint": row.fingerprint, "label": row.label}),
        )
    if holder is not None:
        raise Refusal(
            ProblemType.BAD_CONTRIBUTION,
            "this key was used before; make a new one. If the firmware did not repeat it, the box's randomness did",
            event=("key.duplicate", holder, {"model": row.model, "fingerprint": row.fingerprint, "label": row.label}),
        )
