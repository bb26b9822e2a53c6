"""`otscert hq-root`: a rotation under a running HQ, an offline root by files, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from otscert.pki.certificates import generation_of

Installation = Any  # the class lives in conftest.py, which cannot be imported
PKI = Path("hq-data") / "pki"
DEADLINE_S = 30.0


def view(installed: Installation, *arguments: str) -> dict[str, Any]:
    done = installed.call("hq-root", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(installed: Installation, *arguments: str) -> str:
    done = installed.call("hq-root", *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return str(done.stderr)


def served_generation(installed: Installation, pins: Path) -> int:
    """The generation of HQ's TLS certificate, as a box with these pins accepts it."""
    trust = ssl.create_default_context(cafile=str(pins))
    with (
        socket.create_connection(("127.0.0.1", installed.device_port), timeout=5) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der
    return generation_of(x509.load_der_x509_certificate(der))


def wait_for_generation(installed: Installation, wanted: int, pins: Path) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while (seen := served_generation(installed, pins)) != wanted:
        assert time.monotonic() < until_s, f"HQ still serves generation {seen}"
        time.sleep(0.1)


def test_a_root_is_rotated_under_a_running_hq(installed: Installation, tmp_path: Path) -> None:
    pki = installed.folder / PKI
    old = Path(shutil.copy(pki / "root.pem", tmp_path / "old.pem"))
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        assert view(installed, "rotate")["stage"] == "prepared"
        both = Path(shutil.copy(pki / "pins.pem", tmp_path / "both.pem"))
        assert both.read_bytes().startswith(old.read_bytes())
        switched = view(installed, "rotate", "--switch")
        assert (switched["stage"], switched["tls"]["generation"]) == ("switched", 2)
        new = Path(shutil.copy(pki / "root.pem", tmp_path / "new.pem"))
        wait_for_generation(installed, 2, both)
        assert [served_generation(installed, each) for each in (old, new)] == [2, 2]
        assert view(installed, "rotate", "--switch")["tls"]["generation"] == 2  # again: nothing to do
        assert view(installed, "rotate", "--finish", "--yes")["stage"] == "steady"
        view(installed, "sign")
        wait_for_generation(installed, 3, both)
        assert served_generation(installed, new) == 3
        with pytest.raises(ssl.SSLCertVerificationError):
            served_generation(installed, old)
        assert hq.poll() is None


def test_an_offline_root_signs_by_two_files(installed: Installation, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    safe.mkdir(mode=0o700)
    shutil.copy(installed.folder / PKI / "root.pem", safe)
    shutil.move(installed.folder / PKI / "root.key", safe)
    assert view(installed, "show")["key"] == "elsewhere"
    assert "otscert hq-root request" in refused(installed, "sign")
    asked = view(installed, "request", "--out", "request.json")
    assert asked["hosts"] == ["127.0.0.1"]
    assert view(installed, "show")["request_open"]
    signing = ["sign", "--request", "request.json", "--folder", str(safe), "--out", "signed.json"]
    assert view(installed, *signing)["generations"] == {"tls": 2, "answer": 2}
    done = view(installed, "install", "signed.json")
    assert (done["tls"]["generation"], done["answer"]["generation"], done["request_open"]) == (2, 2, False)
    assert "no request is open" in refused(installed, "install", "signed.json")
    # The next root comes the same way.
    assert view(installed, "rotate", "--folder", str(safe))["stage"] == "prepared"
    assert view(installed, "rotate", "--switch", "--folder", str(safe))["stage"] == "switched"
    view(installed, "request", "--out", "request.json")
    view(installed, *signing)
    assert view(installed, "install", "signed.json")["stage"] == "switched"
    assert view(installed, "show")["tls"]["cross_certificate"]


def test_steps_out_of_order_and_unusable_files_are_said(installed: Installation, tmp_path: Path) -> None:
    assert "no next root is prepared: otscert hq-root rotate" in refused(installed, "rotate", "--switch")
    assert "no rotation is under way" in refused(installed, "rotate", "--finish", "--yes")
    assert "no request is open" in refused(installed, "install", _file(tmp_path, '{"otscert_hq_signed": 1}'))
    assert "is not an answer of otscert hq-root sign" in refused(installed, "install", _file(tmp_path, "{}"))
    assert "is not JSON" in refused(installed, "install", _file(tmp_path, "{"))
    assert "is not JSON" in refused(installed, "install", _file(tmp_path, "[" * 100_000))
    assert "is not a file of otscert hq-root" in refused(installed, "install", _file(tmp_path, "[]"))
    assert "cannot be read" in refused(installed, "install", str(tmp_path / "none"))
    assert "cannot be written" in refused(installed, "request", "--out", str(tmp_path / "none" / "request.json"))
    assert "cannot be opened" in refused(installed, "rotate", "--folder", str(tmp_path / "none"))
    both = installed.call("hq-root", "rotate", "--switch", "--finish")
    assert (both.returncode, "one step at a time" in both.stderr) == (2, True)
    alone = installed.call("hq-root", "sign", "--folder", str(installed.folder / PKI))
    assert (alone.returncode, "--request" in alone.stderr) == (2, True)


def _file(folder: Path, text: str) -> str:
    file = folder / "given.json"
    file.write_text(text)
    return str(file)


def test_another_key_than_the_roots_is_refused(installed: Installation, tmp_path: Path) -> None:
    key = shutil.move(installed.folder / PKI / "root.key", tmp_path / "stick.key")
    assert view(installed, "sign", "--root-key", str(key))["tls"]["generation"] == 2
    other = tmp_path / "other.key"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(other)],
        check=True,
        capture_output=True,
    )
    assert "is not the key of" in refused(installed, "sign", "--root-key", str(other))
    other.write_text("hello")
    assert "is no private key in PEM" in refused(installed, "sign", "--root-key", str(other))
    assert view(installed, "show")["tls"]["generation"] == 2


def test_another_users_folder_is_left_alone(installed: Installation) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(installed.folder / PKI, 65534, 65534)
    assert "belongs to another user" in refused(installed, "sign")
    assert view(installed, "show")["tls"]["generation"] == 1


@pytest.fixture
def behind_a_passphrase(installed: Installation) -> Installation:
    key = installed.folder / PKI / "root.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", f"{key}.enc", "-passout", "pass:correct horse"],
        check=True,
        capture_output=True,
    )
    Path(f"{key}.enc").replace(key)
    return installed


def test_a_passphrase_comes_from_a_file_and_the_next_key_gets_it_too(
    behind_a_passphrase: Installation, tmp_path: Path
) -> None:
    installed, given = behind_a_passphrase, tmp_path / "passphrase"
    assert view(installed, "show")["key"] == "encrypted"
    given.write_text("wrong\n")
    given.chmod(0o600)
    asking = ["--passphrase-file", str(given)]
    assert "the passphrase does not open" in refused(installed, "sign", *asking)
    given.write_text("correct horse\n")
    assert view(installed, "sign", *asking)["tls"]["generation"] == 2
    view(installed, "rotate", *asking)
    assert b"ENCRYPTED" in (installed.folder / PKI / "root-next.key").read_bytes()
    assert view(installed, "rotate", "--switch", *asking)["key"] == "encrypted"
    assert view(installed, "sign", *asking)["tls"]["by_root"]
    given.chmod(0o644)
    assert "chmod 600" in refused(installed, "sign", *asking)


def test_a_passphrase_is_asked_for_on_the_terminal_and_not_shown(behind_a_passphrase: Installation) -> None:
    """A real terminal: what is typed must not be echoed."""
    installed = behind_a_passphrase
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "otscert", "hq-root", "sign"],
        cwd=installed.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other side has ended
        while chunk := os.read(ours, 4096):
            seen += chunk
            if b"Passphrase of" in seen and seen.endswith(b": "):
                os.write(ours, b"correct horse\n")
    os.close(ours)
    assert process.wait(DEADLINE_S) == 0
    assert b"correct horse" not in seen
    assert view(installed, "show")["tls"]["generation"] == 2
