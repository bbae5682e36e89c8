"""Static groups: lists of devices, each device in at most one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator, listed
from wainwright_controller.rows import (
    GROUP,
    MEMBER,
    in_chunks,
)
from wainwright_controller.rules.actions import Refused


class GroupOperations(Operator):
    """What operators do with groups."""

    def create_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Make a static group; a device that is in another moves over."""
        with self._transaction() as ledger:
            if ledger.connection.execute(select(GROUP.c.name).where(GROUP.c.name == name)).first():
                raise Refused("group-exists", f"There is a group {name} already: add devices to it, or delete it.")
            ledger.connection.execute(insert(GROUP), {"name": name, "created_at": ledger.now})
            self._join(ledger, name, device_ids)
            ledger.note("group", f"group {name} created with {len(device_ids)} devices", actor)

    def add_to_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Add devices to a static group; a device that is in another moves over."""
        with self._transaction() as ledger:
            self._group(ledger.connection, name)
            self._join(ledger, name, device_ids)
            ledger.note("group", f"{len(device_ids)} devices added to group {name}", actor)

    def remove_from_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Take devices out of a static group; running deployments keep them."""
        with self._transaction() as ledger:
            self._group(ledger.connection, name)
            for chunk in in_chunks(device_ids):
                members = delete(MEMBER).where(MEMBER.c.group_name == name, MEMBER.c.device_id.in_(chunk))
                ledger.connection.execute(members)
            ledger.note("group", f"{len(device_ids)} devices removed from group {name}", actor)

    def delete_group(self, name: str, actor: str) -> None:
        """Delete a static group; its devices stay, and running deployments keep them."""
        with self._transaction() as ledger:
            self._group(ledger.connection, name)
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.group_name == name))
            ledger.connection.execute(delete(GROUP).where(GROUP.c.name == name))
            ledger.note("group", f"group {name} deleted", actor)

    def _join(self, ledger: Ledger, name: str, device_ids: Sequence[str]) -> None:
        ledger.load_devices(device_ids)
        unknown = [i for i in device_ids if i not in ledger.devices]
        if unknown:
            raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
        for chunk in in_chunks(list(dict.fromkeys(device_ids))):
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.device_id.in_(chunk)))
            ledger.connection.execute(insert(MEMBER), [{"device_id": i, "group_name": name} for i in chunk])
