"""How a run of an order can end without its next state: values that the steps raise and the worker reads."""

from __future__ import annotations

from otscert.acme.fault import Fault


class IssuanceError(Exception):
    """This run of the order ended without the next state; `fault` says what is to be done about it."""

    def __init__(self, fault: Fault, *, restart: bool = False) -> None:
        super().__init__(fault.reason)
        self.fault = fault
        self.restart = restart
        """The CA's order cannot be used any more; the next run begins a new one."""


class OrderRests(Exception):
    """Nothing is done for this order while its box is away, quarantined or retired; the text says which."""


class OrderWaits(Exception):
    """No issuer can be asked for it yet; it was put aside on disk with the reason, which is the text."""
