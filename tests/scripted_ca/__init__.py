"""A real HTTPS ACME server whose behaviour is written down beforehand: for tests of faults, and for load."""

from __future__ import annotations

from tests.scripted_ca.script import LETS_ENCRYPT, Fate, Limits, Script
from tests.scripted_ca.server import ScriptedCa, start_scripted_ca

__all__ = ["LETS_ENCRYPT", "Fate", "Limits", "Script", "ScriptedCa", "start_scripted_ca"]
