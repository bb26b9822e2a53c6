"""Runs Pebble, the ACME test CA, as a child process on loopback: for the demo, the tests and the benchmarks.

Knows where the binary is, how to start it, to ask it and to end it. Knows nothing of ACME itself, and nothing of how
the binary came to this machine. What Pebble reads is in `pebble_config`.
"""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from otscert.ops.pebble_config import DEFAULT_PROFILES, LOOPBACK, PebbleSettings, Profile, write_api_certificate
from otscert.ops.pebble_probe import Health, get, probe

START_DEADLINE_S = 15.0
START_POLL_S = 0.01
STOP_DEADLINE_S = 5.0
MANAGEMENT_LIMIT_S = 10.0
LOG_TAIL_BYTES = 2_000
# Somebody else can take a port between our choice and Pebble's bind; three losses in a row are no accident.
PORT_ATTEMPTS = 3
PORT_TAKEN = ":{port}: bind: address already in use"
PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class PebbleError(Exception):
    """Something about the test CA is not as it has to be."""


class PebbleNotFoundError(PebbleError):
    """No Pebble binary is where one is looked for."""


class PebbleFailedError(PebbleError):
    """Pebble did not start, or its management interface gave no usable answer."""


class Pebble:
    """A Pebble process that answers. Leaving the context, or `stop`, ends it."""

    def __init__(
        self,
        *,
        process: subprocess.Popen[bytes],
        https_port: int,
        management_port: int,
        api_trust: Path,
        log_path: Path,
    ) -> None:
        self._process = process
        self.https_port = https_port
        self.management_port = management_port
        self.api_trust = api_trust
        self.log_path = log_path
        self.directory_url = f"https://localhost:{https_port}/dir"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def issuing_roots(self) -> list[str]:
        """Return the PEM of each root that Pebble issues under: the default one first, then the alternates.

        Raises:
            PebbleFailedError: when the management interface does not answer.
        """
        roots: list[str] = []
        while (found := self._management(f"/roots/{len(roots)}")) is not None:
            roots += PEM_CERTIFICATE.findall(found)
        if not roots:
            raise PebbleFailedError(f"no issuing root at https://localhost:{self.management_port}/roots/0")
        return roots

    def health(self, *, limit_s: float = 2.0) -> Health:
        """Return whether Pebble works, waiting at most `limit_s` for each of two answers."""
        return probe(
            https_port=self.https_port,
            management_port=self.management_port,
            api_trust=self.api_trust,
            limit_s=limit_s,
        )

    def is_hung(self, *, limit_s: float = 2.0) -> bool:
        return self.health(limit_s=limit_s) is Health.HUNG

    def log_tail(self) -> str:
        return self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """End the process and wait for its end; does nothing when it has ended already."""
        if not self.running:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _management(self, path: str) -> str | None:
        answer = get(self.management_port, path, api_trust=self.api_trust, limit_s=MANAGEMENT_LIMIT_S)
        if answer is None:
            raise PebbleFailedError(f"Pebble's management interface does not answer on port {self.management_port}")
        status, body = answer
        return body if status == http.client.OK else None


def find_pebble(explicit: Path | None = None, *, part: str = "pebble") -> Path:
    """Return the Pebble binary: the explicit path, else that of a checkout's `.parts` folder, else the one on PATH.

    Args:
        explicit: a path that has to exist when it is given.
        part: the folder in `.parts`: `pebble` (2.10) or `pebble-2.4`, which is not looked for on PATH.

    Raises:
        PebbleNotFoundError: with the command that fetches one.
    """
    if explicit is not None:
        if explicit.is_file():
            return explicit
        raise PebbleNotFoundError(
            f"no Pebble binary at {explicit}; without --pebble the one that make parts fetches is used"
        )
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (candidate := folder / ".parts" / part / "usr" / "bin" / "pebble").is_file():
                return candidate
    if part == "pebble" and (on_path := shutil.which("pebble")) is not None:
        return Path(on_path)
    raise PebbleNotFoundError(f"{part} is neither in .parts/ of a checkout nor on PATH\nhint: run `make parts` there")


def start_pebble(
    *,
    binary: Path,
    folder: Path,
    dns_server: str | None,
    https_port: int = 0,
    management_port: int = 0,
    nonce_reject_percent: int = 5,
    authz_reuse_percent: int = 50,
    always_valid: bool = False,
    retry_after: tuple[int, int] | None = None,
    eab: Mapping[str, str] | None = None,
    profiles: Mapping[str, Profile] = DEFAULT_PROFILES,
    alternate_roots: int = 0,
) -> Pebble:
    """Start Pebble on 127.0.0.1 and return it once both its ports answer.

    The process is in a session of its own: a Ctrl-C in the terminal does not reach it, whoever started it ends it.

    Args:
        binary: a Pebble of 2.4 or later, see `find_pebble`.
        folder: for its configuration, API certificate and log; made when absent.
        dns_server: `host:port` that it asks for TXT records, by TCP from 2.10 on, by UDP before; None: the machine's.
        https_port: of the ACME API; 0 chooses a free one.
        management_port: of the interface that gives the roots; 0 chooses a free one.
        nonce_reject_percent: how many good nonces are refused on purpose.
        authz_reuse_percent: how many valid authorizations are used again for the next order.
        always_valid: take every challenge as passed without looking.
        retry_after: seconds on authorizations and on orders (2.10), at random as a number or a date; 0: no header.
        eab: key id -> MAC key in base64url; when given, newAccount demands a binding (RFC 8555, section 7.3.4).
        profiles: what 2.10 offers; 2.4 gives every certificate the validity of the first one.
        alternate_roots: how many alternate chains each certificate has.

    Raises:
        PebbleFailedError: with the end of Pebble's log, when it died or did not answer in time.
    """
    settings = PebbleSettings(
        dns_server=dns_server,
        nonce_reject_percent=nonce_reject_percent,
        authz_reuse_percent=authz_reuse_percent,
        always_valid=always_valid,
        retry_after=retry_after,
        eab=eab,
        profiles=profiles,
        alternate_roots=alternate_roots,
    )
    folder.mkdir(parents=True, exist_ok=True)
    attempts = PORT_ATTEMPTS
    while True:
        attempts -= 1
        ports = (https_port or _free_port(), management_port or _free_port())
        pebble = _spawn(binary=binary.resolve(), folder=folder.resolve(), settings=settings, ports=ports)
        try:
            _wait_until_ready(pebble)
        except BaseException as error:
            pebble.stop()
            chosen = set(ports) - {https_port, management_port}
            if attempts == 0 or not any(PORT_TAKEN.format(port=port) in str(error) for port in chosen):
                raise
        else:
            return pebble


def _spawn(*, binary: Path, folder: Path, settings: PebbleSettings, ports: tuple[int, int]) -> Pebble:
    https_port, management_port = ports
    api = write_api_certificate(folder)
    config, log_path = folder / "pebble.json", folder / "pebble.log"
    config.write_text(settings.config(https_port=https_port, management_port=management_port, api=api))
    command = [str(binary), "-config", str(config)]
    if settings.dns_server is not None:
        command += ["-dnsserver", settings.dns_server]
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a fixed program; the caller names its path
            command,
            cwd=folder,
            env=settings.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Pebble(
        process=process,
        https_port=https_port,
        management_port=management_port,
        api_trust=api.root,
        log_path=log_path,
    )


def _wait_until_ready(pebble: Pebble) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    # Only the process that we started has a certificate under this fresh root: another one that took the port between
    # our choice and Pebble's bind cannot be mistaken for it.
    for port, path in ((pebble.https_port, "/dir"), (pebble.management_port, "/roots/0")):
        while get(port, path, api_trust=pebble.api_trust, limit_s=1.0) is None:
            if not pebble.running:
                raise PebbleFailedError(f"Pebble ended at its start; the end of its log:\n{pebble.log_tail()}")
            if time.monotonic() > deadline:
                raise PebbleFailedError(
                    f"Pebble does not answer on port {port} after {START_DEADLINE_S:.0f} s; the end of its log:\n"
                    f"{pebble.log_tail()}"
                )
            time.sleep(START_POLL_S)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port
