"""The box's life as a table: which step follows which event, and where a box goes on after a power cut.

Everything about transitions is in this file; it does not carry out any step (`loop` does).

    LOCK -> HOLD -> ENTROPY -> NETWORK -> HELLO -> CHALLENGE -> ENROL -> CERTIFICATE -> INSTALL
         -> VERIFY_SERVED -> STEADY

LOCK leads to DAMAGED where the state cannot be read; nothing leads out of it.
"""

from __future__ import annotations

from enum import Enum

from otscert_agent.state import BoxState


class Step(str, Enum):
    LOCK = "LOCK"  # one agent per state folder, and that state is this board's
    HOLD = "HOLD"  # an image that must not enrol yet
    ENTROPY = "ENTROPY"  # until the kernel's generator is ready nothing else happens
    NETWORK = "NETWORK"  # a connection to this maker's HQ
    HELLO = "HELLO"
    CHALLENGE = "CHALLENGE"  # HQ's half of the key is here: make key, CSR, identity
    ENROL = "ENROL"
    CERTIFICATE = "CERTIFICATE"
    INSTALL = "INSTALL"
    VERIFY_SERVED = "VERIFY_SERVED"
    STEADY = "STEADY"
    DAMAGED = "DAMAGED"  # the state cannot be read: serve the pair that is there, until a person resets the box


class Event(Enum):
    DONE = "the step's work is done"
    AGAIN = "not yet: the same step once more"
    NEW_HELLO = "the transaction is over: another half of a key, another hello"
    RESUME_ENROL = "a pending enrolment was found"
    RESUME_CERTIFICATE = "an admitted order was found"
    RESUME_STEADY = "a finished box was found"
    SETTLE = "nothing comes of this now: go on with what there is and hear what HQ says at the next check-in"
    RENEW = "HQ asks for a new certificate"
    DAMAGE = "the state's file cannot be read"
    RESET = "forget everything and begin as a new box"


MOVES: dict[tuple[Step, Event], Step] = {
    (Step.LOCK, Event.DONE): Step.HOLD,
    (Step.LOCK, Event.AGAIN): Step.LOCK,
    (Step.LOCK, Event.DAMAGE): Step.DAMAGED,
    (Step.DAMAGED, Event.AGAIN): Step.DAMAGED,
    (Step.HOLD, Event.DONE): Step.ENTROPY,
    (Step.HOLD, Event.AGAIN): Step.HOLD,
    (Step.ENTROPY, Event.DONE): Step.NETWORK,
    (Step.ENTROPY, Event.AGAIN): Step.ENTROPY,
    (Step.ENTROPY, Event.RESUME_STEADY): Step.VERIFY_SERVED,
    (Step.NETWORK, Event.DONE): Step.HELLO,
    (Step.NETWORK, Event.AGAIN): Step.NETWORK,
    (Step.NETWORK, Event.RESUME_ENROL): Step.ENROL,
    (Step.NETWORK, Event.RESUME_CERTIFICATE): Step.CERTIFICATE,
    (Step.HELLO, Event.DONE): Step.CHALLENGE,
    (Step.HELLO, Event.AGAIN): Step.HELLO,
    (Step.HELLO, Event.NEW_HELLO): Step.ENTROPY,
    (Step.HELLO, Event.SETTLE): Step.STEADY,
    (Step.HELLO, Event.RESET): Step.HOLD,
    (Step.CHALLENGE, Event.DONE): Step.ENROL,
    (Step.CHALLENGE, Event.NEW_HELLO): Step.ENTROPY,
    (Step.CHALLENGE, Event.SETTLE): Step.STEADY,
    (Step.ENROL, Event.DONE): Step.CERTIFICATE,
    (Step.ENROL, Event.AGAIN): Step.ENROL,
    (Step.ENROL, Event.NEW_HELLO): Step.ENTROPY,
    (Step.ENROL, Event.SETTLE): Step.STEADY,
    (Step.ENROL, Event.RESET): Step.HOLD,
    (Step.CERTIFICATE, Event.DONE): Step.INSTALL,
    (Step.CERTIFICATE, Event.AGAIN): Step.CERTIFICATE,
    (Step.CERTIFICATE, Event.NEW_HELLO): Step.ENTROPY,
    (Step.CERTIFICATE, Event.SETTLE): Step.STEADY,
    (Step.CERTIFICATE, Event.RESET): Step.HOLD,
    (Step.INSTALL, Event.DONE): Step.VERIFY_SERVED,
    (Step.INSTALL, Event.AGAIN): Step.CERTIFICATE,
    (Step.VERIFY_SERVED, Event.DONE): Step.STEADY,
    (Step.VERIFY_SERVED, Event.AGAIN): Step.VERIFY_SERVED,
    (Step.STEADY, Event.AGAIN): Step.STEADY,
    (Step.STEADY, Event.RENEW): Step.ENTROPY,
    (Step.STEADY, Event.NEW_HELLO): Step.ENTROPY,
    (Step.STEADY, Event.RESET): Step.HOLD,
}


class IllegalMoveError(ValueError):
    """The table has no such move: a fault of this program."""


def next_step(step: Step, event: Event) -> Step:
    try:
        return MOVES[step, event]
    except KeyError:
        raise IllegalMoveError(f"{event.name} cannot happen in {step.name}") from None


def resume_event(state: BoxState, *, has_pair: bool) -> Event:
    """Where a box goes on: before the network RESUME_STEADY counts, after it the others (DONE: say hello)."""
    if state.pending is not None:
        return Event.RESUME_CERTIFICATE if state.pending.order else Event.RESUME_ENROL
    if state.device_id is not None and has_pair and not state.rekey:
        return Event.RESUME_STEADY
    return Event.DONE
