"""The twin laboratory's short form: real kernels without randomness, the plain way and with the agent."""

from __future__ import annotations

import base64
from pathlib import Path

import psutil
import pytest

from lab import cpio, findings, image, machine, twins
from lab.errors import LabError
from lab.headquarters import run_headquarters
from tests.harness.parts import require_part

# A boot takes some seconds of a free core, and may take `machine.LIMIT_S` of a busy one; a test boots twice in a row.
BOOTS = pytest.mark.timeout(660)


@pytest.fixture
def real_machine() -> None:
    for part in (*machine.PARTS, "openssl"):
        require_part(part)


def failed(found: list[findings.Finding]) -> list[findings.Finding]:
    assert found
    return [finding for finding in found if not finding.holds]


@BOOTS
@pytest.mark.usefixtures("real_machine")
async def test_two_first_boots_of_one_image_make_the_same_key_with_openssl_alone(tmp_path: Path) -> None:
    assert failed(await twins.plain_twins(tmp_path, print)) == []


@BOOTS
@pytest.mark.usefixtures("real_machine")
async def test_two_first_boots_of_one_image_with_the_agent_get_two_keys_two_identities_two_names(
    tmp_path: Path,
) -> None:
    async with run_headquarters(tmp_path) as hq:
        assert failed(await twins.agent_twins(tmp_path, hq, print)) == []
        assert await hq.running.count("device") == 2


@BOOTS
@pytest.mark.usefixtures("real_machine")
async def test_two_first_boots_of_one_image_with_a_factory_secret_each_get_sealed_contributions(
    tmp_path: Path,
) -> None:
    async with run_headquarters(tmp_path) as hq:
        assert failed(await twins.factory_twins(tmp_path, hq, print)) == []
        assert await hq.running.count("device") == 2


@BOOTS
@pytest.mark.usefixtures("real_machine")
async def test_a_guest_that_does_not_end_in_time_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="did not switch itself off within 1 s"):
        await machine.boot(image.plain_image(), tmp_path / "boot", limit_s=1)
    assert [child for child in psutil.Process().children() if "qemu" in child.name()] == []


@BOOTS
@pytest.mark.usefixtures("real_machine")
async def test_a_guest_that_panics_is_told_with_the_end_of_its_serial_output(tmp_path: Path) -> None:
    boot = await machine.boot(cpio.archive([cpio.folder("nothing")]), tmp_path / "boot")
    with pytest.raises(LabError, match=r"(?s)did not say 'csr'.*Kernel panic"):
        boot.word("csr")


def test_an_image_is_the_same_bytes_whatever_the_order_of_its_members() -> None:
    members = [cpio.file("etc/b", b"two"), cpio.program("etc/a", b"one"), cpio.link("bin/sh", "busybox")]
    archive = cpio.archive(members)
    assert archive == cpio.archive(reversed(members))
    assert len(archive) % cpio.BLOCK_BYTES == 0
    # Folders come before what lies in them: the kernel makes none by itself.
    places = [archive.index(name + b"\x00") for name in (b"bin", b"bin/sh", b"etc", b"etc/a", b"etc/b", b"TRAILER!!!")]
    assert places == sorted(places)


def test_the_place_of_an_answer_has_the_same_size_with_and_without_it() -> None:
    answer = image.Answer(status=200, content_type="application/jose+json", body=b"x" * 4000)
    assert len(image.extra()) == len(image.extra(answer=answer))
    with pytest.raises(LabError, match="its place in the image has"):
        image.extra(answer=image.Answer(status=200, content_type="", body=b"x" * image.ANSWER_BYTES))


def test_the_words_of_a_guest_are_told_from_what_the_kernel_says() -> None:
    said = base64.b64encode(b"a body")
    serial = b"[    0.1] lab: is no word\r\nlab: body " + said + b"\r\nlab: cut YWJ\r\nlab:\r\n\xff\xfe\r\n"
    assert machine.words(serial) == {"body": b"a body"}
    with pytest.raises(LabError, match=r"did not say 'csr'.*"):
        machine.Boot(said={}, serial=b"Kernel panic", took_s=1).word("csr")


def test_a_finding_judges_what_was_seen() -> None:
    assert findings.equal("x", "c", "1", "1").holds
    assert not findings.equal("x", "c", "1", "2").holds
    assert findings.different("x", "c", "1", "2").holds
    assert not findings.different("x", "c", "1", "1").holds
    assert not findings.expected("x", "c", "open", "open", "none").holds
    assert findings.table([findings.equal("plain", "key", "1", "2"), findings.equal("plain", "id", "7", "7")]) == [
        "",
        "plain",
        "  FAILED  key  1 | 2",
        "  ok      id   both 7",
    ]
