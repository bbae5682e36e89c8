"""A ledger that writes the audit log: what it found, and what the operation left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from wainwright_controller import audit
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Record

SHOWN_MAX = 20  # things that one entry names, of an operation on a whole fleet; how many more there were is said
_UNTOLD = frozenset({"id", "sequence"})  # of records: the thing's name says it
Fields = dict[str, Any]


class Witness(Ledger):
    """Notices by itself how devices and deployments change; operations `tell` the rest."""

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection, now)
        self._at_first: dict[tuple[str, str], Record] = {}
        self._deleted: set[tuple[str, str]] = set()
        self._testimony: dict[str, tuple[Fields | None, Fields | None]] = {}

    def load_devices(self, ids: Collection[str]) -> None:
        """Load devices, and remember how they were."""
        super().load_devices(ids)
        for i in ids:
            if i in self.devices:
                self._at_first.setdefault(("device", i), self.devices[i])

    def load_deployments(self, ids: Collection[str]) -> None:
        """Load deployments, and remember how they were."""
        super().load_deployments(ids)
        for i in ids:
            if i in self.deployments:
                self._at_first.setdefault(("deployment", i), self.deployments[i])

    def delete_deployment(self, deployment_id: str) -> None:
        """Remove a deployment, and remember that."""
        super().delete_deployment(deployment_id)
        self._deleted.add(("deployment", deployment_id))

    def tell(self, thing: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        """Say how a thing that is no record of the ledger changed; None where it was not, or is no more, there."""
        self._testimony[thing] = (
            dict(before) if before is not None else None,
            dict(after) if after is not None else None,
        )

    def testify(self) -> None:
        """Write the entry of the audit log, if a person asked for this transaction; to be called last."""
        about = audit.attempt.get()
        if about is None:
            return
        changes = self._changes()
        shown = dict(sorted(changes.items())[:SHOWN_MAX])
        before = {thing: fields for thing, (fields, _) in shown.items() if fields is not None}
        after: Fields = {thing: fields for thing, (_, fields) in shown.items() if fields is not None}
        if len(changes) > SHOWN_MAX:
            after["and more"] = len(changes) - SHOWN_MAX
        subject = _named(sorted(changes)) or about.subject or _named([f"device {i}" for i in sorted(self.devices)])
        audit.append(self.connection, self.now, about, subject, before=before, after=after)

    def _changes(self) -> dict[str, tuple[Fields | None, Fields | None]]:
        changes = dict(self._testimony)
        now: dict[tuple[str, str], Record] = {("device", i): device for i, device in self.devices.items()}
        now |= {("deployment", i): deployment for i, deployment in self.deployments.items()}
        for key, record in now.items():
            found = self._at_first.get(key)
            if key in self._deleted:
                changes[" ".join(key)] = (_all_of(record), None)
            elif found is None:
                changes[" ".join(key)] = (None, _all_of(record))
            elif found != record:
                changes[" ".join(key)] = _differing(found, record)
        return changes


def _named(things: list[str]) -> str:
    more = f" and {len(things) - SHOWN_MAX} more" if len(things) > SHOWN_MAX else ""
    return ", ".join(things[:SHOWN_MAX]) + more


def _all_of(record: Record) -> Fields:
    """Return the fields of a record that have a value."""
    fields: Fields = msgspec.to_builtins(record)
    return {name: value for name, value in fields.items() if name not in _UNTOLD and value not in (None, "", {}, [])}


def _differing(before: Record, after: Record) -> tuple[Fields, Fields]:
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    names = [name for name in new if old[name] != new[name]]
    return {name: old[name] for name in names}, {name: new[name] for name in names}
