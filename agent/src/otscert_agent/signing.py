"""Which of the box's keys signs a message, and which number the message gets.

There are two: the identity, and the key that says hello while there is no identity, which is the unit's factory key
where it has one. Does not know the messages but the one by which a hello key names its successor.
"""

from __future__ import annotations

from otscert_agent.entropy import Mix
from otscert_agent.state import KeyState, Store
from otscert_agent.wire import jws, messages
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.keys import Signer

HELLO, IDENTITY = "hello", "identity"


class Signing:
    """The keys in `store`, and `factory`, whose seed is not there."""

    def __init__(self, store: Store, factory: Factory | None) -> None:
        self._store = store
        self._factory = factory
        self._signed_last = IDENTITY

    def signer(self, which: str) -> Signer:
        self._signed_last = which
        if which == HELLO and self._factory is not None:
            return self._factory.signer()
        key: KeyState | None = getattr(self._store.state, which)
        assert key is not None  # noqa: S101  # the callers name a key that the state has
        return Signer.from_seed(key.seed)

    def raise_seq(self, last_seq: int) -> None:
        """Adopt HQ's memory of how far the numbers of the key that signed last have come."""
        if getattr(self._store.state, self._signed_last) is not None:
            self._store.raise_seq(self._signed_last, last_seq)

    def hello_key(self, mix: Mix) -> KeyState:
        """The key of the next hello: the one that the last hello had, unless it is of the other kind."""
        known = self._store.state.hello
        if known is not None and _is_factory_key(known) == (self._factory is not None):
            return known
        return self._store.fresh_key(b"" if self._factory else mix.hello_seed())

    def hello_key_after_grant(self) -> KeyState | None:
        """A factory key says hello again after a reset, and goes on counting; one that was made for this does not."""
        known = self._store.state.hello
        return known if known is not None and _is_factory_key(known) else None

    def hello_key_of_unknown(self) -> KeyState | None:
        """What a box that HQ has forgotten says hello with: its factory key, or the identity key that it has."""
        state = self._store.state
        return state.identity if state.device_id and self._factory is None else state.hello

    def drop_hello_key(self) -> bool:
        """Have the next hello make another key; False where that cannot be: a factory key stays what it is.

        Nothing depends on the old one before HQ has granted a name.
        """
        if self._factory is not None:
            return False
        self._store.save(hello=None)
        return True

    def binding(self, txid: str, successor: Signer) -> dict[str, str]:
        """The hello key's word that `successor` is the identity of this transaction."""
        hello = self.signer(HELLO)
        header = {"typ": messages.TYP_BINDING, "kid": hello.public.thumbprint()}
        binding = messages.Binding(txid=txid, thumbprint=successor.public.thumbprint())
        envelope: dict[str, str] = jws.json_object(jws.sign(hello, header, messages.to_json(binding)), what="binding")
        return envelope


def _is_factory_key(key: KeyState) -> bool:
    return not key.seed
