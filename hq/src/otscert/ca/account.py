"""Finds or registers the account of a key, changes the key, agrees to terms (RFC 8555 section 7.3).

It does not know where key and URL are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from otscert.acme.account import (
    Account,
    AccountStatus,
    ExternalAccount,
    existing_account_payload,
    new_account_payload,
)
from otscert.acme.fault import Asked, Fault, Remedy
from otscert.acme.jws import AccountKey
from otscert.acme.problem import ACME_URN, Problem
from otscert.ca.answer import Answer
from otscert.ca.client import AcmeClient
from otscert.ca.errors import CaAnswerError, CaError

# RFC 8659 4.2: the octets that a parameter's value may have (`accounturi`, RFC 8657 3); the length leaves room for the
# rest of the record.
_ACCOUNT_URL = re.compile(r"[\x21-\x3a\x3c-\x7e]{1,700}")


async def find(client: AcmeClient) -> Account | None:
    """Return the account of the client's key, None when the CA knows none.

    Raises:
        CaError: when the CA cannot say, or the account is closed (remedy ACCOUNT).
    """
    directory = await client.directory()
    try:
        answer = await client.post(directory.new_account, existing_account_payload(), kid=None, asked=Asked.ACCOUNT)
    except CaError as error:
        if error.fault.problem is not None and error.fault.problem.type == ACME_URN + "accountDoesNotExist":
            return None
        raise
    return _usable(answer)


async def register_or_find(
    client: AcmeClient, *, contact: Sequence[str] = (), eab: ExternalAccount | None = None, terms_agreed: bool
) -> Account:
    """Return the account of the client's key, registered now when the CA knows none.

    `contact` holds URIs ("mailto:..."). Looked up first, so that a restart never spends a registration or an EAB key
    that is good for one use.

    Raises:
        CaError: remedy ACCOUNT when the CA wants an external account or agreement to its terms that is not there.
    """
    known = await find(client)
    if known is not None:
        return known
    directory = await client.directory()
    if directory.meta.external_account_required and eab is None:
        raise _account_error("the CA registers accounts with an external account binding only: set eab_kid and eab_key")
    if directory.meta.terms_of_service and not terms_agreed:
        terms = directory.meta.terms_of_service
        problem = Problem(type=ACME_URN + "userActionRequired", instance=terms)
        raise _account_error(f"the CA's terms of service are not agreed to: {terms}", problem)
    binding = None if eab is None else eab.binding(client.key.jwk, directory.new_account)
    payload = new_account_payload(contact=contact, terms_agreed=terms_agreed, binding=binding)
    return _usable(await client.post(directory.new_account, payload, kid=None, asked=Asked.ACCOUNT))


async def change_key(client: AcmeClient, account_url: str, new: AccountKey) -> None:
    """Have the CA know the account under `new` from now on (RFC 8555 section 7.3.5); `client` signs with the old key.

    Asked again with the same key after a lost answer it fails, because the old key is nobody's any more: `find` tells.

    Raises:
        CaError: when the CA does not change it (remedy PERMANENT where it cannot), or it is not known whether it has.
    """
    directory = await client.directory()
    if directory.key_change is None:
        raise CaError(Fault(remedy=Remedy.PERMANENT, reason="the CA has no keyChange"))
    inner = new.key_change(url=directory.key_change, account_url=account_url, old_jwk=client.key.jwk)
    await client.post(directory.key_change, inner, kid=account_url, asked=Asked.ACCOUNT)


async def agree_to_terms(client: AcmeClient, account_url: str) -> None:
    """Say that a person has agreed to the CA's terms as they are now; raises CaError.

    RFC 8555 section 7.3.3 leaves to the CA how it learns that; a "server SHOULD ignore any updates to ... the
    'termsOfServiceAgreed' field" (7.3.2), and Pebble calls one with nothing else in it malformed: that is no error.
    """
    try:
        await client.post(account_url, {"termsOfServiceAgreed": True}, kid=account_url, asked=Asked.ACCOUNT)
    except CaError as error:
        if error.fault.problem is None or error.fault.problem.name != "malformed":
            raise


def lost(account_url: str) -> CaError:
    """The error for an account that the CA does not know (any more): never a reason to register another one."""
    reason = f"the CA does not know the account {account_url} under this key any more"
    return _account_error(reason, Problem(type=ACME_URN + "accountDoesNotExist"))


def _usable(answer: Answer) -> Account:
    document = answer.document()
    # RFC 8555 section 7.3: "The server returns ... the account URL in the Location header field".
    if not answer.location:
        raise CaAnswerError("newAccount answered without the account's URL", answer.retry_after_s)
    if not _ACCOUNT_URL.fullmatch(answer.location):
        raise CaAnswerError("newAccount answered with a URL that no CAA record can name", answer.retry_after_s)
    account = Account.parse(answer.location, document)
    if account.status in {AccountStatus.DEACTIVATED, AccountStatus.REVOKED}:
        raise _account_error(f"the account {account.url} is {account.status.value}")
    return account


def _account_error(reason: str, problem: Problem | None = None) -> CaError:
    link = problem.instance if problem is not None else None
    return CaError(Fault(remedy=Remedy.ACCOUNT, reason=reason, problem=problem, link=link))
