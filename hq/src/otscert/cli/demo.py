"""`otscert demo`: the main job on this machine, on loopback, with a test CA; nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from otscert.cli.options import JsonOption
from otscert.ops.demo import BoxResult, Demo
from otscert.ops.demo_hq import DemoError
from otscert.ops.interrupts import Interrupts
from otscert.ops.pebble import PebbleError

_MOST_SHOWN = 10


def demo(
    *,
    boxes: Annotated[int, typer.Option(min=1, max=200, help="How many boxes to switch on at once.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="End after the last box was verified.")] = False,
    as_json: JsonOption = False,
    pebble: Annotated[
        Path | None, typer.Option(help="The Pebble binary; else the one that make parts fetched.")
    ] = None,
) -> None:
    """Show the whole path: a box boots, gets a name and a certificate, and serves HTTPS. Loopback only."""
    interrupts = Interrupts()
    interrupts.install()
    show = _JsonLines() if as_json else _Terminal(boxes)
    results: list[BoxResult] = []
    try:
        with Demo(boxes=boxes, pebble=pebble, say=show.say, interrupts=interrupts) as running:
            show.started(running)
            for result in running.results(keep_running=not once):
                results.append(result)
                show.box(result)
            show.summary(running, results)
            if not once:
                show.stay(running, results)
                signal.pause()
    except (DemoError, PebbleError) as error:
        typer.echo(f"otscert demo: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("\nended; nothing is left behind", err=True)
    raise typer.Exit(0 if len(results) == boxes and all(result.verified for result in results) else 1)


class _JsonLines:
    """One JSON object a line on stdout; progress on stderr."""

    def say(self, text: str) -> None:
        if sys.stderr.isatty():
            typer.echo(text, err=True)

    def started(self, demo: Demo) -> None:
        self._line(
            kind="started",
            pids={"ca": demo.ca.pid, "hq": demo.hq.pid, "boxes": [box.process.pid for box in demo.boxes]},
            data_dir=str(demo.folder),
            ports={
                "ca": demo.ca.https_port,
                "ca_management": demo.ca.management_port,
                "device": demo.hq.ports.device,
                "dns": demo.hq.ports.dns,
            },
            root_pem=str(demo.root_pem),
        )

    def box(self, result: BoxResult) -> None:
        self._line(kind="box", **asdict(result), verified=result.verified)

    def summary(self, demo: Demo, results: list[BoxResult]) -> None:
        self._line(kind="summary", **_figures(demo, results))

    def stay(self, demo: Demo, results: list[BoxResult]) -> None:
        """Nothing more to say; a script ends the demo by a signal."""

    def _line(self, **facts: Any) -> None:
        typer.echo(json.dumps(facts))


class _Terminal:
    """Sentences, a timeline and a curl line for a person."""

    def __init__(self, boxes: int) -> None:
        self._console = Console(highlight=False)
        self._progress = Progress(console=self._console, transient=True) if boxes > 1 else None
        self._boxes = boxes

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{text} ...[/dim]")

    def started(self, demo: Demo) -> None:
        self._console.print(
            f"[dim]CA {demo.ca.directory_url}, HQ {demo.hq.public_url}, DNS 127.0.0.1:{demo.hq.ports.dns}[/dim]"
        )
        if self._progress is not None:
            self._progress.start()
            self._task = self._progress.add_task("boxes verified", total=self._boxes)

    def box(self, result: BoxResult) -> None:
        if self._progress is not None:
            self._progress.advance(self._task)
        if not result.verified:
            self._console.print(f"[red]not verified:[/red] {result.name or 'a box without a name'}: {result.error}")

    def summary(self, demo: Demo, results: list[BoxResult]) -> None:
        if self._progress is not None:
            self._progress.stop()
        first = results[0]
        if first.verified:
            self._console.print(f"\nThe boot of {first.name}:", soft_wrap=True)
            self._console.print(_timeline(first))
        figures = _figures(demo, results)
        self._console.print(
            f"{figures['verified']} of {figures['boxes']} boxes verified: a TLS client that knows only the CA's root"
            f" and HQ's DNS server accepted them. Boot to HTTPS: median {figures['boot_to_https_ms_p50']} ms,"
            f" slowest {figures['boot_to_https_ms_max']} ms."
        )

    def stay(self, demo: Demo, results: list[BoxResult]) -> None:
        self._console.print("\nTry it from another terminal (Ctrl-C here ends everything):")
        for result in [result for result in results if result.verified][:_MOST_SHOWN]:
            # soft_wrap: a line to copy must stay one line.
            self._console.print(f"  https://{result.name}:{result.port}/", soft_wrap=True)
            self._console.print(
                f"  curl --cacert {demo.root_pem}"
                f" --resolve {result.name}:{result.port}:{result.addresses[0]} https://{result.name}:{result.port}/",
                soft_wrap=True,
            )


def _timeline(result: BoxResult) -> Table:
    table = Table()
    table.add_column("step")
    table.add_column("ms since power-on", justify="right")
    for step in result.steps:
        table.add_row(step.step, str(step.ms))
    table.add_row("VERIFIED by a stranger", str(result.boot_to_https_ms))
    return table


def _figures(demo: Demo, results: list[BoxResult]) -> dict[str, Any]:
    times = sorted(result.boot_to_https_ms for result in results)
    return {
        "boxes": len(results),
        "verified": sum(result.verified for result in results),
        "boot_to_https_ms_p50": round(statistics.median(times)),
        "boot_to_https_ms_max": times[-1],
        "hq_restarts": demo.hq_deaths,
        "cpus": os.cpu_count(),
    }
