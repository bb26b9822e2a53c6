"""The experiments: one image booted twice, and what became of the twins' keys.

Each returns findings. Knows what has to be equal and what different, and why; does not know how a guest is started, nor
what is in an image.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab import factory, findings, image, machine
from lab.errors import LabError
from lab.findings import Finding
from lab.headquarters import MODEL, STAMPED_MODEL, Headquarters
from lab.image import Answer
from otscert.service.canary import RNG_REPEATS
from otscert_agent.wire import b64, jws
from otscert_agent.wire.messages import Challenge, Granted

PLAIN = "openssl alone"
NUMBERED = "openssl alone, boards with serial numbers"
AGENT = "with the agent"
FACTORY = "with the agent and a factory secret"
TWINS = (1, 2)

Say = Callable[[str], None]


async def plain_twins(folder: Path, say: Say) -> list[Finding]:
    """The objection, reproduced: two first boots of one image make the same identifier and the same key."""
    say("openssl alone: one image, two first boots")
    initramfs = image.plain_image()
    boots = await _boot(folder, "plain", [initramfs, initramfs])
    keys = [_spki(x509.load_pem_x509_csr(boot.word("csr"))) for boot in boots]
    return [
        findings.expected(PLAIN, "entropy_avail, the kernel is content", "256", *_texts(boots, "entropy_avail")),
        findings.equal(PLAIN, "`openssl rand -hex 8`, the identifier: THE SAME", *_texts(boots, "id")),
        findings.equal(PLAIN, "SHA-256 of the TLS key: THE SAME", *keys),
    ]


async def numbered_twins(folder: Path, say: Say) -> list[Finding]:
    """Why HQ cannot find such keys by looking for equal ones: a serial number makes them differ, and computable."""
    say("openssl alone, serial numbers AAAA and BBBB, then AAAA once more")
    initramfs = image.plain_image()
    pair = await _boot(folder, "serial", [initramfs, initramfs], ["AAAA", "BBBB"])
    (again,) = await _boot(folder, "again", [initramfs], ["AAAA"])
    first, second, repeated = (_spki(x509.load_pem_x509_csr(boot.word("csr"))) for boot in (*pair, again))
    return [
        findings.different(NUMBERED, "SHA-256 of the TLS keys of AAAA and BBBB: different", first, second),
        findings.equal(NUMBERED, "of AAAA, booted once more: THE SAME", first, repeated),
    ]


async def agent_twins(folder: Path, hq: Headquarters, say: Say) -> list[Finding]:
    """The answer: the twins say the same hello, get different halves from HQ, and part."""
    initramfs = image.agent_image(hq_url=hq.running.url, hq_roots=hq.running.roots_pem, model=MODEL)
    say("the agent, boot A: one image, two first boots; each writes its hello to the serial port")
    hellos = await _boot(folder, "A", [initramfs + image.extra() for _ in TWINS])
    said = [boot.word("body-1") for boot in hellos]
    found = [
        findings.expected(AGENT, "entropy_avail, the kernel is content", "256", *_texts(hellos, "entropy_avail")),
        findings.equal(AGENT, "SHA-256 of the hello, every byte: the same (true twins)", *map(_digest, said)),
        findings.equal(AGENT, "D0, the box's half of the key: the same", *(_hello(each)["d0"] for each in said)),
    ]
    if not all(finding.holds for finding in found):
        return found  # no twins: what follows would show nothing
    say("HQ answers the same hello twice")
    answers, contributions = await _ask(hq, hellos)
    halves = [_digest(contribution["open"].encode()) for contribution in contributions]
    found.append(findings.different(AGENT, "SHA-256 of r, HQ's half: different", *halves))
    say("the agent, boot B: the same image and HQ's answer; each writes its enrolment")
    enrols = await _boot(folder, "B", [initramfs + image.extra(answer=answer) for answer in answers])
    repeated = [_digest(boot.word("body-1")) for boot in enrols]
    found.append(findings.equal(AGENT, "the hello of boot B: still that of boot A", _digest(said[0]), *repeated))
    return found + await _admit(AGENT, hq, MODEL, enrols, contribution="open", say=say)


async def factory_twins(folder: Path, hq: Headquarters, say: Say) -> list[Finding]:
    """The same with 32 bytes of the factory in each box: the twins differ from the start, and `r` never travels."""
    say("the factory stamps two units, and HQ imports their manifest")
    secrets = await factory.stamped_units(folder, hq, ["AAAA", "BBBB"])
    initramfs = image.agent_image(
        hq_url=hq.running.url,
        hq_roots=hq.running.roots_pem,
        model=STAMPED_MODEL,
        settings={"factory_file": f"/{image.FACTORY}"},
    )
    say("the agent, boot A: one image, and each unit's own secret")
    hellos = await _boot(folder, "FA", [initramfs + image.extra(factory=secret) for secret in secrets])
    said = [boot.word("body-1") for boot in hellos]
    found = [
        findings.equal(FACTORY, "canary, the kernel's own bytes: the same (true twins)", *_canaries(said)),
        findings.different(FACTORY, "D0, the box's half of the key: different", *(_hello(each)["d0"] for each in said)),
    ]
    say("HQ answers each, sealed to the unit's factory key")
    answers, contributions = await _ask(hq, hellos)
    in_clear = ["r" if contribution.get("open") else "nothing" for contribution in contributions]
    found.append(findings.expected(FACTORY, "what of r is in HQ's answer", "nothing", *in_clear))
    say("the agent, boot B: the same images and HQ's answer")
    places = [image.extra(answer=answer, factory=secret) for answer, secret in zip(answers, secrets, strict=True)]
    enrols = await _boot(folder, "FB", [initramfs + place for place in places])
    return found + await _admit(FACTORY, hq, STAMPED_MODEL, enrols, contribution="sealed", say=say)


async def _ask(hq: Headquarters, hellos: Sequence[machine.Boot]) -> tuple[list[Answer], list[dict[str, str]]]:
    """Hand the hellos to HQ; its answers as they came, and the contributions in them."""
    answers = [await hq.post(boot.text("url-1"), boot.word("body-1")) for boot in hellos]
    return answers, [_payload(answer, Challenge.TYP)["contribution"] for answer in answers]


async def _admit(
    experiment: str, hq: Headquarters, model: str, enrols: Sequence[machine.Boot], *, contribution: str, say: Say
) -> list[Finding]:
    """Hand the enrolments to HQ; what it says to them, and what it has on record afterwards."""
    say("HQ takes both enrolments")
    verdicts = [await hq.post(boot.text("url-2"), boot.word("body-2")) for boot in enrols]
    for verdict in verdicts:
        _payload(verdict, Granted.TYP)
    keys = [_spki(_csr(boot.word("body-2"))) for boot in enrols]
    by_key = {record.tls_key: record for record in await hq.admitted()}
    records = [by_key[key] for key in keys if key in by_key]
    if len(records) != len(keys):
        raise LabError("HQ granted an enrolment whose key it does not have on record")
    return [
        findings.different(experiment, "SHA-256 of the TLS key: different", *keys),
        findings.different(experiment, "identity key: different", *(record.identity for record in records)),
        findings.different(experiment, "name: different", *(record.label for record in records)),
        findings.expected(
            experiment, "HQ's contribution on record", contribution, *(record.contribution for record in records)
        ),
        # Their canaries were equal: HQ has learned from two boxes that the model's generator repeats.
        findings.expected(experiment, "HQ's mark on the model", RNG_REPEATS, *await hq.marks(model)),
    ]


async def _boot(
    folder: Path, name: str, images: Sequence[bytes], numbers: Sequence[str] = ("", "")
) -> list[machine.Boot]:
    """Boot the images at the same time, on boards with these serial numbers: one core each is what they need."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(machine.boot(initramfs, folder / f"{name}{place}", serial_number=number))
                for place, (initramfs, number) in enumerate(zip(images, numbers, strict=False), 1)
            ]
    except ExceptionGroup as several:  # one is enough to say what is wrong; the other guest was ended
        raise several.exceptions[0] from None
    boots = [task.result() for task in tasks]
    for boot in boots:
        if "trouble" in boot.said:
            raise LabError(f"the agent in the guest failed:\n{boot.text('trouble')}")
    return boots


def _texts(boots: Sequence[machine.Boot], name: str) -> list[str]:
    return [boot.text(name) for boot in boots]


def _payload(answer: Answer, typ: str) -> dict[str, Any]:
    """Return the payload of HQ's answer, which has to be of this type.

    Raises:
        LabError: with what HQ said, when it is another one.
    """
    if answer.content_type != jws.CONTENT_TYPE:
        said = answer.body[:500].decode("utf-8", "replace")
        raise LabError(f"HQ gave no signed answer (HTTP {answer.status}): {said}")
    signed = jws.parse(answer.body)
    if signed.header["typ"] != typ:
        raise LabError(f"HQ answered with {signed.header['typ']}: {signed.payload.decode()}")
    return jws.json_object(signed.payload, what="payload")


def _hello(body: bytes) -> dict[str, Any]:
    return jws.json_object(jws.parse(body).payload, what="hello")


def _canaries(hellos: Sequence[bytes]) -> list[str]:
    return [_hello(each)["canary"] for each in hellos]


def _csr(enrolment: bytes) -> x509.CertificateSigningRequest:
    text = jws.json_object(jws.parse(enrolment).payload, what="enrolment")["csr"]
    return x509.load_der_x509_csr(b64.decode(text, what="csr"))


def _spki(csr: x509.CertificateSigningRequest) -> str:
    return _digest(csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
