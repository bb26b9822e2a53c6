"""The one error of the laboratory."""

from __future__ import annotations


class LabError(Exception):
    """An experiment could not be carried out; the text says why."""
