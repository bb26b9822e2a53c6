"""An apt of our own: one suite, its own state and cache folders, no root, the machine's mirror and its trust.

The machine's own apt (its sources, lists, cache and installed packages) is read for the mirror and never changed.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from parts.catalog import STORE, PartError, Pin
from parts.sources import Source, choose_mirror, parse_deb822, parse_one_line

# Read after the machine's own configuration: proxies and certificates stay as they are, hooks do not run for us.
# A mirror that lags behind is fine, its signature is still checked: the pins say what we want, not the date.
CONFIGURATION = """\
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{cache}";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{sources}";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
FOREIGN = """\
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateApt:
    """One suite of the machine's mirror, with its index up to date."""

    config: Path
    archives: Path

    def available(self, packages: Collection[str]) -> dict[str, list[Pin]]:
        """Return what the suite's signed index lists of each package, the newest version first."""
        found: dict[str, list[Pin]] = {package: [] for package in packages}
        for stanza in self._run("apt-cache", "show", *packages).split("\n\n"):
            fields = dict(_fields(stanza))
            if fields.get("Package") in found:
                found[fields["Package"]].append(Pin(version=fields["Version"], sha256=fields["SHA256"]))
        return found

    def download(self, pins: Mapping[str, Pin]) -> list[Path]:
        """Return the .deb of each package, checked against its pin's hash.

        Raises:
            PartError: when apt cannot get one, or its content has another hash.
        """
        for leftover in self.archives.glob("*.deb"):
            leftover.unlink()
        self._run("apt-get", "download", *(f"{package}={pin.version}" for package, pin in pins.items()))
        debs = []
        for package, pin in pins.items():
            (deb,) = self.archives.glob(f"{package}_*.deb")
            found = hashlib.sha256(deb.read_bytes()).hexdigest()
            if found != pin.sha256:
                raise PartError(f"{deb.name} has the SHA-256 {found}, expected {pin.sha256}")
            debs.append(deb)
        return debs

    def _run(self, program: str, *arguments: str) -> str:
        return run([program, "-q", "-c", str(self.config), *arguments], cwd=self.archives)


def open_suite(suite: str, *, architecture: str | None = None) -> PrivateApt:
    """Return a private apt for a suite, after fetching its index.

    Args:
        suite: of the machine's mirror, `bookworm` or `sid`.
        architecture: another one than the machine's own, to look up pins only.

    Raises:
        PartError: when this is no Debian, or the mirror has no such suite.
    """
    folder = STORE / ".apt" / (suite if architecture is None else f"{suite}-{architecture}")
    state, cache, sources = folder / "state", folder / "cache", folder / "sources"
    for needed in (state / "lists" / "partial", cache / "archives" / "partial", sources, folder / "debs"):
        needed.mkdir(parents=True, exist_ok=True)
    # An empty list of installed packages: what is installed on this machine must not change what we find.
    (state / "status").touch()
    (sources / "parts.sources").write_text(_mirror().for_suite(suite))
    text = CONFIGURATION.format(state=state, cache=cache, sources=sources)
    if architecture is not None:
        text += FOREIGN.format(architecture=architecture)
    config = folder / "apt.conf"
    config.write_text(text)
    run(["apt-get", "-q", "-c", str(config), "-o", "APT::Update::Error-Mode=any", "update"], cwd=folder)
    return PrivateApt(config=config, archives=folder / "debs")


def run(command: list[str], *, cwd: Path) -> str:
    """Return a program's output.

    Raises:
        PartError: with the command and what it said, when it is absent or fails.
    """
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PartError(f"{command[0]} is not on this machine: the parts come from Debian's packages") from error
    if done.returncode != 0:
        raise PartError(f"`{' '.join(command)}` failed with status {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def architecture_of_machine() -> str:
    return run(["dpkg", "--print-architecture"], cwd=STORE).strip()


def _mirror() -> Source:
    where = run(
        ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"], cwd=STORE
    )
    paths = dict(line.replace("'", "").split("=", 1) for line in where.splitlines())
    parts = sorted(Path(paths["PARTS"]).glob("*"))
    one_line = [Path(paths["LIST"]), *(part for part in parts if part.suffix == ".list")]
    sources = [source for file in one_line if file.is_file() for source in parse_one_line(file.read_text())]
    for part in parts:
        if part.suffix == ".sources":
            sources += parse_deb822(part.read_text())
    if (mirror := choose_mirror(sources)) is None:
        raise PartError("apt's configuration names no Debian release, see sources.list(5)")
    return mirror


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for line in stanza.splitlines():
        if line[:1] not in {" ", "\t"} and ": " in line:
            name, value = line.split(": ", 1)
            yield name, value
