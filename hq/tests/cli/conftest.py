"""The real command, started as a process in a folder of its own; and a small DNS world that a test writes."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from otscert.cli import main
from tests.harness.ports import free_port
from tests.harness.preloaded import Preloaded, preloaded

ZONE = "boxes.example.com"
NOWHERE = "https://127.0.0.1:1/directory"
"""Nobody listens on port 1 of loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A folder with a configuration; `run` starts `otscert` in it."""

    folder: Path
    device_port: int
    dns_port: int
    commands: Preloaded

    @property
    def config(self) -> Path:
        return self.folder / "otscert.toml"

    @property
    def database(self) -> Path:
        return self.folder / "hq-data" / "hq.db"

    def run(
        self, *arguments: str, env: dict[str, str] | None = None, before: tuple[str, ...] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; `before` is put in front of the command, `stdin` is what a person types.

        A process of its own, which has loaded HQ already; `start` is for tests of the start itself.
        """
        if not before:
            return self.commands.run(arguments, folder=self.folder, environment=clean_environment(env), stdin=stdin)
        return self.start(*arguments, env=env, before=before, stdin=stdin)

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, before: tuple[str, ...] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Start the command as a person does and run it to the end, as `run`."""
        return subprocess.run(
            [*before, sys.executable, "-m", "otscert", *arguments],
            cwd=self.folder,
            env=clean_environment(env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run in this process: for tests of what a command prints, at a twentieth of the time."""
        out, err, argv, status = io.StringIO(), io.StringIO(), sys.argv, 0
        sys.argv = ["otscert", *arguments]
        try:
            with contextlib.chdir(self.folder), redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0
        finally:
            sys.argv = argv
        return subprocess.CompletedProcess(list(arguments), status, out.getvalue(), err.getvalue())

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run beside the block, and end it after."""
        process = subprocess.Popen(
            [sys.executable, "-m", "otscert", *arguments],
            cwd=self.folder,
            env=clean_environment(None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def init(self, *more: str) -> subprocess.CompletedProcess[str]:
        given = {"--zone": ZONE, "--public-url": f"https://127.0.0.1:{self.device_port}", "--address": "127.0.0.1"}
        given |= {"--issuer": NOWHERE} if "--issuer" not in more else {}
        return self.run("init", *(word for pair in given.items() for word in pair), *more)

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


def clean_environment(more: dict[str, str] | None) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
    return ours | {"COLUMNS": "80"} | (more or {})


@pytest.fixture(scope="session")
def commands() -> Iterator[Preloaded]:
    with preloaded(clean_environment(None)) as running:
        yield running


@pytest.fixture
def empty(tmp_path: Path, commands: Preloaded) -> Installation:
    """An empty folder, with two free ports in mind."""
    return Installation(folder=tmp_path, device_port=free_port(), dns_port=free_port(), commands=commands)


@pytest.fixture(scope="session")
def made_by_init(tmp_path_factory: pytest.TempPathFactory, commands: Preloaded) -> Installation:
    """A folder as `otscert init` leaves it; not to be changed."""
    made = Installation(folder=tmp_path_factory.mktemp("init"), device_port=8443, dns_port=53, commands=commands)
    done = made.init()
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def installed(empty: Installation, made_by_init: Installation) -> Installation:
    """What `otscert init` makes, on loopback and free ports; its CA is not there."""
    shutil.copytree(made_by_init.folder, empty.folder, dirs_exist_ok=True)
    empty.edit('"https://127.0.0.1:8443"', f'"https://127.0.0.1:{empty.device_port}"')
    empty.edit('"0.0.0.0:8443"', f'"127.0.0.1:{empty.device_port}"')
    empty.edit('"0.0.0.0:53"', f'"127.0.0.1:{empty.dns_port}"')
    return empty


@pytest.fixture
def as_nobody_special() -> tuple[str, ...]:
    """What to put before a command so that modes of folders hold for it, also when the tests run as root."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    assert setpriv, "setpriv is part of Debian's util-linux, which every system has"
    return (setpriv, "--bounding-set", "-dac_override,-dac_read_search")


@dataclass(slots=True)
class DnsWorld:
    """A resolver, the parent's name server and the zone's own, at one address; each is told apart by the question.

    `records` is what the resolver knows; `delegated` what the parent says of the zone; `serves` whether the zone's own
    server answers for it; `silent` ends all answers.
    """

    port: int = 0
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    delegated: list[str] = field(default_factory=list)
    glue: dict[str, str] = field(default_factory=dict)
    serves: bool = True
    silent: bool = False

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        if query.flags & dns.flags.RD:
            self._resolve(response, name, kind)
        elif kind == "NS":
            self._refer(response, name)
        elif self.serves:
            response.flags |= dns.flags.AA
            soa = "ns1.boxes.example.com. hostmaster.boxes.example.com. 7 1 1 1 1"
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "SOA", soa))
        else:
            response.set_rcode(dns.rcode.REFUSED)
        return response

    def _resolve(self, response: dns.message.Message, name: str, kind: str) -> None:
        if (name, kind) in self.records:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *self.records[name, kind]))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)

    def _refer(self, response: dns.message.Message, name: str) -> None:
        if not self.delegated:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return
        targets = [f"{host}." for host in self.delegated]
        response.authority.append(dns.rrset.from_text(f"{name}.", 60, "IN", "NS", *targets))
        for host, address in self.glue.items():
            response.additional.append(dns.rrset.from_text(f"{host}.", 60, "IN", "A", address))


@pytest.fixture
def world() -> Iterator[DnsWorld]:
    """A world in which example.com delegates the zone rightly."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        made = DnsWorld(
            port=listener.getsockname()[1],
            records={
                ("example.com", "NS"): ["ns.example.com."],
                ("ns.example.com", "A"): ["127.0.0.1"],
            },
            delegated=["ns1.boxes.example.com"],
            glue={"ns1.boxes.example.com": "127.0.0.1"},
        )
        thread = threading.Thread(target=_answer_all, args=(listener, made.answer, made))
        thread.start()
        yield made
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ender:
            ender.sendto(b"", ("127.0.0.1", made.port))
        thread.join()


def _answer_all(
    listener: socket.socket, answer: Callable[[dns.message.Message], dns.message.Message], world: DnsWorld
) -> None:
    while True:
        data, client = listener.recvfrom(4096)
        if not data:
            return
        if not world.silent:
            listener.sendto(answer(dns.message.from_wire(data)).to_wire(), client)
