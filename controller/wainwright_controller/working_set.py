"""The records that one cause is about, loaded once and kept in memory while the rules work on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, func, select, text

from wainwright_common.messages import Attributes
from wainwright_common.statuses import FINISHED, DeviceStatus
from wainwright_controller.facts import NONE, Facts, load_facts
from wainwright_controller.openings import Openings
from wainwright_controller.records import Artifact, Deployment, Device, DeviceDeployment, DeviceState, Phase
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, DEVICE, PART, PHASE, all_parts, from_row, in_chunks
from wainwright_controller.rules import arrivals
from wainwright_controller.rules.filters import Attributes as Known
from wainwright_controller.rules.filters import attributes_of
from wainwright_controller.rules.selection import Candidate

Key = tuple[str, str]
"""A device deployment: (deployment id, device id)."""


class WorkingSet:
    """Loads records; what is loaded stays as it is here, whatever the store says later."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self.now = now
        self.devices: dict[str, Device] = {}
        self.parts: dict[Key, DeviceDeployment] = {}
        self.deployments: dict[str, Deployment] = {}
        self.phases: dict[str, list[Phase]] = {}
        self.artifacts: dict[str, list[Artifact]] = {}
        self._open: dict[str, list[Key]] = {}
        self._openings: Openings | None = None
        self._matches: dict[str, tuple[Known, list[Key]]] = {}
        self._has_part: dict[Key, bool] = {}
        self._facts: dict[str, Facts] = {}
        self._under_way: dict[str, int] = {}
        self._unwritten: Counter[str] = Counter()

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
        self._load_around(key for i in wanted for key in self._open[i])

    def load_parts(self, keys: Collection[Key]) -> None:
        """Load the parts that exist among `keys`, finished or not, with their deployments."""
        wanted = [key for key in keys if key not in self.parts]
        if not wanted:
            return
        deployments = {deployment for deployment, _ in wanted}
        for chunk in in_chunks(sorted({device for _, device in wanted})):
            self._keep_parts(PART.c.device_id.in_(chunk), PART.c.deployment_id.in_(deployments))
        self._load_around(wanted)

    def _load_around(self, keys: Iterable[Key]) -> None:
        """Load the deployments of parts, and the artifacts that these bring back."""
        keys = list(keys)
        self.load_deployments({deployment for deployment, _ in keys})
        self.load_artifacts({p.restore_name for key in keys if (p := self.parts.get(key)) and p.restore_name})

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
        self.load_artifacts({self.deployments[i].artifact_name for i in wanted if i in self.deployments})

    def load_artifacts(self, names: Collection[str]) -> None:
        """Load the artifacts of these releases."""
        wanted = sorted(set(names) - self.artifacts.keys())
        self.artifacts.update((name, []) for name in wanted)
        for chunk in in_chunks(wanted):
            for row in self.connection.execute(select(ARTIFACT).where(ARTIFACT.c.name.in_(chunk))).mappings():
                self.artifacts[row["name"]].append(from_row(Artifact, row))

    def candidates(self, device_id: str) -> list[Candidate]:
        """Return the unfinished parts of a device that `load_open_parts` has loaded, as they stand now."""
        open_parts = [self.parts[key] for key in self._open.get(device_id, [])]
        return [self._candidate(part) for part in open_parts if part.status not in FINISHED]

    def just_succeeded(self, device_id: str) -> DeviceDeployment | None:
        """Return the part of a device that became a success in this transaction, which no query finds yet."""
        parts = [self.parts[key] for key in self._open.get(device_id, [])]
        succeeded = [part for part in parts if part.status is DeviceStatus.SUCCESS]
        return max(succeeded, key=lambda part: part.sequence, default=None)

    def _candidate(self, part: DeviceDeployment, *, is_new: bool = False) -> Candidate:
        deployment = self.deployments[part.deployment_id]
        artifacts = self.artifacts[part.restore_name or deployment.artifact_name]
        under_way = self.under_way(deployment)
        return Candidate(part, deployment, self.phases[deployment.id], artifacts, is_new, under_way)

    def add_open(self, key: Key) -> None:
        """Count a part among the unfinished ones of a device whose others were loaded."""
        if key[1] in self._open:
            self._open[key[1]].append(key)

    # ---- dynamic deployments ----------------------------------------------------------------------------------

    def load_joinable(self, device_ids: Collection[str]) -> None:
        """Load the dynamic deployments that take devices, and of these devices what their filters ask for.

        What the devices match as they are known now is loaded at once for all; what one matches only by what it says
        in this transaction, when it is asked for.
        """
        if not device_ids:
            return
        self._openings = Openings(self.connection)
        if not self._openings:
            return
        for chunk in in_chunks(sorted(set(device_ids) - self._facts.keys())):
            self._facts.update(load_facts(self.connection, chunk))
        known = [self.devices[i] for i in device_ids if i in self.devices]
        self._load_new([key for device in known for key in self._matched(device)])

    def learn(self, device_id: str, inventory: Attributes) -> None:
        """Take a device's new inventory into account."""
        known = self._facts.get(device_id, NONE)
        self._facts[device_id] = known._replace(inventory=inventory)

    def joinable(self, device: Device) -> list[Candidate]:
        """Return the dynamic deployments that a device would join, each with the part that it would get."""
        return [one for one in self._matching(device) if arrivals.has_begun(one.deployment, one.phases)]

    def to_begin(self, device: Device) -> list[Candidate]:
        """Return the dynamic deployments that a device will be able to join once they have begun."""
        return [one for one in self._matching(device) if not arrivals.has_begun(one.deployment, one.phases)]

    def _matching(self, device: Device) -> list[Candidate]:
        found = []
        for deployment_id, device_id in self._load_new(self._matched(device)):
            part = arrivals.proposed(self.deployments[deployment_id], self.phases[deployment_id], device_id, self.now)
            if part is not None:
                found.append(self._candidate(part, is_new=True))
        return found

    def _matched(self, device: Device) -> list[Key]:
        """Return what an accepted device matches as it is now; matched again only where it has changed."""
        if not self._openings or device.state is not DeviceState.ACCEPTED:
            return []
        facts = self._facts.get(device.id, NONE)
        attributes = attributes_of(device, facts.inventory, facts.tags, facts.group)
        known = self._matches.get(device.id)
        if known is None or known[0] != attributes:
            keys = [(deployment_id, device.id) for deployment_id in self._openings.matching(attributes)]
            known = self._matches[device.id] = (attributes, keys)
        return known[1]

    def _load_new(self, matched: Sequence[Key]) -> list[Key]:
        """Return those of the matched that their device has no part in yet, with their deployments loaded."""
        unknown = sorted(key for key in matched if key not in self._has_part)
        for chunk in in_chunks(unknown):
            deployments, devices = ({key[n] for key in chunk} for n in (0, 1))
            among = (PART.c.deployment_id.in_(deployments), PART.c.device_id.in_(devices))
            found = self.connection.execute(select(PART.c.deployment_id, PART.c.device_id).where(*among))
            self._has_part |= dict.fromkeys(chunk, False) | {(row[0], row[1]): True for row in found}
        new = [key for key in matched if not self._has_part[key] and key not in self.parts]
        self.load_deployments({deployment_id for deployment_id, _ in new})
        return new

    # ---- devices under way ------------------------------------------------------------------------------------

    def under_way(self, deployment: Deployment) -> int:
        """Return how many devices were offered a deployment and have not finished; 0 where its pace does not ask."""
        if deployment.pace.concurrency is None:
            return 0
        if deployment.id not in self._under_way:
            # In the words of the partial index: SQLite does not see that `offered IS 1` is in it.
            where = (PART.c.deployment_id == deployment.id, text("offered AND finished_at IS NULL"))
            stored = self.connection.execute(select(func.count()).select_from(PART).where(*where)).scalar_one()
            self._under_way[deployment.id] = stored + self._unwritten[deployment.id]
        return self._under_way[deployment.id]

    def forget_under_way(self, deployment_id: str) -> None:
        """Count again when it is asked for next; everything must be written by then."""
        self._under_way.pop(deployment_id, None)
        self._unwritten.pop(deployment_id, None)

    def _count_under_way(self, part: DeviceDeployment, before: DeviceDeployment) -> None:
        change = (part.offered and part.finished_at is None) - (before.offered and before.finished_at is None)
        self._unwritten[part.deployment_id] += change
        if part.deployment_id in self._under_way:
            self._under_way[part.deployment_id] += change
