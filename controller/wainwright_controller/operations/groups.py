"""Groups. A static one is a list, and a device is in at most one of those; a dynamic one is a filter.

What a group is, it stays: its members are changed by `add` and `remove`, or by another filter.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update

from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator, group_filter, listed
from wainwright_controller.operations.witness import SHOWN_MAX, Witness
from wainwright_controller.rows import (
    GROUP,
    MEMBER,
    in_chunks,
)
from wainwright_controller.rules.actions import Refused
from wainwright_controller.rules.filters import Filter


class GroupOperations(Operator):
    """What operators do with groups."""

    def create_group(self, name: str, device_ids: Sequence[str], actor: str, where: Filter | None = None) -> None:
        """Make a static group, to which a device that is in another moves over; with `where`, a dynamic one."""
        with self._transaction() as ledger:
            if ledger.connection.execute(select(GROUP.c.name).where(GROUP.c.name == name)).first():
                raise Refused("group-exists", f"There is a group {name} already: change it, or delete it.")
            row = {"name": name, "created_at": ledger.now, "filter": where.text if where else None}
            ledger.connection.execute(insert(GROUP), row)
            if where is not None:
                ledger.tell(f"group {name}", None, {"filter": where.text})
                ledger.note("group", f"group {name} created: {where.text}", actor)
                return
            self._join(ledger, name, device_ids)
            ledger.tell(f"group {name}", None, _members(ledger, name) | {"added": _few(device_ids)})
            ledger.note("group", f"group {name} created with {len(device_ids)} devices", actor)

    def change_group(self, name: str, where: Filter, actor: str) -> None:
        """Give a dynamic group another filter."""
        with self._transaction() as ledger:
            before = group_filter(ledger.connection, name)
            if before is None:
                raise Refused(
                    "group-static", f"Group {name} is a list: add or remove devices, or make another group by a filter."
                )
            ledger.connection.execute(update(GROUP).where(GROUP.c.name == name).values(filter=where.text))
            ledger.tell(f"group {name}", {"filter": before}, {"filter": where.text})
            ledger.note("group", f"group {name} changed: {where.text}", actor)

    def add_to_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Add devices to a static group; a device that is in another moves over."""
        with self._transaction() as ledger:
            self._check_static(ledger, name)
            before = _members(ledger, name)
            self._join(ledger, name, device_ids)
            after = _members(ledger, name)
            ledger.tell(f"group {name}", before, after | {"added": _few(device_ids)})
            ledger.note("group", f"{len(device_ids)} devices added to group {name}", actor)

    def remove_from_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Take devices out of a static group; running deployments keep them."""
        with self._transaction() as ledger:
            self._check_static(ledger, name)
            before = _members(ledger, name)
            for chunk in in_chunks(device_ids):
                members = delete(MEMBER).where(MEMBER.c.group_name == name, MEMBER.c.device_id.in_(chunk))
                ledger.connection.execute(members)
            after = _members(ledger, name)
            ledger.tell(f"group {name}", before, after | {"removed": _few(device_ids)})
            ledger.note("group", f"{len(device_ids)} devices removed from group {name}", actor)

    def delete_group(self, name: str, actor: str) -> None:
        """Delete a group; its devices stay, and running deployments keep them."""
        with self._transaction() as ledger:
            where = group_filter(ledger.connection, name)
            before = {"filter": where} if where is not None else _members(ledger, name)
            ledger.tell(f"group {name}", before, None)
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.group_name == name))
            ledger.connection.execute(delete(GROUP).where(GROUP.c.name == name))
            ledger.note("group", f"group {name} deleted", actor)

    @staticmethod
    def _check_static(ledger: Ledger, name: str) -> None:
        where = group_filter(ledger.connection, name)
        if where is not None:
            raise Refused(
                "group-dynamic",
                f"The members of group {name} follow from its filter, {where}: change the filter, or tag the devices.",
            )

    def _join(self, ledger: Ledger, name: str, device_ids: Sequence[str]) -> None:
        ledger.load_devices(device_ids)
        unknown = [i for i in device_ids if i not in ledger.devices]
        if unknown:
            raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
        for chunk in in_chunks(list(dict.fromkeys(device_ids))):
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.device_id.in_(chunk)))
            ledger.connection.execute(insert(MEMBER), [{"device_id": i, "group_name": name} for i in chunk])


def _members(ledger: Witness, name: str) -> dict[str, object]:
    query = select(func.count()).select_from(MEMBER).where(MEMBER.c.group_name == name)
    return {"devices": ledger.connection.execute(query).scalar_one()}


def _few(device_ids: Sequence[str]) -> list[str]:
    """Return the first of many ids: how many there are in all, the counts before and after say."""
    return list(device_ids[:SHOWN_MAX])
