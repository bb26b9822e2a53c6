"""Boxes of a wave in one process: the agent's own protocol code in threads, and one TLS server with all their pairs.

`python -m bench.wave_worker` reads a `Plan` as JSON, says `ready`, starts at the line "go" and says one line with every
box's time. A box counts when a client that knows only the CA's root has verified its handshake.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from otscert_agent import entropy, served
from otscert_agent.app import SystemWaiter, converse_with
from otscert_agent.config import Settings
from otscert_agent.disk import Disk
from otscert_agent.facts import CHAIN_FILE, KEY_FILE, installed_facts
from otscert_agent.loop import Agent, Parts
from otscert_agent.report import Report
from otscert_agent.state import Store
from otscert_agent.steps import Step

BOX_S = 120.0
HANDSHAKE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`count` boxes, `at_once` of them at a time; `ca_roots` is the PEM that the stranger trusts."""

    hq_url: str
    hq_roots: str
    model: str
    ca_roots: str
    folder: str
    count: int
    at_once: int


class PairServer:
    """TLS on one port that presents, by server name, the pair that the box of that name has just installed."""

    def __init__(self) -> None:
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._default = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._default.sni_callback = self._choose
        self._default.num_tickets = 0  # nobody comes back
        self._pool = ThreadPoolExecutor(max_workers=8)
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def load(self, name: str, pair: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair / CHAIN_FILE, pair / KEY_FILE)
        self._contexts[name] = context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        if (found := self._contexts.get(name or "")) is not None:
            connection.context = found

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._pool.submit(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(HANDSHAKE_S)
        try:
            with plain, self._default.wrap_socket(plain, server_side=True) as secure:
                secure.recv(1)  # until the client has seen enough
        except OSError:
            return  # a client that was not satisfied; it has said so itself


class WaveBox:
    """One box: the agent's loop on a folder of its own, and the stranger who judges it."""

    def __init__(self, plan: Plan, number: int, server: PairServer, trust: ssl.SSLContext) -> None:
        self._server = server
        self._trust = trust
        settings = Settings(
            hq_url=plan.hq_url,
            hq_roots=Path(plan.hq_roots),
            model=plan.model,
            state_dir=Path(plan.folder, f"box{number}"),
            addresses=["127.0.0.1"],
        )
        self._disk = Disk(settings.state_dir)
        self._disk.prepare()
        self._disk.lock(None)
        store, kernel = Store(self._disk), entropy.LinuxKernel()
        host, port = server.address
        self.said = StringIO()
        self._agent = Agent(
            Parts(
                disk=self._disk,
                store=store,
                kernel=kernel,
                waiter=SystemWaiter(),
                report=Report(self._disk, as_json=True, stream=self.said),
                converse=converse_with(settings, self._disk, store, kernel),
                web=served.WebServer(host=host, port=port, reload=lambda: None, restart=lambda: None),
                patient=False,
            )
        )

    def run(self) -> dict[str, Any]:
        """Boot until verified; the times are monotonic seconds."""
        began_s = time.monotonic()
        try:
            self._agent.run(until=Step.VERIFY_SERVED)
            issued_s = time.monotonic()
            name = installed_facts(self._disk).names[0]
            self._server.load(name, self._disk.current)
            self._agent.run(until=Step.STEADY)
            self._verify(name)
        except Exception as error:  # noqa: BLE001 - a lost box is a figure of the run, with its reason
            return {"error": f"{type(error).__name__}: {error}", "began_s": began_s}
        finally:
            self._agent.close()
            self._disk.unlock()
        return {"error": None, "began_s": began_s, "issued_s": issued_s, "verified_s": time.monotonic()}

    def _verify(self, name: str) -> None:
        with (
            socket.create_connection(self._server.address, HANDSHAKE_S) as plain,
            self._trust.wrap_socket(plain, server_hostname=name),
        ):
            pass


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    trust.load_verify_locations(plan.ca_roots)
    # What the first conversation would load: the boxes of a wave are processes that are running already.
    from otscert_agent import conversation, exchange, transport, trust as pins  # noqa: F401, I001, PLC0415

    server = PairServer()
    boxes = [WaveBox(plan, number, server, trust) for number in range(plan.count)]
    with ThreadPoolExecutor(max_workers=plan.at_once) as pool:
        print(json.dumps({"kind": "ready"}), flush=True)
        if sys.stdin.readline().strip() != "go":
            return
        results = list(pool.map(WaveBox.run, boxes))
    print(json.dumps({"kind": "done", "boxes": results}), flush=True)


if __name__ == "__main__":
    main()
