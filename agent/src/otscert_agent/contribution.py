"""HQ's half of the key, taken out of a challenge: in the open, or opened with the factory secret.

Pure. Knows which of the two this box takes; what is made of `r` is `conversation`'s affair.
"""

from __future__ import annotations

from otscert_agent.errors import UntrustedError
from otscert_agent.wire import b64, messages, point
from otscert_agent.wire.factory import Factory


def opened(contribution: messages.Contribution, factory: Factory | None, *, txid: bytes, hello_digest: bytes) -> int:
    """Return `r`; raise `UntrustedError` for the kind that this box does not take, `WireError` for a broken one.

    With a factory secret only a sealed contribution counts, whatever HQ or anybody else says: an open one could have
    been read on its way.
    """
    if factory is None:
        if contribution.open is None:
            raise UntrustedError(
                "HQ sent no open contribution, and this box has no factory secret to open a sealed one"
                " (factory_file, factory_command)"
            )
        return point.parse_scalar(b64.decode(contribution.open, length=point.SCALAR_BYTES, what="r"))
    if contribution.sealed is None or contribution.open is not None:
        raise UntrustedError("HQ's contribution is not sealed to this unit's factory key, and no other is taken")
    ephemeral = b64.decode(contribution.sealed, what="the sealed contribution")
    return factory.open(ephemeral, txid=txid, hello_digest=hello_digest)
