"""The demo's HQ: a real `otscert serve` on a folder of its own, started again when it dies.

Knows the configuration of a demo (loopback, Pebble, one open model) and keeps the ports. Knows nothing of boxes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from otscert.ops.pebble import Pebble
from otscert.pki.files import PkiFolder

ZONE = "boxes.demo.example"
MODEL = "demo-box"
PEBBLE_IN_FLIGHT = 8  # Pebble dead-locks from about 16 orders in flight on
START_S = 20.0
_SHORTEST_LIFE_S = 1.0
_MOST_SHORT_LIVES = 5


class DemoError(Exception):
    """The demo cannot go on; the text says what failed and where its log is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    device: int
    dns: int


class DemoHq:
    """HQ as a child process; `start` it once, `stop` it once."""

    def __init__(self, folder: Path, ports: Ports, *, died: Callable[[int], None]) -> None:
        self.folder = folder
        self.ports = ports
        self.public_url = f"https://127.0.0.1:{ports.device}"
        self.root_pem = folder / "hq" / "pki" / "root.pem"
        self.log = folder / "hq.log"
        self._config = folder / "otscert.toml"
        self._died = died
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._watcher = threading.Thread(target=self._watch, name="hq-watcher", daemon=True)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self, ca: Pebble) -> None:
        """Make keys and configuration, start HQ and wait until it is ready; raise `DemoError` when it is not."""
        data = self.folder / "hq"
        data.mkdir(mode=0o700)
        pki = PkiFolder(folder=data / "pki")
        pki.create(zone=ZONE, hosts=("127.0.0.1",), passphrase=None, now_s=int(time.time()))
        self._config.write_text(self._document(ca), encoding="utf-8")
        self._process = self._spawn()
        self._watcher.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        if self._watcher.ident is not None:
            self._watcher.join(timeout=10)

    def log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:] if self.log.exists() else ""

    def _spawn(self) -> subprocess.Popen[str]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "otscert", "serve", "--json", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the demo, which stops HQ in order
            )
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
        finally:
            timer.cancel()
        if not line or json.loads(line).get("kind") != "ready":
            process.kill()
            process.wait()
            raise DemoError(f"HQ did not start. The end of its log:\n{self.log_tail()}")
        return process

    def _watch(self) -> None:
        """Start HQ again whenever it dies, on the same folder and ports; give up when it keeps dying at once."""
        short_lives = 0
        while self._process is not None:
            began = time.monotonic()
            status = self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            if self._stopping.is_set():
                return
            short_lives = short_lives + 1 if time.monotonic() - began < _SHORTEST_LIFE_S else 0
            if short_lives >= _MOST_SHORT_LIVES:
                return
            self._died(status)
            try:
                self._process = self._spawn()
                # `stop` may have come while HQ was starting, and ended the one before it.
                if self._stopping.is_set():
                    self._process.terminate()
            except DemoError:
                if not self._stopping.is_set():
                    self._died(status)
                return

    def _document(self, ca: Pebble) -> str:
        return f"""data_dir = "hq"
public_url = "{self.public_url}"
[zone]
origin = "{ZONE}"
name_servers = ["ns1.{ZONE}"]
[zone.server_addresses]
"ns1.{ZONE}" = ["127.0.0.1"]
[listen]
device = ["127.0.0.1:{self.ports.device}"]
dns = ["127.0.0.1:{self.ports.dns}"]
[limits]
hellos_per_address_per_hour = 1000000
hellos_per_model_per_hour = 1000000
[issuer.pebble]
directory_url = "{ca.directory_url}"
trust_file = "{ca.api_trust}"
terms_agreed = true
max_in_flight = {PEBBLE_IN_FLIGHT}
[model.{MODEL}]
policies = ["open"]
naming = "readable"
allow_loopback = true
admissions_per_address_per_day = 1000000
admissions_per_model_per_day = 1000000
"""
