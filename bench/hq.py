"""A real `otscert serve` for a run, with limits that a benchmark needs, on a CA of the caller's choice.

Knows HQ's configuration. Knows neither boxes nor what is measured.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from otscert.pki.files import PkiFolder

ZONE = "boxes.bench.example"
MODEL = "bench-box"
MANY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CaAddress:
    """Where a CA is: directory, the PEM that its HTTPS is trusted by, and what it issues under."""

    directory_url: str
    trust_file: Path
    roots_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HqPorts:
    device: int
    dns: int


class HqFolder:
    """HQ's configuration and keys in `folder`, and the command that runs it."""

    def __init__(
        self, folder: Path, ports: HqPorts, ca: CaAddress, *, max_in_flight: int, database_url: str = ""
    ) -> None:
        self.folder = folder
        self.ports = ports
        self.public_url = f"https://127.0.0.1:{ports.device}"
        data = folder / "hq"
        data.mkdir(mode=0o700, parents=True)
        pki = PkiFolder(folder=data / "pki")
        pki.create(zone=ZONE, hosts=("127.0.0.1",), passphrase=None, now_s=int(time.time()))
        self.database = data / "hq.db"
        self.root_pem = data / "pki" / "root.pem"
        self._config = folder / "otscert.toml"
        url_file = folder / "database_url"
        url_file.write_text(database_url, encoding="utf-8")
        url_file.chmod(0o600)
        where = f'database_url_file = "{url_file}"\n' if database_url else ""
        self._config.write_text(where + self._document(ca, max_in_flight), encoding="utf-8")

    def start(self, *, profile: Path | None = None) -> Child:
        """Start HQ and wait until it is ready; with `profile` under cProfile, which writes there at its end."""
        child = self.launch(profile=profile)
        try:
            child.line()
        except BaseException:
            child.stop()
            raise
        return child

    def launch(
        self,
        *,
        profile: Path | None = None,
        roles: str = "api,worker,dns",
        core: int | None = None,
        dns_port: int | None = None,
    ) -> Child:
        """Start HQ, whose next line says that it is ready; `core` and `dns_port` are this process's own."""
        serve = ["otscert", "serve", "--json", "--config", str(self._config), "--role", roles]
        how = ["-m", *serve] if profile is None else ["-m", "bench.profiled", str(profile), *serve]
        env = {} if dns_port is None else {"OTSCERT_LISTEN_DNS": f"127.0.0.1:{dns_port}"}
        return Child([sys.executable, *how], log=self.folder / "hq.log", core=core, env=env)

    def _document(self, ca: CaAddress, max_in_flight: int) -> str:
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
metrics = []
[dns]
rate_limit_per_s = {MANY}
[limits]
hellos_per_address_per_hour = {MANY}
hellos_per_model_per_hour = {MANY}
[issuer.bench]
directory_url = "{ca.directory_url}"
trust_file = "{ca.trust_file}"
terms_agreed = true
max_in_flight = {max_in_flight}
[model.{MODEL}]
policies = ["open"]
allow_loopback = true
admissions_per_address_per_day = {MANY}
admissions_per_model_per_day = {MANY}
"""
