"""The operator's commands, a file per noun. They work on configuration and store; there is no control socket."""

from __future__ import annotations

from otscert.cli.main import main

__all__ = ["main"]
