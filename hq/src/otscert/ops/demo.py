"""The product's main job on real parts: Pebble, HQ and boxes as processes on loopback, each box verified by a stranger.

Starts, watches and ends them; everything lives in one temporary folder. What a person or script sees is `cli.demo`'s.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from otscert.ops.demo_box import DemoBox, Step
from otscert.ops.demo_hq import DemoHq, Ports
from otscert.ops.interrupts import Interrupts
from otscert.ops.pebble import Pebble, find_pebble, start_pebble
from otscert.ops.verify import Verdict, verify_box

BOX_S = 120.0
"""How long a box may take, HQ's deaths included."""
_VERIFIERS = 8
_PORT_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxResult:
    """One box of the demo; `boot_to_https_ms` is from the start of its process to the stranger's verdict."""

    name: str
    addresses: tuple[str, ...]
    port: int
    boot_to_https_ms: int
    steps: tuple[Step, ...]
    error: str | None

    @property
    def verified(self) -> bool:
        return self.error is None


class Demo:
    """A context: entering starts CA, HQ and boxes; `results` yields each box's verdict; leaving ends everything."""

    def __init__(
        self, *, boxes: int, pebble: Path | None = None, say: Callable[[str], None], interrupts: Interrupts
    ) -> None:
        self._count = boxes
        self._pebble = pebble
        self._say = say
        self._held = interrupts.held
        self._stack = ExitStack()
        self.folder = Path()
        self.ca: Pebble
        self.hq: DemoHq
        self.boxes: list[DemoBox] = []
        self.hq_deaths = 0
        self.root_pem = Path()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> None:
        # Each step is finished, and noted for the end, before Ctrl-C is heard.
        with self._held():
            self.folder = Path(tempfile.mkdtemp(prefix="otscert-demo-"))
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            ports = Ports(device=_free_port(), dns=_free_port())
            self._say("starting the CA (Pebble)")
            self.ca = self._start_ca(ports)
        with self._held():
            self._say("starting HQ")
            self.hq = DemoHq(self.folder, ports, died=self._hq_died)
            self._stack.callback(self.hq.stop)
            self.hq.start(self.ca)
            self._stack.callback(self._stop_boxes)
        self._say(f"switching on {self._count} {'box' if self._count == 1 else 'boxes'}")
        for number in range(self._count):
            with self._held():
                self.boxes.append(DemoBox.start(self.folder / f"box{number + 1}", self.hq))

    def _start_ca(self, ports: Ports) -> Pebble:
        binary = find_pebble(self._pebble)
        (self.folder / "ca").mkdir()
        ca = self._stack.enter_context(
            start_pebble(binary=binary, folder=self.folder / "ca", dns_server=f"127.0.0.1:{ports.dns}")
        )
        self.root_pem = self.folder / "ca-root.pem"
        self.root_pem.write_text("".join(ca.issuing_roots()), encoding="ascii")
        return ca

    def _end(self) -> None:
        with self._held():
            self._stack.close()

    def results(self, *, keep_running: bool) -> Iterator[BoxResult]:
        """Each box's result as soon as it is known; boxes are switched off after it unless they shall keep running."""
        with ThreadPoolExecutor(max_workers=max(_VERIFIERS, self._count)) as pool:
            pending = [pool.submit(self._result, box, keep_running=keep_running) for box in self.boxes]
            for done in as_completed(pending):
                yield done.result()

    def _result(self, box: DemoBox, *, keep_running: bool) -> BoxResult:
        until_s = box.began_s + BOX_S
        serving = box.wait_serving(until_s=until_s)
        if serving is None:
            verdict = Verdict(addresses=(), error=box.why_not())
        else:
            verdict = verify_box(
                serving.name, serving.port, root_pem=self.root_pem, dns_port=self.hq.ports.dns, until_s=until_s
            )
        took_ms = round((time.monotonic() - box.began_s) * 1000)
        if not keep_running:
            box.stop()
        return BoxResult(
            name=serving.name if serving else "",
            addresses=verdict.addresses,
            port=serving.port if serving else 0,
            boot_to_https_ms=took_ms,
            steps=tuple(box.steps),
            error=verdict.error,
        )

    def _hq_died(self, status: int) -> None:
        self.hq_deaths += 1
        self._say(f"HQ ended with status {status}; starting it again on the same data")

    def _stop_boxes(self) -> None:
        threads = [threading.Thread(target=box.stop) for box in self.boxes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _free_port() -> int:
    """A port that is free for both TCP and UDP on loopback now; HQ takes it at once."""
    for _ in range(_PORT_TRIES):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free for both TCP and UDP on loopback")
