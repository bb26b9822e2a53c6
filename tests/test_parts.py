"""The workbench's own test: the real parts are here and run, and the rules by which they are fetched hold."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import trustme

from otscert.ops.pebble import Pebble, PebbleFailedError, PebbleNotFoundError, find_pebble
from otscert.ops.pebble_probe import Health, get, probe
from parts.catalog import CHECKOUT, PartError, Pin, read_pins, unpacked_parts
from parts.fetch import choose
from parts.sources import choose_mirror, parse_deb822, parse_one_line
from tests.harness.parts import require_part
from tests.harness.ports import free_port
from tests.harness.steps import main, table

PEBBLES = ("pebble", "pebble-2.4")
SHOW_VERSION = {
    "lego": ["--version"],
    "nsd": ["-v"],
    "nsd-checkconf": ["-h"],
    "dnsperf": ["-h"],
    "kdig": ["--version"],
    "dig": ["-v"],
    "promtool": ["--version"],
    "postgresql": ["--version"],
    "initdb": ["--version"],
    "pg_dump": ["--version"],
    "psql": ["--version"],
    "pg_restore": ["--version"],
    "qemu": ["--version"],
    "busybox": ["--help"],
    "chromium": ["--version"],
    "certutil": ["-H"],
    "curl": ["--version"],
    "openssl": ["version"],
}


@pytest.mark.parametrize("part", PEBBLES)
def test_pebble_starts_answers_and_leaves_no_process(pebble: Callable[..., Pebble], part: str) -> None:
    ca = pebble(part=part)
    assert ca.health() is Health.ANSWERS
    assert not ca.is_hung()
    status, directory = get(ca.https_port, "/dir", api_trust=ca.api_trust, limit_s=5) or (0, "")
    assert (status, "newOrder" in directory) == (200, True)
    assert ("renewalInfo" in directory) == (part == "pebble")
    ca.stop()
    assert not psutil.pid_exists(ca.pid)
    assert ca.health(limit_s=0.5) is Health.DOWN


@pytest.mark.parametrize("part", PEBBLES)
def test_pebble_gives_every_root_it_issues_under(pebble: Callable[..., Pebble], part: str) -> None:
    roots = pebble(part=part, alternate_roots=2).issuing_roots()
    assert len(set(roots)) == 3
    for root in roots:
        ssl.PEM_cert_to_DER_cert(root)


def test_pebble_offers_the_profiles_and_demands_the_binding_it_was_given(pebble: Callable[..., Pebble]) -> None:
    ca = pebble(eab={"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"})
    _, directory = get(ca.https_port, "/dir", api_trust=ca.api_trust, limit_s=5) or (0, "")
    assert all(f'"{profile}"' in directory for profile in ("default", "tlsserver", "shortlived"))
    assert '"externalAccountRequired": true' in directory


def test_a_pebble_that_cannot_start_says_why_and_leaves_no_process(pebble: Callable[..., Pebble]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PebbleFailedError, match="address already in use"):
            pebble(https_port=taken.getsockname()[1])
    assert not [child for child in psutil.Process().children() if child.name() == "pebble"]


def test_a_pebble_whose_database_is_locked_is_called_hung(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "root.pem")
    with _tls_server(ca, silent_path="/cert-status-by-serial/1") as port:

        def health() -> Health:
            return probe(https_port=port, management_port=port, api_trust=tmp_path / "root.pem", limit_s=0.3)

        assert health() is Health.HUNG


def test_a_path_without_pebble_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PebbleNotFoundError, match=r"no Pebble binary at .*absent"):
        find_pebble(tmp_path / "absent")


@pytest.mark.parametrize("name", SHOW_VERSION)
def test_a_part_runs_with_the_libraries_it_needs(name: str) -> None:
    part = require_part(name)
    ran = subprocess.run(
        [str(part.path), *SHOW_VERSION[name]],
        env={"PATH": "/usr/bin:/bin", **part.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    # 127 is the dynamic linker's "a library is missing"; several of these exit with 1 after their help.
    assert ran.returncode in {0, 1}, ran.stderr
    assert ran.stdout + ran.stderr
    assert "error while loading shared libraries" not in ran.stderr


def test_a_free_port_can_be_bound_for_tcp_and_udp() -> None:
    port = free_port()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as listener:
            listener.bind(("127.0.0.1", port))


def test_the_pinned_version_is_taken_even_when_a_newer_one_is_there() -> None:
    pin = Pin(version="1.0-1", sha256="aa")
    newer = Pin(version="1.1-1", sha256="bb")
    assert choose(package="nsd", where="sid-amd64", pin=pin, available=[newer, pin]) == (pin, None)


def test_every_package_of_a_part_is_pinned_for_every_machine_that_has_the_part() -> None:
    pins = read_pins()
    missing = [
        f"{package} for {part.suite}-{architecture}"
        for part in unpacked_parts().values()
        for architecture in part.architectures
        for package in (part.package, *part.libraries)
        if package not in pins.get(f"{part.suite}-{architecture}", {})
    ]
    assert missing == []


def test_a_moved_version_is_taken_aloud() -> None:
    pin, now = Pin(version="1.0-1", sha256="aa"), Pin(version="1.1-1", sha256="bb")
    chosen, warning = choose(package="nsd", where="sid-amd64", pin=pin, available=[now])
    assert chosen == now
    assert warning is not None
    assert all(word in warning for word in ("nsd", "MOVED", "1.0-1", "1.1-1"))


def test_the_pinned_version_with_another_hash_is_refused() -> None:
    with pytest.raises(PartError, match=r"aa.*bb"):
        choose(
            package="nsd",
            where="sid-amd64",
            pin=Pin(version="1.0-1", sha256="aa"),
            available=[Pin(version="1.0-1", sha256="bb")],
        )


def test_the_mirror_is_read_from_both_forms_of_apts_sources() -> None:
    one_line = parse_one_line(
        "# deb http://commented.example/debian bookworm main\n"
        "deb http://security.example/debian-security bookworm-security main\n"
        "deb [signed-by=/k.gpg arch=amd64,arm64] http://mirror.example/debian bookworm main contrib # why\n"
    )
    deb822 = parse_deb822(
        "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n"
        "# ours\nTypes: deb deb-src\nURIs: cdrom:[disc] http://mirror.example/debian\n"
        "Suites: bookworm-updates bookworm\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    )
    for sources, trust in (
        (one_line, "signed-by: /k.gpg\n"),
        (deb822, "signed-by: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"),
    ):
        mirror = choose_mirror(sources)
        assert mirror is not None
        assert mirror.for_suite("sid") == (
            "types: deb\nuris: http://mirror.example/debian\nsuites: sid\ncomponents: main\ntargets: Packages\n" + trust
        )


@pytest.mark.parametrize(("required", "status"), [("1", 1), ("", 0)])
def test_a_skipped_test_is_a_failed_one_where_parts_are_required(tmp_path: Path, required: str, status: int) -> None:
    (tmp_path / "test_absent.py").write_text("import pytest\n\ndef test_absent():\n    pytest.skip('no such part')\n")
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.harness.nothing_skipped", "-c", "/dev/null", str(tmp_path)],
        cwd=CHECKOUT,
        env=environment | {"OTSCERT_TEST_REQUIRE_PARTS": required},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == status, ran.stdout
    assert ("Nothing may be skipped here" in ran.stdout) == (status == 1)


def test_the_closing_table_names_what_failed_and_what_was_not_reached() -> None:
    assert table(["lint", "types", "tests"], {"lint": 1.25, "types": 30.0}, failed=True) == [
        "",
        "step             seconds",
        "lint                 1.2",
        "types               30.0  FAILED",
        "tests                  -  not reached",
        "total               31.2",
    ]
    assert "FAILED" not in "".join(table(["lint"], {"lint": 1.25}, failed=False))


def test_the_steps_stop_at_the_first_failure_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Makefile").write_text("good:\n\t@echo was here\nbad:\n\t@exit 3\nnever:\n\t@echo unreachable\n")
    monkeypatch.chdir(tmp_path)
    assert main(["good", "bad", "never"]) == 2  # make's own status for a recipe that failed
    output = capfd.readouterr().out
    assert "was here" in output
    assert "unreachable" not in output
    assert main(["good"]) == 0


@contextmanager
def _tls_server(ca: trustme.CA, *, silent_path: str) -> Iterator[int]:
    """Serve HTTPS that answers every path but one, on which it stays silent until the end."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == silent_path:
                ended.wait()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                # The prober has hung up, as it has to after its limit.
                self.close_connection = True

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            ended.set()
            server.shutdown()
            thread.join()
