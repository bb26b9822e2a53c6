"""Vectors of base64url, of the derivations, and of the generation extension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otscert_agent.wire import b64, kdf, pki, point
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import Signer
from tests.protocol_vectors import fixed


def rule(attempt: Callable[..., object], *arguments: Any) -> str:
    """The rule that the call breaks, in this implementation's words. Breaking none is a mistake in this program."""
    try:
        attempt(*arguments)
    except (WireError, ValueError) as error:
        return str(error)
    raise AssertionError("nothing was refused")


def base64url() -> dict[str, Any]:
    refused = ["AA==", "AA=", "A", "AB", "AAB", "A A", "AA\n", "+/8", "AA.A", "ÄA"]
    return {
        "valid": [{"text": b64.encode(data), "hex": data.hex()} for data in _octet_strings()],
        "invalid": [{"text": text, "rule": rule(b64.decode, text)} for text in refused],
    }


def _octet_strings() -> list[bytes]:
    return [b"", b"\x00", b"\xff", b"\x00\x00", b"\xfb\xff", b"\x00\x01\x02", b"\xff\xff\xfe\xfd", bytes(range(32))]


def derivations() -> dict[str, Any]:
    ikm = fixed.octets("input keying material", 32)
    id_seed, r, txid = fixed.octets("id_seed", 32), point.encode_scalar(fixed.scalar("r")), fixed.octets("txid", 16)
    identity = kdf.identity_seed(id_seed, r, txid)
    thumbprint = Signer.from_seed(identity).public.thumbprint()
    token = b"tok-an-example-claim-token"
    return {
        "hkdf": [
            {
                "ikm_hex": ikm.hex(),
                "info_hex": info.hex(),
                "length": length,
                "prk_hex": kdf.hkdf_extract(b"", ikm).hex(),
                "okm_hex": kdf.hkdf(ikm, info, length).hex(),
            }
            for info, length in ((kdf.IDENTITY, 32), (b"", 64), (kdf.D0, 48), (b"x" * 80, 33))
        ],
        "identity": {
            "id_seed_hex": id_seed.hex(),
            "r_hex": r.hex(),
            "txid_hex": txid.hex(),
            "info_hex": (kdf.IDENTITY + txid).hex(),
            "ed25519_seed_hex": identity.hex(),
            "thumbprint": thumbprint,
        },
        "token_proof": {
            "token": token.decode(),
            "txid_hex": txid.hex(),
            "thumbprint": thumbprint,
            "message_hex": (kdf.TOKEN + txid + thumbprint.encode()).hex(),
            "proof": b64.encode(kdf.token_proof(token, txid, thumbprint)),
        },
    }


def generations() -> dict[str, Any]:
    refused = ["", "0201", "020100ff", "02020001", "0201ff", "030101", "0206008000000000", "02810101"]
    return {
        "valid": [
            {"generation": n, "der_hex": pki.encode_generation(n).hex()} for n in (0, 1, 127, 128, 65536, 2**31 - 1)
        ],
        "invalid": [{"der_hex": der, "rule": rule(pki.decode_generation, bytes.fromhex(der))} for der in refused],
    }
