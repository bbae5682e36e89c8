"""A device that a history plays with: it behaves like the agent, or suffers what devices suffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.controller.rollouts.world import Device, World
from wainwright_common.messages import CheckIn, Message, Offer, Reply, Report, Running, Verdict
from wainwright_common.statuses import DeviceStatus

if TYPE_CHECKING:
    from tests.controller.rollouts.invariants import Watch

_NEXT = {
    DeviceStatus.PENDING: DeviceStatus.DOWNLOADING,
    DeviceStatus.DOWNLOADING: DeviceStatus.INSTALLING,
    DeviceStatus.INSTALLING: DeviceStatus.REBOOTING,
    DeviceStatus.REBOOTING: DeviceStatus.INSTALLING,
}
_UNDECIDED = {"paused", "window", "rate-limited"}  # of the agent: these say nothing about what is under way


class Player(Device):
    """See the module. `status` is where its update is, PENDING when it has one that has not begun."""

    def __init__(self, world: World, watch: Watch, device_id: str, site: str) -> None:
        super().__init__(world, device_id, site=site)
        self.watch = watch
        self.status: DeviceStatus | None = None
        self.told: list[Report] = []
        self.installed_by: str | None = None
        self.is_gone = False
        self.is_online = True

    # ---- asking -----------------------------------------------------------------------------------------------

    @staticmethod
    def ask_together(world: World, players: Sequence[Player]) -> None:
        """Have several devices ask in one batch."""
        asking = [p for p in players if p.is_online]
        if asking:
            asking[0].watch.before_asking()
            by_id = {p.id: p for p in asking}
            for device_id, answer in world.tell(*((p.id, p.question()) for p in asking)):
                by_id[device_id].take(answer)

    def check_in(self) -> Offer | None:
        """Ask alone."""
        Player.ask_together(self.world, [self])
        return self.offer

    def question(self) -> CheckIn:
        asked = super().question()
        if self.offer is None or self.status is None:
            return asked
        running = Running(deployment_id=self.offer.deployment_id, attempt=self.offer.attempt, status=self.status)
        return replace(asked, running=running)

    def take(self, answer: Message) -> None:
        if not isinstance(answer, Reply):
            return
        before, status = self.offer, self.status
        super().take(answer)
        if self.offer is not None:
            self.watch.offered(self.id, self.offer)
        if before is not None and status is not None:
            self._while_busy(before, status)
        elif self.offer is not None:
            self.status = DeviceStatus.PENDING
            self.told = []

    def _while_busy(self, before: object, status: DeviceStatus) -> None:
        """Do with an answer what the agent does that is in the middle of an update."""
        if self.offer is None:
            if self.why in _UNDECIDED:
                self.offer, self.status = before, status  # type: ignore[assignment]  # it was an offer
            else:
                self.status = None
        elif self.offer.deployment_id != before.deployment_id:  # type: ignore[attr-defined]  # as above
            self.offer, self.status = before, status  # type: ignore[assignment]  # as above
        elif self.offer.attempt != before.attempt:  # type: ignore[attr-defined]  # as above
            self.status, self.told = DeviceStatus.PENDING, []

    # ---- updating ---------------------------------------------------------------------------------------------

    def go_on(self, step: str) -> None:
        """Take the next step of the update, or end it."""
        if self.offer is None or self.status is None:
            return
        if step == "on":
            self.status = _NEXT[self.status]
            self._tell(self.says(self.status))
        elif step == "succeed":
            self.runs, self.installed_by = self.offer.artifact.name, self.offer.deployment_id
            self._end(self.says("success"))
        else:
            self._end(self.says("failure", "no-space" if step == "fail-for-good" else "install-failed"))

    def _end(self, report: Report) -> None:
        self._tell(report)
        self.offer = self.status = None

    def _tell(self, report: Report) -> None:
        if not self.is_online:
            return
        self.told.append(report)
        for _, answer in self.world.tell((self.id, report)):
            if getattr(answer, "verdict", Verdict.ACCEPTED) is not Verdict.ACCEPTED:
                self.offer = self.status = None

    def behave(self) -> None:
        """Do what a healthy device does: connect, ask, update."""
        if self.is_gone:
            return
        if not self.is_online:
            self.suffer("online")
        Player.ask_together(self.world, [self])
        if self.status is not None:
            self.go_on("succeed")

    # ---- suffering --------------------------------------------------------------------------------------------

    def suffer(self, what: str) -> None:
        match what:
            case "repeat" if self.told:
                self.world.tell((self.id, self.told[-1]), (self.id, self.told[-1]))
            case "late" if self.told:
                self.world.tell((self.id, self.told[0]))
            case "fall-back" if self.status is None:
                self.runs, self.installed_by = "os-0", None
            case "offline" if self.is_online:
                self.is_online = False
                self.presence(online=False)
            case "online" if not self.is_online:
                self.is_online = True
                self.presence()
            case "lose" if self.status is not None:
                self.offer = self.status = None  # a battery was pulled and the journal lost
            case "decommission" if len(self.told) > 3:
                self.is_gone = True
                self.world.operations.decommission(self.id, "anton")
            case _:
                pass
