"""Tags of devices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import delete, insert, select

from wainwright_controller.attribute_store import Source, load_tags, put_attributes, sql_of
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator, listed
from wainwright_controller.rows import DEVICE, TAG, in_chunks
from wainwright_controller.rules import tags
from wainwright_controller.rules.filters import Filter
from wainwright_controller.rules.filters.attributes import scoped
from wainwright_controller.rules.filters.terms import Scope


class TagOperations(Operator):
    """What operators do with tags."""

    def change_tags(
        self, chosen: Sequence[str] | Filter, given: Mapping[str, str], removed: Collection[str], actor: str
    ) -> list[str]:
        """Give and remove tags, of devices by their ids or by a filter; returns the ids of those that it changes.

        They are woken, because a deployment may concern them now. Raises BadTag, and NotFound when an id is unknown.
        """
        tags.check(given, removed)
        with self._transaction() as ledger:
            ids = _chosen(ledger, chosen)
            before = load_tags(ledger.connection, ids)
            after = {i: tags.changed(i, before.get(i, {}), given, removed) for i in ids}
            changed = [i for i in ids if after[i] != before.get(i, {})]
            for device_id in changed:
                text = _difference(before.get(device_id, {}), after[device_id])
                ledger.note("tags", text, actor, device_id=device_id)
                ledger.tell(f"tags of {device_id}", before.get(device_id, {}), after[device_id])
            _write(ledger, {i: after[i] for i in changed})
            ledger.wakes += changed
        return changed


def _chosen(ledger: Ledger, chosen: Sequence[str] | Filter) -> list[str]:
    if isinstance(chosen, Filter):
        query = select(DEVICE.c.id).where(sql_of(chosen, ledger.connection)).order_by(DEVICE.c.id)
        return list(ledger.connection.execute(query).scalars())
    ids = list(dict.fromkeys(chosen))
    known: set[str] = set()
    for chunk in in_chunks(ids):
        known.update(ledger.connection.execute(select(DEVICE.c.id).where(DEVICE.c.id.in_(chunk))).scalars())
    unknown = [i for i in ids if i not in known]
    if unknown:
        raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
    return ids


def _write(ledger: Ledger, devices: Mapping[str, Mapping[str, str]]) -> None:
    for chunk in in_chunks(list(devices)):
        ledger.connection.execute(delete(TAG).where(TAG.c.device_id.in_(chunk)))
        rows = [
            {"device_id": i, "name": name, "value": value} for i in chunk for name, value in sorted(devices[i].items())
        ]
        if rows:
            ledger.connection.execute(insert(TAG), rows)
    put_attributes(ledger.connection, Source.TAGS, {i: scoped(Scope.TAGS, known) for i, known in devices.items()})


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Print what has changed, for a timeline."""
    given = [f"{name}={value}" for name, value in sorted(after.items()) if before.get(name) != value]
    removed = [f"{name} removed" for name in sorted(set(before) - set(after))]
    return f"tags: {', '.join([*given, *removed])}"
