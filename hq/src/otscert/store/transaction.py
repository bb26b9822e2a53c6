"""One transaction, seen as its aggregates: `transaction.devices`, `transaction.orders` and so on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from otscert.store.accounts import Accounts
from otscert.store.alerts import Alerts
from otscert.store.buckets import Buckets
from otscert.store.caa import CaaRecords, PersistRecords
from otscert.store.canaries import Canaries
from otscert.store.certificates import Certificates
from otscert.store.challenges import Challenges
from otscert.store.connection import Connection
from otscert.store.devices import Devices
from otscert.store.duties import Duties
from otscert.store.events import Events
from otscert.store.hellos import Hellos
from otscert.store.incidents import Incidents
from otscert.store.issuers import Issuers
from otscert.store.keys import DeviceKeys, VerifiedKeys
from otscert.store.moduli import Moduli
from otscert.store.names import Names
from otscert.store.orders import Orders
from otscert.store.outbox import Outbox
from otscert.store.processes import Processes
from otscert.store.queue import Queue
from otscert.store.quotas import Quotas
from otscert.store.requests import Requests
from otscert.store.revocations import Revocations
from otscert.store.statistics import Statistics
from otscert.store.trouble import Trouble
from otscert.store.units import Units
from otscert.store.zone_changes import ZoneChanges
from otscert.store.zone_places import ZonePlaces


class Transaction:
    """Valid only inside the function it was handed to.

    `shared`: other processes, or servers elsewhere, have the zone too and are told of changes by `zone_changes`.
    """

    def __init__(self, connection: Connection, *, shared: bool = False) -> None:
        self._connection = connection
        self._shared = shared

    @contextmanager
    def undo_on_error(self) -> Iterator[None]:
        """Undo what the block wrote when it raises, and nothing else of the transaction."""
        self._connection.execute("SAVEPOINT block")
        try:
            yield
        except Exception:
            self._connection.execute("ROLLBACK TO block")
            self._connection.execute("RELEASE block")
            raise
        self._connection.execute("RELEASE block")

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self._connection)

    @cached_property
    def buckets(self) -> Buckets:
        return Buckets(self._connection)

    @cached_property
    def alerts(self) -> Alerts:
        return Alerts(self._connection)

    @cached_property
    def caa(self) -> CaaRecords:
        return CaaRecords(self._connection, self.zone_changes)

    @cached_property
    def canaries(self) -> Canaries:
        return Canaries(self._connection)

    @cached_property
    def certificates(self) -> Certificates:
        return Certificates(self._connection)

    @cached_property
    def challenges(self) -> Challenges:
        return Challenges(self._connection, self.zone_changes)

    @cached_property
    def devices(self) -> Devices:
        return Devices(self._connection, self.zone_changes)

    @cached_property
    def duties(self) -> Duties:
        return Duties(self._connection)

    @cached_property
    def events(self) -> Events:
        return Events(self._connection)

    @cached_property
    def hellos(self) -> Hellos:
        return Hellos(self._connection)

    @cached_property
    def incidents(self) -> Incidents:
        return Incidents(self._connection)

    @cached_property
    def issuers(self) -> Issuers:
        return Issuers(self._connection)

    @cached_property
    def keys(self) -> DeviceKeys:
        return DeviceKeys(self._connection)

    @cached_property
    def moduli(self) -> Moduli:
        return Moduli(self._connection)

    @cached_property
    def names(self) -> Names:
        return Names(self._connection)

    @cached_property
    def orders(self) -> Orders:
        return Orders(self._connection)

    @cached_property
    def persist(self) -> PersistRecords:
        return PersistRecords(self._connection, self.zone_changes)

    @cached_property
    def processes(self) -> Processes:
        return Processes(self._connection)

    @cached_property
    def queue(self) -> Queue:
        return Queue(self._connection)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self._connection)

    @cached_property
    def quotas(self) -> Quotas:
        return Quotas(self._connection)

    @cached_property
    def requests(self) -> Requests:
        return Requests(self._connection)

    @cached_property
    def revocations(self) -> Revocations:
        return Revocations(self._connection)

    @cached_property
    def statistics(self) -> Statistics:
        return Statistics(self._connection)

    @cached_property
    def trouble(self) -> Trouble:
        return Trouble(self._connection)

    @cached_property
    def units(self) -> Units:
        return Units(self._connection)

    @cached_property
    def verified_keys(self) -> VerifiedKeys:
        return VerifiedKeys(self._connection)

    @cached_property
    def zone_changes(self) -> ZoneChanges:
        return ZoneChanges(self._connection, written=self._shared)

    @cached_property
    def zone_places(self) -> ZonePlaces:
        return ZonePlaces(self._connection)
