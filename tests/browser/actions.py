"""Every action on a deployment: how to bring one to where it is possible, and what it leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.browser.house import House
from tests.support.serve import Json
from wainwright_controller.rules.actions import Act
from wainwright_controller.simulate import Fleet

LATER = "2100-01-01T00:00:00Z"
TWO_PHASES = [{"count": 1}, {"opens": "approval"}]


class Case(NamedTuple):
    """One action: `label` is its button's, `begin` makes a deployment, `seen` is a text on its page afterwards."""

    label: str
    begin: Callable[[House, Fleet], Json]
    seen: str
    act: Act
    is_gone: bool = False


def held(house: House, fleet: Fleet, **order: Any) -> Json:  # noqa: ANN401  as the API takes them
    """Return a deployment that waits for its second phase."""
    made = house.deploy(*fleet.ids, phases=TWO_PHASES, **order)
    return house.wait_for(made["id"], hold="awaiting-promotion")


def paused(house: House, fleet: Fleet) -> Json:
    """Return one that is paused."""
    made = held(house, fleet)
    house.post(f"deployments/{made['id']}/pause", {"reason": "for the test"})
    return house.wait_for(made["id"], hold="paused")


def finished(house: House, fleet: Fleet) -> Json:
    """Return one that has finished."""
    return house.wait_for(house.deploy(*fleet.ids, force=True)["id"], status="finished")


def aborted(house: House, fleet: Fleet) -> Json:
    """Return one that was aborted before it began."""
    made = house.deploy(*fleet.ids, manual=True)
    house.post(f"deployments/{made['id']}/abort")
    return house.wait_for(made["id"], status="finished")


def failed(house: House, _fleet: Fleet) -> Json:
    """Return one whose devices have all failed; they do better at the second attempt."""
    with house.fleet(2, failing=1.0) as devices:
        return house.wait_for(house.deploy(*devices.ids)["id"], status="finished")


def dynamic(house: House, fleet: Fleet) -> Json:
    """Return one that devices join."""
    return house.post("deployments", {"release": "two", "where": f'inventory.fleet = "{fleet.spec.id_prefix}"'})


def asked(house: House, fleet: Fleet) -> Json:
    """Return one that waits for an approval by somebody else."""
    return house.deploy(*fleet.ids, approval=True, phases=[{"opens": "at", "opens_at": LATER}])


def scheduled(house: House, fleet: Fleet) -> Json:
    """Return one that begins much later."""
    return house.deploy(*fleet.ids, phases=[{"opens": "at", "opens_at": LATER}])


CASES: Mapping[str, Case] = {
    "start": Case("Start", lambda h, f: h.deploy(*f.ids, manual=True, force=True), "successful", Act.START),
    "start early": Case("Start", scheduled, "successful", Act.START),
    "approve": Case("Approve", asked, "scheduled", Act.APPROVE),
    "deny": Case("Deny", asked, "aborted", Act.DENY),
    "promote": Case(
        "Promote canary", lambda h, f: held(h, f, strategy="canary", force=True), "4/4 successful", Act.PROMOTE
    ),
    "approve batch": Case(
        "Approve batch", lambda h, f: held(h, f, strategy="rolling", force=True), "4/4 successful", Act.PROMOTE
    ),
    "open": Case(
        "Open next phase", lambda h, f: held(h, f, strategy="phased", force=True), "4/4 successful", Act.PROMOTE
    ),
    "pause": Case("Pause", held, "paused", Act.PAUSE),
    "resume": Case("Resume", paused, "awaiting-promotion", Act.RESUME),
    "install": Case(
        "Install", lambda h, f: held(h, f, policy={"download_only": True}, force=True), "install: by an", Act.INSTALL
    ),
    "retry": Case("Retry", failed, "retry", Act.RETRY),
    "roll back": Case("Roll back", lambda h, f: held(h, f, force=True), "Rolled back by", Act.ROLLBACK),
    "finish": Case("Finish", dynamic, "successful", Act.FINISH),
    "cancel": Case("Cancel", held, "aborted", Act.ABORT),
    "delete": Case("Delete", aborted, "", Act.DELETE, is_gone=True),
}
