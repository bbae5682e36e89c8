"""What must hold in the store after every transaction, said again in other words than those of the rules."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from tests.controller.rollouts.world import World
from wainwright_common.messages import Offer
from wainwright_common.statuses import FINISHED, DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller.records import Deployment, DeviceDeployment, Kind, Opens, Phase
from wainwright_controller.rows import DEPLOYMENT, EVENT, PART, PHASE, TALLY, from_row
from wainwright_controller.rules.pace import BURST_S

if TYPE_CHECKING:
    from tests.controller.rollouts.player import Player

S = DeviceStatus
_NO_OFFERS = {Hold.PAUSED, Hold.AWAITING_APPROVAL, Hold.AWAITING_START, Hold.SCHEDULED}
_LEFT = {S.FAILURE, S.NOARTIFACT, S.ABORTED, S.DECOMMISSIONED}
Key = tuple[str, str]


class Watch:
    """Remembers what was seen of the store, and of the offers that devices got."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.offers = 0
        self._parts: dict[Key, DeviceDeployment] = {}
        self._ended: dict[Key, tuple[DeviceStatus, float | None]] = {}
        self._over: dict[str, Outcome | None] = {}
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._known: dict[str, Deployment] = {}
        self._held: dict[str, Hold | None] = {}
        self._rollback_gone: set[str] = set()

    def deployments(self) -> list[Deployment]:
        with self.world.store.read() as connection:
            rows = connection.execute(select(DEPLOYMENT).order_by(DEPLOYMENT.c.sequence)).mappings().all()
        return [from_row(Deployment, row) for row in rows]

    def timeouts(self) -> int:
        """Return how many attempts have been given up."""
        given_up = select(func.count()).select_from(EVENT).where(EVENT.c.text.contains("(timeout: "))
        with self.world.store.read() as connection:
            return connection.execute(given_up).scalar_one()

    def forget_times(self) -> None:
        """Measure no pace over a moment at which the clock is set."""
        self._times.clear()

    def forget(self, deployment_id: str) -> None:
        """Expect nothing more of a deployment that was deleted, nor, of a rollback, of who it left behind."""
        self._rollback_gone.add(self._known[deployment_id].rolls_back or "")
        self._over.pop(deployment_id, None)
        for key in [key for key in self._ended if key[0] == deployment_id]:
            del self._ended[key]

    def offered(self, device_id: str, offer: Offer) -> None:
        """Hold what an offer must keep, at the moment when it is made."""
        key = (offer.deployment_id, device_id)
        before = self._parts.get(key)
        self._read()
        part, deployment = self._parts[key], self._known[offer.deployment_id]
        assert key not in self._ended, f"{key} was offered after its end"
        others = [p for p in self._parts.values() if p.device_id == device_id and p.status not in FINISHED]
        assert min(others, key=lambda p: p.sequence).deployment_id == part.deployment_id, "an older one comes first"
        is_new = before is None or not before.offered or before.attempt != part.attempt
        if is_new:
            self.offers += 1
            self._times[offer.deployment_id].append(self.world.now)
            assert deployment.status is not DeploymentStatus.FINISHED or part.status in FINISHED
            assert self._held.get(deployment.id) not in _NO_OFFERS, f"{self._held[deployment.id]} makes no offers"

    def check(self) -> None:
        """Compare the store with what must hold."""
        self._read()
        counted: Counter[tuple[str, int, str]] = Counter()
        by_deployment: defaultdict[str, list[DeviceDeployment]] = defaultdict(list)
        for part in self._parts.values():
            counted[part.deployment_id, part.phase, part.status.value] += 1
            by_deployment[part.deployment_id].append(part)
        assert counted == self._tally, "counts are not the rows"
        for deployment in self._known.values():
            self._check_deployment(deployment, by_deployment[deployment.id])
        self._check_final()

    def before_asking(self) -> None:
        """Remember who is held: a limit may break by what the same batch brings, after an offer in it was made."""
        self._held = {d.id: d.hold for d in self.deployments()}

    def _read(self) -> None:
        with self.world.store.read() as connection:
            self._known = {
                row["id"]: from_row(Deployment, row) for row in connection.execute(select(DEPLOYMENT)).mappings()
            }
            self._phases = defaultdict[str, list[Phase]](list)
            for row in connection.execute(select(PHASE).order_by(PHASE.c.number)).mappings():
                self._phases[row["deployment_id"]].append(from_row(Phase, row))
            opened = (EVENT.c.kind == "phase") & (EVENT.c.actor == "controller") & EVENT.c.text.like("% opened")
            self._opened_by_itself = defaultdict[str, set[int]](set)
            for event in connection.execute(select(EVENT.c.deployment_id, EVENT.c.text).where(opened)):
                self._opened_by_itself[event.deployment_id].add(int(event.text.split()[1]))
            self._parts = {
                (row["deployment_id"], row["device_id"]): from_row(DeviceDeployment, row)
                for row in connection.execute(select(PART)).mappings()
            }
            self._tally = Counter(
                {(t.deployment_id, t.phase, t.status): t.n for t in connection.execute(select(TALLY)) if t.n}
            )

    def _check_deployment(self, deployment: Deployment, parts: Sequence[DeviceDeployment]) -> None:
        phases = self._phases[deployment.id]
        opened = {p.number for p in phases if p.opened_at is not None}
        begun = [p for p in parts if p.offered or p.started_at is not None]
        assert {p.phase for p in begun} <= opened, "a device began in a closed phase"
        assert sum(p.size for p in phases) == deployment.device_count == len(parts)
        for number, phase in enumerate(phases, 1):
            assert phase.number == number
            assert phase.capacity is None or phase.size <= phase.capacity
            assert number == 1 or phase.opened_at is None or phases[number - 2].opened_at is not None
            if number > 1 and phase.opens is not Opens.AT and number in self._opened_by_itself[deployment.id]:
                before = {p.status for p in parts if p.phase == number - 1}
                assert not before or before & {S.SUCCESS, S.ALREADY_INSTALLED}, "it opened though none has the release"
        assert deployment.max_devices is None or deployment.device_count <= deployment.max_devices
        under_way = sum(p.offered and p.finished_at is None for p in parts)
        assert deployment.pace.concurrency is None or under_way <= deployment.pace.concurrency
        self._check_pace(deployment)
        unfinished = [p for p in parts if p.status not in FINISHED]
        if deployment.status is DeploymentStatus.FINISHED:
            assert not unfinished
            assert deployment.outcome is not None
            if deployment.rollback_id is None and deployment.outcome not in {Outcome.ABORTED, Outcome.ROLLED_BACK}:
                assert not [p for p in parts if p.status is S.ABORTED and p.attempt > 1], "a failure was hidden"
                is_good = deployment.outcome is not Outcome.SUCCESS or not parts
                assert is_good or {p.status for p in parts} & {S.SUCCESS, S.ALREADY_INSTALLED}
        elif deployment.kind is Kind.STATIC and deployment.rollback_id is None:
            assert unfinished, "nothing is left to do, and it has not ended"
        for part in parts:
            assert (part.finished_at is not None) == (part.status in FINISHED)
            assert part.deadline_at is None or part.status not in FINISHED
            assert part.attempt <= deployment.retries + 1

    def _check_pace(self, deployment: Deployment) -> None:
        pace, times = deployment.pace, self._times[deployment.id]
        if pace.per_minute is None:
            return
        rate = (pace.max_per_minute or pace.per_minute) / 60
        for first, since in enumerate(times):
            for number, until in enumerate(times[first:], 1):
                assert number <= 1 + (BURST_S + until - since) * rate + 1e-6, "faster than its pace"

    def _check_final(self) -> None:
        for key, ended in self._ended.items():
            part = self._parts.get(key)
            assert part is None or (part.status, part.finished_at) == ended, f"{key} ended twice"
        for key, part in self._parts.items():
            if part.status in FINISHED:
                self._ended[key] = (part.status, part.finished_at)
        for deployment_id, outcome in self._over.items():
            now = self._known[deployment_id]
            assert now.status is DeploymentStatus.FINISHED
            assert now.outcome in {outcome, Outcome.ROLLED_BACK}
        for deployment in self._known.values():
            if deployment.status is DeploymentStatus.FINISHED:
                self._over[deployment.id] = deployment.outcome

    def check_retry(self, of: Deployment, made: Deployment, players: Sequence[Player]) -> None:
        """Hold that a retry takes from no device what a newer deployment brought, as far as the controller was told."""
        self._read()
        for player in players:
            by = self._known.get(player.installed_by or "")
            if by is None or by.sequence <= of.sequence or by.rolls_back is not None:
                continue
            told = self._parts.get((by.id, player.id))
            if told is not None and told.status is S.SUCCESS:
                assert (made.id, player.id) not in self._parts, f"{player.id} runs {player.runs}, which is newer"

    def check_rollbacks(self, players: Sequence[Player]) -> None:
        """Hold that no device still runs what was undone, except those that the rollback lists."""
        self._read()
        for deployment in self._known.values():
            if deployment.rollback_id is None or deployment.id in self._rollback_gone:
                continue
            for player in players:
                if player.installed_by != deployment.id or player.is_gone:
                    continue
                rollbacks = [d for d in self._known.values() if d.rolls_back == deployment.id]
                parts = [self._parts.get((d.id, player.id)) for d in sorted(rollbacks, key=lambda d: d.sequence)]
                part = next((part for part in reversed(parts) if part is not None), None)
                assert part is not None, f"{player.id} was forgotten"
                assert part.status in _LEFT, f"{player.id} runs {player.runs} still: {part.status}"
