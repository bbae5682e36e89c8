"""The records that one cause is about, loaded once and kept in memory while the rules work on them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, select

from wainwright_common.statuses import FINISHED
from wainwright_controller.records import Artifact, Deployment, Device, DeviceDeployment, Phase
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, DEVICE, PART, PHASE, all_parts, from_row, in_chunks
from wainwright_controller.rules.selection import Candidate

Key = tuple[str, str]
"""A device deployment: (deployment id, device id)."""


class WorkingSet:
    """Loads records; what is loaded stays as it is here, whatever the store says later."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.devices: dict[str, Device] = {}
        self.parts: dict[Key, DeviceDeployment] = {}
        self.deployments: dict[str, Deployment] = {}
        self.phases: dict[str, list[Phase]] = {}
        self.artifacts: dict[str, list[Artifact]] = {}
        self._open: dict[str, list[Key]] = {}

    def load_devices(self, ids: Collection[str]) -> None:
        """Load the devices that exist among `ids`."""
        wanted = [i for i in ids if i not in self.devices]
        for chunk in in_chunks(wanted):
            for row in self.connection.execute(select(DEVICE).where(DEVICE.c.id.in_(chunk))).mappings():
                self.devices[row["id"]] = from_row(Device, row)

    def load_open_parts(self, device_ids: Collection[str]) -> None:
        """Load all unfinished parts of these devices, with their deployments."""
        wanted = [i for i in device_ids if i not in self._open]
        for chunk in in_chunks(wanted):
            self._open.update((i, []) for i in chunk)
            self._keep_parts(PART.c.device_id.in_(chunk), PART.c.finished_at.is_(None))
        self.load_deployments({key[0] for i in wanted for key in self._open[i]})

    def load_parts(self, keys: Collection[Key]) -> None:
        """Load the parts that exist among `keys`, finished or not, with their deployments."""
        wanted = [key for key in keys if key not in self.parts]
        if not wanted:
            return
        deployments = {deployment for deployment, _ in wanted}
        for chunk in in_chunks(sorted({device for _, device in wanted})):
            self._keep_parts(PART.c.device_id.in_(chunk), PART.c.deployment_id.in_(deployments))
        self.load_deployments(deployments)

    def _keep_parts(self, *where: ColumnElement[bool]) -> None:
        for part in all_parts(self.connection, *where):
            key = (part.deployment_id, part.device_id)
            if key in self.parts:
                continue
            self.parts[key] = part
            if part.finished_at is None and part.device_id in self._open:
                self._open[part.device_id].append(key)

    def load_deployments(self, ids: Collection[str]) -> None:
        """Load the deployments that exist among `ids`, with their phases and the artifacts of their releases."""
        wanted = [i for i in ids if i not in self.deployments]
        if not wanted:
            return
        for chunk in in_chunks(wanted):
            for row in self.connection.execute(select(DEPLOYMENT).where(DEPLOYMENT.c.id.in_(chunk))).mappings():
                self.deployments[row["id"]] = from_row(Deployment, row)
                self.phases[row["id"]] = []
            phases = select(PHASE).where(PHASE.c.deployment_id.in_(chunk)).order_by(PHASE.c.number)
            for row in self.connection.execute(phases).mappings():
                self.phases[row["deployment_id"]].append(from_row(Phase, row))
        names = {self.deployments[i].artifact_name for i in wanted if i in self.deployments} - self.artifacts.keys()
        self.artifacts.update((name, []) for name in names)
        for chunk in in_chunks(sorted(names)):
            for row in self.connection.execute(select(ARTIFACT).where(ARTIFACT.c.name.in_(chunk))).mappings():
                self.artifacts[row["name"]].append(from_row(Artifact, row))

    def candidates(self, device_id: str) -> list[Candidate]:
        """Return the unfinished parts of a device that `load_open_parts` has loaded, as they stand now."""
        result = []
        for key in self._open.get(device_id, []):
            part, deployment = self.parts[key], self.deployments[key[0]]
            if part.status not in FINISHED:
                artifacts = self.artifacts[deployment.artifact_name]
                result.append(Candidate(part, deployment, self.phases[key[0]], artifacts))
        return result
