"""No query of the store walks a whole table, but for those that mean to."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.rows import admission_request, certificate, device, hello, order, unit

from otscert.domain.alert_news import Known
from otscert.domain.alerts import Alert, Severity
from otscert.domain.budget import Bucket, Level, Rank
from otscert.domain.device import DeviceState
from otscert.domain.key_index import KeyIndex
from otscert.domain.limits import LimitKind
from otscert.domain.order import OrderEvent, OrderState
from otscert.domain.quota import Quota
from otscert.domain.renewal import Window
from otscert.domain.unit import UnitState
from otscert.store.accounts import Account
from otscert.store.canaries import Canary
from otscert.store.incidents import Incident
from otscert.store.issuers import Issuer
from otscert.store.outbox import Posted
from otscert.store.processes import Process
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

WINDOW = Window(start_s=1, end_s=3, told_s=1, at_s=2)
BUCKET = Bucket(issuer="c", kind=LimitKind.ORDERS_PER_ACCOUNT, subject="")
ALERT = Alert(kind="budget.short", subject="ca", severity=Severity.WARNING, since_s=1, count=1, what="short")
KNOWN = Known(alert=ALERT, found_s=1, seen_s=1)
POSTED = Posted(id="m1", channel="mail", message="{}", created_s=1, until_s=9, next_at_s=1)
KEY = KeyIndex(spki_sha256=b"s", x_coordinate=b"x")
PROCESS = Process(id="p1", host="h", pid=1, roles="api", key_check="k", started_s=1, seen_s=1)
INCIDENT = Incident(id="i1", reason="", filter="{}", revoke_reason=None, started_s=1)


def _swept(transaction: Transaction) -> int:
    transaction.challenges.put("zone-check 1 x", "zone-check", ["v"])
    return transaction.challenges.sweep_checks(now_s=10_000)


CALLS: dict[str, Callable[[Transaction], Any]] = {
    "accounts.add": lambda t: t.accounts.add(Account(issuer="c", directory_url="u", key_sealed=b"", url=""), now_s=1),
    "accounts.get": lambda t: t.accounts.get("c"),
    "accounts.set_url": lambda t: t.accounts.set_url("c", "u"),
    "accounts.begin_key_change": lambda t: t.accounts.begin_key_change("c", b"next"),
    "zone_places.get": lambda t: t.zone_places.get("serial"),
    "zone_places.put": lambda t: t.zone_places.put("serial", 7),
    "zone_places.those": lambda t: t.zone_places.those("pushed"),
    "zone_places.drop": lambda t: t.zone_places.drop("serial"),
    "caa.values_of": lambda t: t.caa.values_of("c"),
    "accounts.give_up_key_change": lambda t: t.accounts.give_up_key_change("c", b"next"),
    "accounts.end_key_change": lambda t: t.accounts.end_key_change("c", b"next"),
    "issuers.get": lambda t: t.issuers.get("c"),
    "issuers.save": lambda t: [save(Issuer(name="c")) for save in [t.issuers.save] * 2],
    "alerts.put": lambda t: t.alerts.put(KNOWN),
    "alerts.all": lambda t: t.alerts.all(),
    "alerts.forget": lambda t: t.alerts.forget("k", ""),
    "alerts.done_s": lambda t: t.alerts.done_s("looked"),
    "alerts.set_done": lambda t: (
        t.alerts.set_done("looked", seen_s=None, at_s=1),
        t.alerts.set_done("looked", seen_s=1, at_s=2),
    ),
    "outbox.add": lambda t: t.outbox.add(POSTED),
    "outbox.due": lambda t: t.outbox.due("mail", now_s=1, limit=3),
    "outbox.waiting": lambda t: t.outbox.waiting(),
    "outbox.claim": lambda t: t.outbox.claim(POSTED, until_s=9),
    "outbox.sent": lambda t: t.outbox.sent("m1", now_s=1),
    "outbox.failed": lambda t: t.outbox.failed("m1", problem="", next_at_s=1),
    "outbox.overdue": lambda t: t.outbox.overdue(now_s=1, limit=3),
    "outbox.give_up": lambda t: t.outbox.give_up("m1", problem="late", now_s=1),
    "outbox.last_sent_s": lambda t: t.outbox.last_sent_s("mail"),
    "outbox.given_up": lambda t: t.outbox.given_up("mail", after_s=1),
    "outbox.sweep": lambda t: t.outbox.sweep(before_s=1),
    "devices.add": lambda t: t.devices.add(device()),
    "devices.get": lambda t: t.devices.get("d1"),
    "devices.find": lambda t: t.devices.find("S1"),
    "devices.near": lambda t: t.devices.near("S1", each=3),
    "devices.page": lambda t: t.devices.page(after_id="", limit=10),
    "devices.names_after": lambda t: t.devices.names_after("label1", limit=10),
    "devices.tally": lambda t: t.devices.tally("box"),
    "devices.save": lambda t: t.devices.save(device(), seen_token_hash=b"token"),
    "devices.count_unserved": lambda t: t.devices.count_unserved("d1"),
    "devices.checkin_answer": lambda t: t.devices.checkin_answer("d1"),
    "devices.remember_checkin": lambda t: t.devices.remember_checkin("d1", b""),
    "orders.add": lambda t: t.orders.add(order()),
    "orders.move_to": lambda t: t.orders.move_to(order(), "other"),
    "orders.fails_since": lambda t: t.orders.fails_since(order(), 1),
    "orders.get": lambda t: t.orders.get("o1"),
    "orders.by_txid": lambda t: t.orders.by_txid("t1"),
    "orders.of_device": lambda t: t.orders.of_device("d1", limit=3),
    "orders.page": lambda t: t.orders.page(after_id="", limit=3),
    "buckets.levels": lambda t: t.buckets.levels([BUCKET]),
    "buckets.former": lambda t: t.buckets.former("d1", "c"),
    "buckets.keep": lambda t: t.buckets.keep({BUCKET: 1}),
    "buckets.park": lambda t: t.buckets.park(BUCKET, Level(tat_ms=1, parked_until_s=1, reason="")),
    "buckets.of_issuer": lambda t: t.buckets.of_issuer("c"),
    "buckets.sweep": lambda t: t.buckets.sweep(now_s=1),
    "queue.wait": lambda t: t.queue.wait(order(), bucket=BUCKET.name, next_at_s=1, reason=""),
    "queue.buckets": lambda t: t.queue.buckets(),
    "queue.first": lambda t: t.queue.first(BUCKET.name, limit=3, now_s=1, by="p1"),
    "queue.best_rank": lambda t: t.queue.best_rank(BUCKET.name),
    "queue.last_turn_s": lambda t: t.queue.last_turn_s(BUCKET.name, rank=Rank.ROUTINE),
    "queue.counts": lambda t: t.queue.counts(),
    "orders.due": lambda t: t.orders.due(now_s=1000, limit=3, by="p1"),
    "orders.next_due_s": lambda t: t.orders.next_due_s(besides=("o2", "o3"), now_s=1000, by="p1"),
    "processes.put": lambda t: t.processes.put(PROCESS),
    "processes.seen_since": lambda t: t.processes.seen_since(1),
    "processes.leave": lambda t: t.processes.leave("p1"),
    "processes.forget": lambda t: t.processes.forget(seen_before_s=1, seen_after_s=9),
    "caa.put": lambda t: t.caa.put("le", ["letsencrypt.org"]),
    "caa.of": lambda t: t.caa.of(["le"]),
    "persist.put": lambda t: t.persist.put("le", ["letsencrypt.org; accounturi=https://ca.example/1"]),
    "persist.of": lambda t: t.persist.of(["le"]),
    "duties.take": lambda t: t.duties.take("sweeping", by="p1", now_s=1, until_s=2),
    "duties.holder": lambda t: t.duties.holder("sweeping", now_s=1),
    "duties.all": lambda t: t.duties.all(),
    "duties.give_back": lambda t: t.duties.give_back("sweeping", by="p1"),
    "devices.labels": lambda t: t.devices.labels(after="a", limit=3),
    "zone_changes.forget": lambda t: t.zone_changes.forget(),
    "zone_changes.note": lambda t: t.zone_changes.note("label1"),
    "zone_changes.note_not_serving": lambda t: t.zone_changes.note_not_serving("d"),
    "zone_changes.note_device": lambda t: t.zone_changes.note_device("d1", state="x", addresses="", in_dns=1, serves=0),
    "zone_changes.note_state": lambda t: t.zone_changes.note_state("d1", "x"),
    "zone_changes.note_in_dns": lambda t: t.zone_changes.note_in_dns("d1", 0),
    "zone_changes.last": lambda t: t.zone_changes.last(),
    "zone_changes.is_known": lambda t: (t.zone_changes.is_known(0), t.zone_changes.is_known(1)),
    "zone_changes.after": lambda t: t.zone_changes.after(1, limit=3),
    "zone_changes.content": lambda t: t.zone_changes.content("label1"),
    "zone_changes.sweep": lambda t: t.zone_changes.sweep(),
    "orders.oldest_due_s": lambda t: t.orders.oldest_due_s(),
    "orders.lease": lambda t: t.orders.lease([order()], by="p1", until_s=1),
    "orders.renew_leases": lambda t: t.orders.renew_leases(by="p1", until_s=1),
    "orders.lost": lambda t: t.orders.lost(["o1", "o2"], by="p1"),
    "orders.free_leases": lambda t: t.orders.free_leases(by="p1"),
    "orders.bring_back": lambda t: t.orders.bring_back(from_s=1000, now_s=1),
    "orders.unfinished": lambda t: t.orders.unfinished("d1"),
    "orders.url_known": lambda t: t.orders.url_known("u"),
    "orders.postpone": lambda t: t.orders.postpone(order(), next_at_s=1, reason=""),
    "orders.advance": lambda t: t.orders.advance(order(), OrderEvent.CLAIM),
    "certificates.add": lambda t: t.certificates.add(certificate()),
    "certificates.get": lambda t: t.certificates.get("00"),
    "certificates.newest": lambda t: t.certificates.newest("d1"),
    "certificates.last": lambda t: t.certificates.last("d1"),
    "certificates.of_device": lambda t: t.certificates.of_device("00", device_id="d1"),
    "certificates.seen_served": lambda t: t.certificates.seen_served("00", device_id="d1", now_s=1),
    "challenges.put": lambda t: t.challenges.put("o1", "label", ["v"]),
    "challenges.of_checks": lambda t: t.challenges.of_checks(),
    "challenges.sweep_checks": _swept,
    "challenges.drop": lambda t: t.challenges.drop("o1"),
    "events.append": lambda t: t.events.append("k", now_s=1),
    "events.sweep": lambda t: t.events.sweep(before_s=1),
    "hellos.sweep_d0": lambda t: t.hellos.sweep_d0(now_s=1),
    "events.of_device": lambda t: t.events.of_device("d1", limit=3),
    "names.reserve": lambda t: t.names.reserve("label1", txid="t1"),
    "hellos.remember_d0": lambda t: t.hellos.remember_d0(b"d", until_s=1),
    "hellos.add": lambda t: t.hellos.add(hello()),
    "hellos.get": lambda t: t.hellos.get("t1"),
    "hellos.enrolled": lambda t: t.hellos.enrolled("t1", csr_sha256=b"", identity="i", expires_at_s=9),
    "names.give": lambda t: t.names.give("label1", device_id="d1"),
    "hellos.end_oldest": lambda t: t.hellos.end_oldest("k", keep=0),
    "hellos.sweep": lambda t: t.hellos.sweep(now_s=1),
    "keys.record": lambda t: t.keys.record("k", alg="", raw=b"", seq=1, digest=b"", answer=None, now_s=1),
    "keys.get": lambda t: t.keys.get("k"),
    "keys.bind": lambda t: t.keys.bind("k", "d1"),
    "keys.sweep": lambda t: t.keys.sweep(created_before_s=1),
    "verified_keys.holder": lambda t: t.verified_keys.holder(KEY),
    "verified_keys.compromise": lambda t: t.verified_keys.compromise(b"s", now_s=1),
    "verified_keys.compromised": lambda t: t.verified_keys.compromised(KEY),
    "incidents.add": lambda t: t.incidents.add(INCIDENT),
    "incidents.get": lambda t: t.incidents.get("i1"),
    "incidents.running": lambda t: t.incidents.running(),
    "incidents.page": lambda t: t.incidents.page(limit=3),
    "incidents.looked_through": lambda t: t.incidents.looked_through("i1", place="d", marked=1, idle=0, all_s=None),
    "incidents.look_again": lambda t: t.incidents.look_again("i1"),
    "incidents.end": lambda t: t.incidents.end("i1", now_s=1),
    "incidents.of_devices": lambda t: (
        t.incidents.of_devices(after_id="", model="box", now_s=1, limit=3),
        t.incidents.of_devices(after_id="", model=None, now_s=1, limit=3),
    ),
    "incidents.of_serials": lambda t: t.incidents.of_serials(["a", "b"], now_s=1),
    "incidents.of_key": lambda t: t.incidents.of_key(b"s", now_s=1),
    "incidents.of_certificate": lambda t: t.incidents.of_certificate("00"),
    "incidents.mark": lambda t: t.incidents.mark("00", "i1"),
    "incidents.replaced": lambda t: t.incidents.replaced("00", "i1"),
    "incidents.released": lambda t: t.incidents.released("00", "i1"),
    "incidents.forget_mark": lambda t: t.incidents.forget_mark("00"),
    "incidents.with_marks": lambda t: t.incidents.with_marks(),
    "incidents.marked_of": lambda t: t.incidents.marked_of("d1"),
    "incidents.marked": lambda t: t.incidents.marked("i1", after=("", ""), limit=3),
    "verified_keys.add": lambda t: t.verified_keys.add(
        KEY, device_id="d1", kind="k", contribution="o", source="s", now_s=1
    ),
    "moduli.add": lambda t: t.moduli.add(15, spki_sha256=b"s", device_id="d1"),
    "moduli.after": lambda t: t.moduli.after(0, limit=3),
    "moduli.between": lambda t: t.moduli.between(1, 2),
    "devices.of_unit": lambda t: t.devices.of_unit("u1"),
    "devices.set_state": lambda t: t.devices.set_state("d1", DeviceState.QUARANTINED),
    "certificates.count": lambda t: t.certificates.count("d1"),
    "certificates.replace_all": lambda t: t.certificates.replace_all("d1"),
    "certificates.beginning": lambda t: t.certificates.beginning("00", limit=2),
    "certificates.ending": lambda t: t.certificates.ending(from_s=1, after=None, limit=3),
    "certificates.all_of": lambda t: t.certificates.all_of("d1", limit=3),
    "certificates.came_late": lambda t: t.certificates.came_late(after=(0, ""), until_s=1, limit=3),
    "certificates.ari_due": lambda t: t.certificates.ari_due(now_s=1, limit=3),
    "certificates.ari_claim": lambda t: t.certificates.ari_claim(certificate(ari_next_poll_s=1), next_poll_s=2),
    "certificates.ari_told": lambda t: t.certificates.ari_told("00", WINDOW, explanation=None, next_poll_s=1),
    "certificates.ari_ask_at": lambda t: t.certificates.ari_ask_at("00", next_poll_s=1),
    "certificates.ari_strayed": lambda t: t.certificates.ari_strayed(from_s=1),
    "certificates.ari_bring_back": lambda t: t.certificates.ari_bring_back(from_s=1, now_s=1),
    "challenges.drop_of": lambda t: t.challenges.drop_of("label1"),
    "devices.of_serial": lambda t: t.devices.of_serial("S1", limit=2),
    "devices.retired_in_dns": lambda t: t.devices.retired_in_dns(limit=3),
    "devices.silent_in_dns": lambda t: t.devices.silent_in_dns(seen_before_s=1, limit=3),
    "devices.leave_dns": lambda t: t.devices.leave_dns("d1"),
    "devices.seen": lambda t: t.devices.seen("d1", now_s=1),
    "orders.unfinished_of": lambda t: t.orders.unfinished_of("d1"),
    "orders.wake": lambda t: t.orders.wake("d1", now_s=1),
    "orders.drop_replaces": lambda t: t.orders.drop_replaces(order(state=OrderState.CREATING)),
    "orders.raise_rank": lambda t: t.orders.raise_rank("d1", Rank.EXPIRING),
    "orders.rest": lambda t: t.orders.rest(order(state=OrderState.CREATING), next_at_s=1, reason=""),
    "units.named": lambda t: (t.units.named("S1"), t.units.named("short1")),
    "units.add_many": lambda t: t.units.add_many([unit()], now_s=1),
    "units.by_thumbprint": lambda t: t.units.by_thumbprint("u1"),
    "units.by_serial": lambda t: t.units.by_serial("box", "S1"),
    "units.enrolled": lambda t: t.units.enrolled("u1", device_id="d1", fingerprint="f"),
    "units.set_state": lambda t: t.units.set_state("u1", UnitState.BLOCKED),
    "units.forget_board": lambda t: t.units.forget_board("u1"),
    "units.block_serial": lambda t: t.units.block_serial("box", "S1", reason="", now_s=1),
    "units.unblock_serial": lambda t: t.units.unblock_serial("box", "S1"),
    "units.blocked": lambda t: t.units.blocked("box", "S1"),
    "requests.put": lambda t: t.requests.put(admission_request()),
    "requests.get": lambda t: t.requests.get("t1"),
    "requests.by_code": lambda t: t.requests.by_code(b"code"),
    "requests.by_last_code": lambda t: t.requests.by_last_code(b"code"),
    "requests.page": lambda t: t.requests.page(limit=3),
    "requests.of_unit": lambda t: t.requests.of_unit("box", "S1", unit="u1"),
    "requests.webhook_due": lambda t: t.requests.webhook_due("box", now_s=1, limit=3),
    "requests.webhook_next_s": lambda t: t.requests.webhook_next_s("box", besides=("t2", "t3")),
    "hellos.end": lambda t: t.hellos.end("t1"),
    "requests.oldest_of_unit": lambda t: t.requests.oldest_of_unit("u1", besides=3),
    "requests.sweep": lambda t: t.requests.sweep(seen_before_s=1, asked_before_s=1),
    "requests.end": lambda t: t.requests.end("t1"),
    "canaries.enter": lambda t: t.canaries.enter("00", Canary(device_id="d1", boot=1, model="box"), now_s=1),
    "canaries.others": lambda t: t.canaries.others("00", Canary(device_id="d1", boot=1, model="box"), limit=3),
    "canaries.sweep": lambda t: t.canaries.sweep(before_s=1),
    "canaries.mark": lambda t: t.canaries.mark("box", "rng.repeats", now_s=1, data={}),
    "canaries.marks": lambda t: t.canaries.marks("box"),
    "canaries.clear": lambda t: t.canaries.clear("box", "rng.repeats"),
    "revocations.ask": lambda t: t.revocations.ask(f"{1:064x}", reason=5, now_s=1),
    "revocations.outcome": lambda t: t.revocations.outcome("00"),
    "revocations.due": lambda t: t.revocations.due(now_s=1, limit=3),
    "revocations.bring_back": lambda t: t.revocations.bring_back(from_s=1000, now_s=1),
    "revocations.done": lambda t: t.revocations.done("00", now_s=1),
    "revocations.failed": lambda t: t.revocations.failed("00", problem="", next_at_s=1),
    "units.batches": lambda t: t.units.batches(after="", limit=3),
    "units.of_batch": lambda t: t.units.of_batch("first", after=unit(), limit=3),
    "units.like": lambda t: t.units.like([unit(1), unit(2)]),
    "events.last_s": lambda t: t.events.last_s("k"),
    "quotas.spend": lambda t: t.quotas.spend("b", Quota(count=1, period_s=1), now_ms=1),
    "quotas.ask": lambda t: t.quotas.ask("b", Quota(count=1, period_s=1), now_ms=1),
    "quotas.sweep": lambda t: t.quotas.sweep(now_ms=1),
}
TROUBLE: dict[str, Callable[[Transaction], Any]] = {
    "trouble.late": lambda t: t.trouble.late(now_s=1, calling_since_s=1, ordered_before_s=1),
    "trouble.lapsed": lambda t: t.trouble.lapsed(now_s=1, calling_since_s=1, ordered_before_s=1),
    "trouble.away": lambda t: t.trouble.away(now_s=1, calling_since_s=1),
    "trouble.not_served": lambda t: t.trouble.not_served(issued_before_s=1, called_after_s=1),
    "trouble.held_back": lambda t: t.trouble.held_back(),
    "trouble.unattended": lambda t: t.trouble.unattended(due_before_s=1, now_s=1),
    "trouble.old_orders": lambda t: t.trouble.old_orders(made_before_s=1),
    "trouble.frozen": lambda t: t.trouble.frozen(),
    "trouble.waiters": lambda t: t.trouble.waiters(),
    "trouble.first_event_since": lambda t: t.trouble.first_event_since(1),
    "trouble.count_events": lambda t: t.trouble.count_events("k", from_id=1),
    "trouble.boxes_of_events": lambda t: t.trouble.boxes_of_events("k", from_id=1),
    "trouble.why_parked": lambda t: t.trouble.why_parked("ca orders-per-account"),
}
"""What alerting counts in a thread: rows are read of those who are in trouble, and of nobody else."""
OF_FEW = (
    "SEARCH n USING COVERING INDEX newest_certificate_due",  # boxes whose certificate is due
    "SEARCH n USING INDEX sqlite_autoindex_newest_certificate_1",
    "SEARCH d USING INDEX sqlite_autoindex_device_1",
    "SEARCH d USING INDEX device_not_served",  # between a certificate's issue and the box's next call
    "SEARCH device USING",  # frozen ones, and those that are held back
    "SEARCH o USING INDEX cert_order_by_device",
    "SCAN o USING INDEX cert_order_unfinished",
    "SEARCH cert_order USING INDEX cert_order_next",
    "SEARCH cert_order USING INDEX cert_order_waits",
    "SEARCH event USING",
    "SEARCH bucket USING",
)
MEANT: dict[str, Callable[[Transaction], Any]] = {
    "devices.names": lambda t: list(t.devices.names()),
    "challenges.all": lambda t: t.challenges.all(),
}

COUNTED: dict[str, Callable[[Transaction], Any]] = {
    "incidents.devices": lambda t: (t.incidents.devices(None), t.incidents.devices("box")),
    "statistics.devices": lambda t: t.statistics.devices(),
    "statistics.silent": lambda t: t.statistics.silent(seen_before_s=1),
    "statistics.unserved": lambda t: t.statistics.unserved(),
    "statistics.orders": lambda t: t.statistics.orders(),
    "statistics.certificates": lambda t: t.statistics.certificates(now_s=1),
    "statistics.ending": lambda t: t.statistics.ending(now_s=1, within_s=1),
    "statistics.due": lambda t: t.statistics.due(now_s=1, calling_since_s=1),
    "statistics.asked_persons": lambda t: t.statistics.asked_persons(),
    "statistics.asked_webhooks": lambda t: t.statistics.asked_webhooks(),
    "statistics.revocations": lambda t: t.statistics.revocations(),
    "statistics.last_event": lambda t: t.statistics.last_event(),
    "statistics.events": lambda t: t.statistics.events(after_id=1, until_id=2),
    "statistics.last_issued": lambda t: t.statistics.last_issued(),
}
"""Counts for the metrics, in a thread: they may walk an index that holds all they ask for, but no table."""
FEW_ROWS = (
    "SEARCH d USING INDEX sqlite_autoindex_device_1",  # boxes whose certificate is due
    "SEARCH event USING INTEGER PRIMARY KEY",  # what happened since the last look
    "SEARCH event USING INDEX event_by_kind",  # a page of them
    "SEARCH event",  # the last one
    "SCAN admission_request USING INDEX admission_request_webhook",  # those that wait; quotas bound them
)
"""Where rows are read after all."""


class Explaining:
    """A connection that asks for the plan of each statement before it runs it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.IntegrityError = connection.IntegrityError
        self.plans: list[tuple[str, str]] = []
        self.asked = 0

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> sqlite3.Cursor:
        if sql.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
            rows = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
            self.asked += 1
            self.plans.extend((sql, row[3]) for row in rows)
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        for row in rows:
            self.execute(sql, row)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")
    yield store
    await store.close()


def scans(explaining: Explaining) -> list[tuple[str, str]]:
    # "SCAN CONSTANT ROW" is an INSERT; a scan that names an index in its own order ends at LIMIT.
    return [
        (sql, plan)
        for sql, plan in explaining.plans
        if plan.startswith("SCAN") and "CONSTANT ROW" not in plan and not ("USING" in plan and "LIMIT" in sql)
    ]


async def test_every_query_goes_by_an_index(store: SqliteStore) -> None:
    explaining = Explaining(store._writer)

    for name, call in CALLS.items():
        before = explaining.asked
        call(Transaction(explaining, shared=True))
        assert not scans(explaining), name
        assert explaining.asked > before, name


@pytest.mark.parametrize("name", COUNTED)
async def test_what_is_counted_is_read_from_indexes_alone(store: SqliteStore, name: str) -> None:
    explaining = Explaining(store._writer)
    COUNTED[name](Transaction(explaining))
    assert explaining.asked
    tables = [
        plan
        for _, plan in explaining.plans
        if plan.startswith(("SCAN", "SEARCH")) and "COVERING INDEX" not in plan and "CONSTANT ROW" not in plan
    ]
    assert [plan for plan in tables if not plan.startswith(FEW_ROWS[:3]) and plan not in FEW_ROWS] == []


@pytest.mark.parametrize("name", TROUBLE)
async def test_alerting_reads_the_rows_of_those_in_trouble_alone(store: SqliteStore, name: str) -> None:
    explaining = Explaining(store._writer)
    TROUBLE[name](Transaction(explaining))
    assert explaining.asked
    read = [plan for _, plan in explaining.plans if plan.startswith(("SCAN", "SEARCH"))]
    assert [plan for plan in read if not plan.startswith(OF_FEW)] == []


@pytest.mark.parametrize("name", MEANT)
async def test_what_reads_everything_does_so_at_the_start_only(store: SqliteStore, name: str) -> None:
    explaining = Explaining(store._writer)
    MEANT[name](Transaction(explaining))
    assert scans(explaining)


def test_every_method_of_every_repository_is_looked_at() -> None:
    methods = {
        f"{name}.{method}"
        for name, repository in vars(Transaction).items()
        if hasattr(repository, "func")
        for method in vars(repository.func(_Nothing()).__class__)
        if not method.startswith("_")
    }
    assert methods == CALLS.keys() | MEANT.keys() | COUNTED.keys() | TROUBLE.keys()


class _Nothing:
    _shared = True
    zone_changes = None

    class _connection:  # noqa: N801 - stands in for the attribute
        execute = None
        executemany = None
        IntegrityError = None
