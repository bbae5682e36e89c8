"""Updates that a technician asks for on the device: where they stop, and what may be asked of them when.

They are carried out like those of a deployment, by the same table and in the same journal, but for this:

1. Nobody is told: there is no deployment that a report could belong to.
2. The device is never restarted for one. Where a reboot is needed the update is *held* until somebody has rebooted it.
3. Before the commit one is held if its module can roll back, until `wain commit` or `wain rollback`.
4. It is held before the states that `--stop-before` names, until `wain resume`.

A held state is on disk, and its step has not begun; so a restart changes nothing, but a reboot is what 2 waits for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from wainwright_agent import rules
from wainwright_agent.events import Answer
from wainwright_agent.journal import ByHand, State, Update
from wainwright_agent.states import Event, UpdateState, allows
from wainwright_common.messages import Action, Artifact, Offer
from wainwright_common.statuses import DeviceStatus

S, E = UpdateState, Event

BY_HAND = "by-hand-"  # begins what such an update has in place of a deployment's id
NEVER = datetime.max.replace(tzinfo=UTC)

# fmt: off
STOPS: Mapping[str, UpdateState] = {
    # What --stop-before takes, in Mender's words.
    "ArtifactInstall_Enter":  S.INSTALL,
    "ArtifactCommit_Enter":   S.COMMIT,
    "ArtifactCommit_Leave":   S.LEAVE_COMMIT,
    "ArtifactRollback_Enter": S.ROLLBACK,
    "ArtifactFailure_Enter":  S.FAILURE,
    "Cleanup":                S.CLEANUP,
}
# fmt: on
NEEDS_REBOOT = frozenset({S.ENTER_REBOOT, S.ENTER_ROLLBACK_REBOOT, S.MODULE_ROLLBACK_REBOOT, S.HOST_ROLLBACK_REBOOT})
NOT_KEPT = "what ran before is not kept. To have it again, install its artifact: wain install FILE"
COMMANDS = frozenset({"install", "commit", "rollback", "resume"})


def artifact_of(uri: str, name: str, size: int, version: str) -> Artifact:
    """Return what an offer says of an artifact that nobody has offered. Its digest is not the file's, but tells files
    apart: `version` changes with the file. The file is verified by its own manifest.
    """
    digest = hashlib.sha256(f"{uri} {size} {version}".encode()).hexdigest()
    return Artifact(id="by-hand", name=name, size=size, sha256=digest, uri=uri, expires=NEVER)


def offer_of(artifact: Artifact) -> Offer:
    """Return the offer that an update by hand carries out."""
    deployment_id = f"{BY_HAND}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    return Offer(deployment_id=deployment_id, attempt=1, action=Action.INSTALL, artifact=artifact)


def is_by_hand(deployment_id: str) -> bool:
    """Say whether this stands for an update by hand in the journal, a log or a status."""
    return deployment_id.startswith(BY_HAND)


def states_of(names: Iterable[str]) -> ByHand:
    """Return the facts of an update that is to stop before these; raises KeyError for a name that is not in STOPS."""
    return ByHand(stop_before=tuple(STOPS[name] for name in names))


def is_held(update: Update | None) -> bool:
    """Say whether the step of the update's state waits for somebody."""
    if update is None or update.by_hand is None or (update.aborted and rules.may_stop(update)):
        return False
    if update.state in NEEDS_REBOOT:
        return True
    wants_word = update.state is S.COMMIT and update.supports_rollback
    return bool(wants_word or update.state in update.by_hand.stop_before) and (
        update.by_hand.released is not update.state
    )


def goes_on_after(update: Update, event: Event) -> bool:
    """Say whether a restart (event RESTARTED or REBOOTED) is an event for the update; it is not for one that waits."""
    return not is_held(update) or (update.state in NEEDS_REBOOT and event is E.REBOOTED)


def refusal(state: State, command: str) -> Answer | None:
    """Return why a command cannot be carried out now; None when it can."""
    update = state.update
    if command == "install":
        return None if update is None else _answer("busy", _why_busy(update))
    if update is None:
        return _answer("nothing", _why_nothing(state, command))
    if update.by_hand is None:
        return _answer("not-by-hand", f"{_what(update)} is the controller's. To stop it, have the operator abort it.")
    if command == "rollback":
        return _refusal_to_roll_back(update)
    if update.state in NEEDS_REBOOT and is_held(update):
        return _answer("reboot-needed", "The device must be restarted first. After that: wain resume")
    if command == "commit" and is_held(update) and update.state is not S.COMMIT:
        return _answer("too-early", f"{_what(update)} is held before {update.state}. To go on: wain resume")
    if command == "commit" and not is_held(update):
        return _answer("busy", f"{_what(update)} is under way, in the step {update.state}. See: wain status")
    return None


def _refusal_to_roll_back(update: Update) -> Answer | None:
    if not allows(update.state, E.ABORTED):
        return _answer("too-late", f"{_what(update)} is in the step {update.state}, from which there is no way back.")
    if not rules.may_stop(update):
        return _answer("no-rollback", f"The update module of {update.payload_type} cannot roll back.")
    return None


def _why_nothing(state: State, command: str) -> str:
    """Return why there is nothing to commit, roll back or resume; most who ask for that are too late."""
    name, last = state.provides.get("artifact_name", "unknown"), state.last
    if command == "rollback" and last is not None and last.outcome is DeviceStatus.SUCCESS:
        return f"There is nothing to roll back: {name} is committed, and {NOT_KEPT}"
    return f"No update is being tried; {name} is installed. To install: wain install FILE"


def _why_busy(update: Update) -> str:
    if is_held(update):
        return f"{_what(update)} is not finished. {what_to_do(update)}"
    if update.by_hand is None:
        return f"{_what(update)} by a deployment is under way. To follow it: wain status --watch"
    return f"{_what(update)} is under way. To follow it: wain status --watch"


def what_to_do(update: Update) -> str:
    """Return what a held update waits for, as a sentence for whoever stands in front of the device."""
    if update.state in NEEDS_REBOOT:
        return "Restart the device; after that: wain resume"
    if update.state is S.COMMIT:
        return "To keep it: wain commit" + (". To go back: wain rollback" if rules.may_stop(update) else "")
    return "To go on: wain resume"


def describe(update: Update) -> dict[str, Any]:
    """Return what `status` says of an update by hand."""
    if update.by_hand is None:
        return {}
    if not is_held(update):
        return {"by_hand": True}
    held = "reboot" if update.state in NEEDS_REBOOT else str(update.state)
    return {"by_hand": True, "held": held, "to_do": what_to_do(update)}


def _what(update: Update) -> str:
    return f"The update to {update.offer.artifact.name}"


def _answer(error: str, text: str) -> Answer:
    return {"error": error, "text": text}
