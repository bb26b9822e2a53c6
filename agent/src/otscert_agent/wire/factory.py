"""The factory secret of one unit: 32 random bytes, and everything that box and HQ derive from them.

Knows the derivations, the secret's text and its public half (docs/protocol.md, "Factory secret"). Does not know where
the secret is kept, nor when a boot counter moves. Nothing here prints a secret but `text`, which is asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from otscert_agent.wire import b64, kdf, sealed
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import ED25519, PublicKey, Signer

BENCH = "factory-bench"
"""The hardware fingerprint of a hello that the maker's line says for a unit: HQ answers it, and never enrols it."""
SECRET_BYTES = 32
TXID_BYTES = 16
DIGEST_BYTES = 32

_P = 2**255 - 19
_ED25519_D = -121665 * pow(121666, -1, _P) % _P
# u coordinates of the points whose order divides 8, on the curve and its twist: any exchange with them gives zero.
_X25519_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)


@dataclass(frozen=True)
class FactoryPublic:
    """What HQ knows of a unit: the key of its hellos and the key that contributions are sealed to."""

    sign: PublicKey
    seal: bytes

    def thumbprint(self) -> str:
        """RFC 7638 thumbprint of the sign key: the unit's name at HQ."""
        return self.sign.thumbprint()


class Factory:
    """The secret of one unit. It is equal for two objects of one unit, and shows nothing when it is printed."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise WireError(f"a factory secret is {SECRET_BYTES} bytes long, not {len(secret)}")
        # A partition that was erased but never written reads as one byte repeated (0x00 or 0xff): not a secret.
        if len(set(secret)) == 1:
            raise WireError("the factory secret is one byte repeated: it was never written")
        self._secret = secret
        self._seal = X25519PrivateKey.from_private_bytes(self._derive(kdf.FACTORY_SEAL))

    @classmethod
    def from_bytes(cls, secret: bytes) -> Factory:
        """The unit whose secret this is; raise `WireError` when it cannot be one."""
        return cls(secret)

    @classmethod
    def from_text(cls, text: str) -> Factory:
        """Read the one line of a secret file (43 characters of base64url); raise `WireError`, without the text."""
        return cls(b64.decode(text.strip(), length=SECRET_BYTES, what="the factory secret"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Factory) and other._secret == self._secret

    def __hash__(self) -> int:
        return hash(self.seal_public)

    def __repr__(self) -> str:
        return f"Factory({self.public.thumbprint()})"

    def text(self) -> str:
        """The secret itself, as the line of a secret file. Never log it."""
        return b64.encode(self._secret)

    def signer(self) -> Signer:
        """The key that signs this unit's hellos and bindings (Ed25519)."""
        return Signer.from_seed(self._derive(kdf.FACTORY_SIGN))

    @property
    def seal_public(self) -> bytes:
        """The X25519 key that HQ seals its contribution to."""
        return sealed.public_bytes(self._seal)

    @property
    def public(self) -> FactoryPublic:
        return FactoryPublic(sign=self.signer().public, seal=self.seal_public)

    def open(self, ephemeral: bytes, *, txid: bytes, hello_digest: bytes) -> int:
        """HQ's sealed contribution `r`, from the challenge's X25519 key and H(hello); raise `WireError`."""
        return sealed.opened(
            self._seal,
            ephemeral,
            txid=_exactly(txid, TXID_BYTES, what="txid"),
            hello_digest=_exactly(hello_digest, DIGEST_BYTES, what="H(hello)"),
        )

    def credit_seed(self, boot: int) -> bytes:
        """32 bytes to credit to the kernel at start number `boot`. Store the counter before you use them."""
        return self._derive(kdf.FACTORY_SEED, _counter(boot))

    def mix(self, attempt: int) -> bytes:
        """This unit's source in the mix of one attempt."""
        return self._derive(kdf.FACTORY_MIX, _counter(attempt))

    def _derive(self, *parts: bytes) -> bytes:
        return kdf.hkdf(self._secret, b"\x00".join((kdf.FACTORY, *parts)))


def check_sign_key(raw: bytes) -> PublicKey:
    """Read a unit's public sign key; raise `WireError` unless it is a point of Ed25519 that may be a key."""
    key = PublicKey.from_raw(ED25519, raw)
    # RFC 8032, section 5.1.3: x^2 = (y^2-1) / (d*y^2+1) has to be a square; u/v is one exactly when u*v is.
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if pow((y * y - 1) * (_ED25519_D * y * y + 1), (_P - 1) // 2, _P) != 1:
        raise WireError("the sign key is not a point of Ed25519")
    return key


def check_seal_key(raw: bytes) -> bytes:
    """Return `raw` when contributions can be sealed to it; raise `WireError` for a point of small order (RFC 7748)."""
    u = int.from_bytes(_exactly(raw, sealed.KEY_BYTES, what="the seal key"), "little")
    if u >= _P:
        raise WireError("the seal key is not in canonical form")
    if u in _X25519_SMALL_ORDER:
        raise WireError("the seal key is a point of small order")
    return raw


def _exactly(data: bytes, length: int, *, what: str) -> bytes:
    if len(data) != length:
        raise WireError(f"{what} is {len(data)} bytes long, not {length}")
    return data


def _counter(value: int) -> bytes:
    if value < 0:
        raise WireError("a counter is not negative")
    return b"%d" % value
