"""Vectors of P-256 arithmetic and of the box's extractor: from sources to `d0`, and with HQ's `r` to the TLS key."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from otscert_agent import entropy, keys
from otscert_agent.wire import b64, point
from tests.protocol_vectors import fixed
from tests.protocol_vectors.encodings import rule


def curve() -> dict[str, Any]:
    a, b = fixed.scalar("a"), fixed.scalar("b")
    sums = [
        ("two points", a, b),
        ("doubling", a, a),
        ("doubling the base point", 1, 1),
        ("G + 2G", 1, 2),
        ("a point and a point near its inverse", a, point.N - a + 1),
    ]
    n, bad = (
        point.N,
        [b"", bytes(32), point.encode_scalar(point.N), b"\xff" * 32, bytes(31) + b"\x01" + b"\x01", b"\x01"],
    )
    good_point = point.public_point(a)
    return {
        "n_hex": point.encode_scalar(n).hex(),
        "additions": [_addition(*case) for case in sums],
        "infinity": {
            "first_hex": good_point.hex(),
            "second_hex": point.public_point(n - a).hex(),
            "rule": rule(point.add, good_point, point.public_point(n - a)),
        },
        "invalid_points": [
            {"name": name, "hex": data.hex(), "rule": rule(point.coordinates, data)}
            for name, data in _bad_points(good_point)
        ],
        "scalars_from_48_bytes": [
            {"hex": data.hex(), "scalar_hex": point.encode_scalar(point.scalar_from_bytes(data)).hex()}
            for data in (bytes(48), b"\xff" * 48, fixed.octets("48 bytes", 48), (n - 1).to_bytes(48, "big"))
        ],
        "valid_scalars_hex": [point.encode_scalar(value).hex() for value in (1, n - 1, a)],
        "invalid_scalars": [{"hex": data.hex(), "rule": rule(point.parse_scalar, data)} for data in bad],
        "contributions": [_contribution(*case) for case in _contributions()],
        "zero_key": _zero_key(),
    }


def _addition(name: str, a: int, b: int) -> dict[str, Any]:
    first, second = point.public_point(a), point.public_point(b)
    return {
        "name": name,
        "first_hex": first.hex(),
        "second_hex": second.hex(),
        "sum_hex": point.add(first, second).hex(),
    }


def _bad_points(good: bytes) -> list[tuple[str, bytes]]:
    return [
        ("empty", b""),
        ("compressed", bytes([2 + (good[64] & 1)]) + good[1:33]),
        ("hybrid", bytes([6 + (good[64] & 1)]) + good[1:]),
        ("the point at infinity in SEC 1's own form", b"\x00"),
        ("off the curve", good[:64] + bytes([good[64] ^ 1])),
        ("coordinates of zero", b"\x04" + bytes(64)),
        ("x not below p", b"\x04" + point.P.to_bytes(32, "big") + good[33:]),
        ("66 bytes", good + b"\x00"),
    ]


def _contributions() -> list[tuple[str, int, int]]:
    d0 = fixed.scalar("d0")
    return [
        ("usual", d0, fixed.scalar("r")),
        ("r = 1", d0, 1),
        ("r = d0: the addition is a doubling", d0, d0),
        ("d0 + r exceeds n", point.N - 2, point.N - 3),
    ]


def _contribution(name: str, d0: int, r: int) -> dict[str, Any]:
    d = keys.combine(d0, r)
    return {
        "name": name,
        "d0_hex": point.encode_scalar(d0).hex(),
        "d0_point_hex": point.public_point(d0).hex(),
        "r_hex": point.encode_scalar(r).hex(),
        "d_hex": point.encode_scalar(d).hex(),
        "point_hex": point.contributed(point.public_point(d0), r).hex(),
    }


def _zero_key() -> dict[str, Any]:
    d0 = fixed.scalar("d0")
    return {"d0_hex": point.encode_scalar(d0).hex(), "r_hex": point.encode_scalar(point.N - d0).hex()}


def extractor() -> list[dict[str, Any]]:
    """The agent's own construction; a box may use another one, as long as no D0 repeats."""
    full = entropy.Sources(
        kernel=fixed.octets("kernel", 32),
        hwrng=fixed.octets("hwrng", 32),
        pool=fixed.octets("pool", 32),
        ids=b"serial=1234\nmac=02:00:00:00:00:01",
        times=b"1770000000000000000 1234567890 3f0c 7",
    )
    lone = entropy.Sources(kernel=full.kernel)
    return [
        _extraction("kernel, hwrng, pool, ids and times", full, attempt=7, seq=1),
        _extraction("the same sources, the next attempt", full, attempt=8, seq=1),
        _extraction("the same sources, another seq", full, attempt=7, seq=2),
        _extraction("the kernel alone", lone, attempt=1, seq=1),
        _extraction("no source at all", entropy.Sources(), attempt=1, seq=1),
    ]


def _extraction(name: str, sources: entropy.Sources, *, attempt: int, seq: int) -> dict[str, Any]:
    mix = entropy.Mix(prk=entropy.extract(sources), crng="ready", hwrng=False, used=sources.used())
    d0_bytes = mix.d0_bytes(purpose=b"tls", attempt=attempt, seq=seq)
    d0 = point.scalar_from_bytes(d0_bytes)
    seed = fixed.octets("seed from HQ", 32)
    return {
        "name": name,
        "sources_hex": {name: value.hex() for name, value in asdict(sources).items()},
        "attempt": attempt,
        "seq": seq,
        "prk_hex": mix.prk.hex(),
        "d0_48_bytes_hex": d0_bytes.hex(),
        "d0_hex": point.encode_scalar(d0).hex(),
        "d0_point": b64.encode(point.public_point(d0)),
        "hello_key_seed_hex": mix.hello_seed().hex(),
        "id_seed_hex": mix.id_seed().hex(),
        "nonce_hex": mix.nonce(16).hex(),
        "next_pool_hex": mix.next_pool().hex(),
        "hq_seed_hex": seed.hex(),
        "pool_after_seed_hex": entropy.refreshed_pool(mix.next_pool(), seed).hex(),
    }
