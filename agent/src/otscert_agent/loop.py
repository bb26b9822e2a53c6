"""The box's life, carried out: one method per step, one place that waits, one place that reacts to trouble.

Knows what is done in each step and what comes of an error. Which step follows is `steps`, what is said to HQ is
`conversation`, how long to wait is `backoff`. Everything it touches is handed in, so a test or a benchmark runs it
with its own transport, folder, kernel and clock.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from otscert_agent import entropy
from otscert_agent.backoff import Backoff
from otscert_agent.errors import (
    AgentError,
    ConfigError,
    NotReadyError,
    ProblemError,
    SpentKeyError,
    StateError,
    UnreachableError,
    ZeroKeyError,
)
from otscert_agent.forget import forget
from otscert_agent.parts import Handed, Parts
from otscert_agent.reactions import NOT_ADMITTED, Reaction, reaction_to, verdict_of
from otscert_agent.readiness import LOOK_S, WAITING, Readiness
from otscert_agent.sealing import HOLD_FILE
from otscert_agent.serving import Serving
from otscert_agent.starting import HARDWARE_LOOK_S, Start
from otscert_agent.state import MAX_SEQ
from otscert_agent.steps import Event, Step, next_step, resume_event
from otscert_agent.wire import messages
from otscert_agent.wire.errors import WireError

if TYPE_CHECKING:  # cryptography is loaded when HQ is called, not while the box only serves
    from otscert_agent.conversation import Conversation, Introduced

__all__ = ["Agent", "Handed", "Parts"]

HOLD_LOOK_S = 5.0
FIRST_CHECKIN_S = 30.0  # after a start: spread over this span, when a street gets its power back at once
ORDER_FIRST_S = 0.05  # pause when HQ says "again at once" without having held the call
LEAST_CHECKIN_S = 1.0
LONGEST_WAIT_S = 7 * 86400.0  # whatever HQ says: its clock may have been wrong when it worked that out
DEAF_WRITE_S = 600  # how much of the time without HQ a power cut may make the box forget


class Agent:
    """One box. `run` drives it; `step` says where it is."""

    def __init__(self, parts: Parts, handed: Handed | None = None) -> None:
        self.step = Step.STEADY if handed and not parts.store.damage else Step.LOCK
        self._parts = parts
        self._store = parts.store
        self._conversation: Conversation | None = None
        self._introduced: Introduced | None = None
        self._chain: str | None = None
        self._start = Start(parts)
        self._readiness = Readiness(parts, canary=handed.canary if handed else None)
        self._serving = Serving(parts)
        board = parts.board.fingerprint() if parts.board is not None else ""  # a new box has no pool yet
        jitter = self._store.state.pool + f"{board} {parts.disk.root}".encode()
        self._backoff = Backoff(jitter)
        self._anew = Backoff(jitter)  # between whole transactions: that HQ can be called is no success of theirs
        self._order_pause = Backoff(jitter, first_s=ORDER_FIRST_S, cap_s=5.0)
        self._checkin_s = max(handed.due - parts.waiter.now(), 0.0) if handed else None
        self._fresh_boot = True
        self._page_is_up = False
        self._heard_at = parts.waiter.now()

    @property
    def served_as_issued(self) -> bool:
        return self._serving.as_issued

    def run(self, *, until: Step | None = None) -> None:
        """Go on until `until` is reached; without it, until an exception that no step may catch."""
        while self.step is not until:
            self.advance()

    def advance(self) -> Event:
        """Carry out the present step, or one try of it, and move on."""
        done = self.step
        try:
            event = self._guarded()
            if event in {Event.NEW_HELLO, Event.SETTLE}:
                self._drop_transaction(give_up=event is Event.SETTLE)
        except StateError as error:  # the disk failed while something else was being put right
            self._parts.report.problem(str(error))
            self._pause(self._backoff.next_s(), str(error))
            event = self._try_later()
        self.step = next_step(done, event)
        if event not in {Event.AGAIN, Event.DAMAGE}:
            self._tell(done)
        return event

    def _tell(self, done: Step) -> None:
        report = self._parts.report
        if done is not Step.STEADY:
            report.step(done.value)
        if self.step is Step.STEADY:
            report.step(self.step.value)
        report.note(self.step.value)

    def close(self) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None

    def _guarded(self) -> Event:
        step = {
            Step.LOCK: self._lock,
            Step.DAMAGED: self._damaged,
            Step.HOLD: self._hold,
            Step.ENTROPY: self._entropy,
            Step.NETWORK: self._network,
            Step.HELLO: self._hello,
            Step.CHALLENGE: self._challenge,
            Step.ENROL: self._enrol,
            Step.CERTIFICATE: self._certificate,
            Step.INSTALL: self._install,
            Step.VERIFY_SERVED: self._verify_served,
            Step.STEADY: self._steady,
        }[self.step]
        try:
            event = step()
        except (AgentError, WireError) as error:
            return self._after(error)
        if event is not Event.AGAIN:
            self._backoff.reset()
        if self.step is Step.INSTALL:
            self._anew.reset()
        self._heard_at = self._parts.waiter.now()
        return event

    # ---- the steps

    def _lock(self) -> Event:
        if self._store.damage is not None:
            return Event.DAMAGE
        try:
            why = self._start.begin()
        except StateError:  # a disk that takes nothing more: what is there already is served all the same
            if self._start.at_home:
                self._serve_what_is_there()
            raise
        if why is None:
            return Event.DONE
        self._pause(HARDWARE_LOOK_S, why)
        return Event.AGAIN

    def _damaged(self) -> Event:
        """Serve, and say what is wrong. Nothing is known of boots, so the kernel is credited no seed either."""
        self._page_is_up = self._page_is_up or self._serve_what_is_there()
        self._parts.report.problem(str(self._store.damage))
        self._parts.report.note(self.step.value, str(self._store.damage))
        self._parts.waiter.wait(HOLD_LOOK_S)
        return Event.AGAIN

    def _serve_what_is_there(self) -> bool:
        """Whether that was tried: TLS needs a kernel that is ready, and would block or worse without."""
        ready = entropy.look(self._parts.kernel, 1)[0] != entropy.Crng.NOT_READY
        if not ready or not self._serving.has_pair():
            return False
        self._serving.show_page()
        return True

    def _hold(self) -> Event:
        if not (self._parts.disk.root / HOLD_FILE).exists():
            return Event.DONE
        self._pause(HOLD_LOOK_S, f"on hold: the file {HOLD_FILE} is in the state folder")
        return Event.AGAIN

    def _entropy(self) -> Event:
        if not self._readiness.ready():
            self._say_waiting(LOOK_S, WAITING)
            self._readiness.wait()
            return Event.AGAIN
        event = self._resume()
        return event if event is Event.RESUME_STEADY else Event.DONE

    def _network(self) -> Event:
        if self._serving.has_pair():
            self._serving.show_page()
        self._converse().connect()
        event = self._resume()
        return event if event in {Event.RESUME_ENROL, Event.RESUME_CERTIFICATE} else Event.DONE

    def _hello(self) -> Event:
        self._introduced = self._converse().hello()
        return Event.DONE

    def _challenge(self) -> Event:
        assert self._introduced is not None  # noqa: S101  # HELLO leads here only with it
        try:
            self._converse().accept(self._introduced)
        finally:
            self._introduced = None
        return Event.DONE

    def _enrol(self) -> Event:
        answer = self._converse().enrol()
        self._backoff.reset()  # HQ can be called, whatever it says
        if isinstance(answer, messages.Granted):
            return Event.DONE
        if isinstance(answer, messages.Pending):
            more = {"pairing_code": answer.pairing_code} if answer.pairing_code else {}
            self._pause(float(answer.retry_after_s or 1), answer.reason, **more)
            return Event.AGAIN
        return self._refused(answer.reason, final=answer.final, retry_after_s=answer.retry_after_s)

    def _certificate(self) -> Event:
        began = self._parts.waiter.now()
        answer = self._converse().order()
        self._backoff.reset()  # as above
        if answer.status == "issued" and answer.chain:
            self._chain = answer.chain
            self._order_pause.reset()
            return Event.DONE
        if answer.status == "failed":
            return self._unsuccessful(f"the order failed: {answer.why or 'no reason'}", answer.retry_after_s)
        held = self._parts.waiter.now() - began
        if answer.retry_after_s:
            self._pause(float(answer.retry_after_s), answer.why or "the certificate is being obtained")
        elif held < 1.0:  # "again at once", but HQ did not hold the call: do not spin
            self._parts.waiter.wait(self._order_pause.next_s())
        return Event.AGAIN

    def _install(self) -> Event:
        assert self._chain is not None  # noqa: S101  # CERTIFICATE leads here only with it
        self._converse().install(self._chain)
        self._chain = None
        return Event.DONE

    def _verify_served(self) -> Event:
        self._serving.verify()
        return Event.DONE

    def _steady(self) -> Event:
        wait_s = self._until_checkin()
        self.close()  # HQ's connection is not kept over hours
        if self._parts.idle is not None:
            self._store.flush()
            due = self._parts.waiter.now() + wait_s
            self._parts.idle.before_wait(Handed(due=due, canary=self._readiness.canary or ""))
            wait_s = max(due - self._parts.waiter.now(), 0.0)
        self._parts.waiter.wait(wait_s)
        self._fresh_boot = False
        answer = self._converse().check_in(self._serving.look())
        self._parts.report.note(self.step.value)  # whatever was waited for is over
        self._checkin_s = max(float(answer.next_checkin_s), LEAST_CHECKIN_S)
        self._backoff.reset()
        self._anew.reset()
        event = Event.AGAIN
        if answer.cmd_seq > self._store.state.cmd_seq:
            event = self._obey([command.name for command in answer.commands], answer.cmd_seq)
        if event is Event.AGAIN and not self._serving.has_pair() and not self._store.state.held:
            return Event.RENEW  # it came here from a transaction that failed, and has nothing to be steady with
        return event

    # ---- what the steps share

    def _obey(self, names: list[str], cmd_seq: int) -> Event:
        """Act on commands whose `cmd_seq` has risen; it is durable together with what has to be done."""
        known = {"renew", "rekey", "hold", "report", "reset"}
        for name in names:
            self._parts.report.command(name, "" if name in known else " (unsupported)")
        if "reset" in names:
            return self._reset()
        renew = bool({"renew", "rekey"} & set(names))
        held = "hold" in names or (self._store.state.held and not renew)
        self._store.save(cmd_seq=cmd_seq, held=held, rekey=renew and not held)
        if "report" in names:
            self._checkin_s = LEAST_CHECKIN_S
        return Event.RENEW if renew and not held else Event.AGAIN

    def _reset(self) -> Event:
        forget(self._parts.disk, self._store)
        self._serving.as_issued = False
        self._checkin_s = None
        return Event.RESET

    def _drop_transaction(self, *, give_up: bool) -> None:
        """What is over must not be resumed, neither now nor after a power cut."""
        state = self._store.state
        rekey = state.rekey and not give_up
        if state.pending is not None or state.rekey != rekey:
            self._store.save(pending=None, rekey=rekey)

    def _refused(self, reason: str, *, final: bool, retry_after_s: int | None) -> Event:
        why = f"HQ refused this box: {reason}"
        if final:
            return self._ask_person(why, verdict=NOT_ADMITTED)
        return self._unsuccessful(why, retry_after_s, verdict=NOT_ADMITTED)

    def _unsuccessful(self, why: str, retry_after_s: int | None, verdict: str | None = None) -> Event:
        """The transaction came to nothing. A box that has a pair goes on with it, and with its check-ins."""
        if self._can_settle():
            self._parts.report.problem(why)
            return Event.SETTLE
        self._pause(self._anew.next_s(retry_after_s), why, **_as_note(verdict))
        return Event.NEW_HELLO

    def _can_settle(self) -> bool:
        """Whether the box may leave this step for STEADY: HQ knows it, and asks again for what is due."""
        asking = {Step.HELLO, Step.CHALLENGE, Step.ENROL, Step.CERTIFICATE}
        return self.step in asking and self._store.state.device_id is not None and self._serving.has_pair()

    def _ask_person(self, why: str, retry_after_s: float | None = None, verdict: str | None = None) -> Event:
        if not self._parts.patient:
            raise ConfigError(why)
        self._parts.report.problem(why)
        if self._can_settle():
            return Event.SETTLE
        self._pause(max(self._backoff.longest_s(), retry_after_s or 0.0), why, **_as_note(verdict))
        return self._try_later()

    def _try_later(self) -> Event:
        """The event with which this step is tried again: most repeat, what hangs on a transaction begins anew."""
        return Event.NEW_HELLO if self.step in {Step.CHALLENGE, Step.ENROL} else Event.AGAIN

    def _after(self, error: Exception) -> Event:
        """React to trouble in a step."""
        if isinstance(error, ProblemError):
            return self._react(error)
        if isinstance(error, (ZeroKeyError, NotReadyError)):
            if self.step is not Step.STEADY:  # a kernel may say one thing to ENTROPY and another to what follows
                self._pause(self._anew.next_s(), str(error))
            return Event.NEW_HELLO if self.step is not Step.STEADY else Event.AGAIN
        if isinstance(error, SpentKeyError):
            return self._spent(str(error))
        if isinstance(error, ConfigError):
            if self.step in {Step.LOCK, Step.HOLD, Step.ENTROPY}:
                raise error
            return self._ask_person(str(error))
        self._note_deaf()
        retry_after_s = error.retry_after_s if isinstance(error, UnreachableError) else None
        if not isinstance(error, UnreachableError):
            self._parts.report.problem(str(error))
        self._pause(self._backoff.next_s(retry_after_s), str(error))
        self._checkin_s = 0.0
        return Event.NEW_HELLO if self.step is Step.CHALLENGE else Event.AGAIN

    def _react(self, error: ProblemError) -> Event:
        problem, why = error.problem, str(error)
        self._heard_at = self._parts.waiter.now()  # a signed answer, and an acceptable one
        reaction = reaction_to(problem.type)
        conversation = self._converse()
        if self.step is Step.STEADY:
            conversation.forget_sent()
            self._checkin_s = 0.0
        if reaction is Reaction.START_OVER:
            self._parts.report.problem(why)
            if self._store.state.device_id is None:  # nothing to forget: this does not help, so it is no hurry
                self._pause(self._anew.next_s(problem.retry_after_s), why)
            return self._reset()
        if reaction is Reaction.CHECK_IN and self.step in {Step.HELLO, Step.ENROL} and self._store.state.device_id:
            self._pause(self._backoff.next_s(problem.retry_after_s), why)
            self._checkin_s = 0.0
            return Event.SETTLE
        if reaction in {Reaction.ASK_PERSON, Reaction.CHECK_IN}:
            return self._ask_person(why, problem.retry_after_s, verdict_of(problem.type))
        if reaction is Reaction.RAISE_SEQ and problem.last_seq is not None:
            if problem.last_seq >= MAX_SEQ:
                return self._spent(f"{why} (HQ remembers the highest sequence number there is)")
            conversation.signing.raise_seq(problem.last_seq)
        anew = reaction is Reaction.INTRODUCE or (reaction is Reaction.NEW_HELLO and self.step is not Step.STEADY)
        self._pause((self._anew if anew else self._backoff).next_s(problem.retry_after_s), why)
        if reaction is Reaction.INTRODUCE:
            conversation.become_unknown()
        return Event.NEW_HELLO if anew else Event.AGAIN

    def _spent(self, why: str) -> Event:
        """A key without numbers. A hello key is replaced; an identity is HQ's to change, and a person has to ask."""
        if self.step is not Step.HELLO or self._store.state.device_id is not None:
            return self._ask_person(f"{why}; HQ's operator has to make this box start over")
        if not self._converse().signing.drop_hello_key():
            return self._ask_person(f"{why}; it is this unit's factory key, and only another one helps: stamp it again")
        self._parts.report.problem(f"{why}; another hello key is made")
        self._pause(self._backoff.next_s(), why)
        return Event.NEW_HELLO

    def _note_deaf(self) -> None:
        """Count the time in which HQ gave no acceptable answer, so that one wrong date cannot last (`trust.floor`)."""
        hq, more_s = self._store.state.hq, int(self._parts.waiter.now() - self._heard_at)
        self._heard_at += more_s
        self._store.learn(dataclasses.replace(hq, deaf_s=hq.deaf_s + more_s))
        if self._store.state.hq.deaf_s // DEAF_WRITE_S > hq.deaf_s // DEAF_WRITE_S:
            self._store.save()

    def _resume(self) -> Event:
        return resume_event(self._store.state, has_pair=self._serving.has_pair())

    def _converse(self) -> Conversation:
        if self._conversation is None:
            self._conversation = self._parts.converse(self._readiness.canary or "")
        return self._conversation

    def _until_checkin(self) -> float:
        if self._checkin_s is not None:
            return min(self._checkin_s, LONGEST_WAIT_S)
        planned = min(float(self._store.state.next_checkin_s), LONGEST_WAIT_S)
        if self._fresh_boot and self._store.state.served_sha256 is not None:
            return min(planned, FIRST_CHECKIN_S * self._backoff.fraction())
        return max(planned, LEAST_CHECKIN_S)

    def _say_waiting(self, seconds: float, why: str, **more: object) -> None:
        self._parts.report.waiting(self.step.value, why, seconds, **more)

    def _pause(self, seconds: float, why: str, **more: object) -> None:
        seconds = min(seconds, LONGEST_WAIT_S)
        self._say_waiting(seconds, why, **more)
        self._parts.waiter.wait(seconds)


def _as_note(verdict: str | None) -> dict[str, str]:
    return {"verdict": verdict} if verdict else {}
