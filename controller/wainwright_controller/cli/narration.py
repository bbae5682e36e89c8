"""A deployment told in sentences, for a log: one for each change, with its time. Pure.

Told are the lines of the timeline about the deployment and its phases, every failed attempt of a device, and how far
each phase is whenever another tenth of it has finished. What a device does on its way there is for `deployment events`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wainwright_controller.cli.words import ago, api_stamp, count, short, span

Json = dict[str, Any]
UNFINISHED = frozenset({"pending", "downloading", "installing", "rebooting"})
WITHOUT: Mapping[str, str] = {
    "failure": "failed",
    "noartifact": "not for it",
    "aborted": "aborted",
    "decommissioned": "decommissioned",
}
"""The statuses in which a device has finished without the release, and how they are counted."""
TOLD_PARTS = 10  # in a log, how far a phase is; each device of a small one, and few lines for a large one
_FAILURES = ("failure", "attempt")  # how the timeline's lines about failed attempts begin
STEPS: Mapping[str, tuple[str, str]] = {
    "paused": ("To go on", "resume"),
    "awaiting-promotion": ("To open the next phase", "promote"),
    "awaiting-start": ("To start it", "start"),
    "awaiting-approval": ("To let it go on, as another admin", "approve"),
}
"""By hold, what a person can do that moves a deployment, and the command for it."""


def finished(phase: Json) -> int:
    """Return how many devices of a phase have finished."""
    return sum(n for status, n in phase["counts"].items() if status not in UNFINISHED)


def without(counts: Mapping[str, int]) -> list[str]:
    """Return how many devices have finished without the release: 1 failed, 2 not for it."""
    return [f"{counts[status]} {word}" for status, word in WITHOUT.items() if counts.get(status)]


def unfinished(counts: Mapping[str, int]) -> list[str]:
    """Return how many devices have not finished: 3 waiting, 1 under way."""
    waiting = counts.get("pending", 0)
    under_way = sum(n for status, n in counts.items() if status in UNFINISHED) - waiting
    return [f"{n} {word}" for n, word in ((waiting, "waiting"), (under_way, "under way")) if n]


def opening(phase: Json, *, is_over: bool = False) -> str:
    """Return whether a phase is open, and if not what opens it; in a deployment that is over nothing opens."""
    if phase.get("done_at"):
        return "done"
    if is_over:
        return "ended"
    if phase.get("opened_at"):
        return "open"
    if phase.get("waits_for"):
        return f"closed: waits for {phase['waits_for']}"
    return f"closed: {condition(phase)}"


def condition(phase: Json) -> str:
    """Return the condition on which a phase opens, as it was planned."""
    if phase["number"] == 1 and phase["opens"] == "now":
        return "opens now"
    how = {
        "now": "opens when the phase before is done",
        "at": f"opens {ago(phase.get('opens_at'))}",
        "after": f"opens {span(phase['delay_s'])} after the phase before is done",
        "approval": "opens when it is promoted" if phase["number"] > 1 else "opens when it is started",
    }
    return how[phase["opens"]]


def opening_short(phase: Json) -> str:
    """Return what opens a phase, in few words; once the phase before is done, what else it waits for."""
    plain = (" to open", " to finish", " by a person", " to be resumed")
    if (waits_for := phase.get("waits_for")) and not waits_for.endswith(plain):
        return f"waits for {waits_for}"
    before = f"after phase {phase['number'] - 1}" if phase["number"] > 1 else "soon"
    how = {
        "now": before,
        "at": f"opens {ago(phase.get('opens_at'))}",
        "after": f"{span(phase['delay_s'] or 0)} {before}",
        "approval": "when promoted",
    }
    return how[phase["opens"]]


def is_rolling_back(deployment: Json) -> bool:
    """Say whether a deployment is being undone now."""
    return "rollback" in deployment and "ended_at" not in deployment["rollback"]


def standing(deployment: Json) -> str:
    """Return where a deployment stands: how it ended and what it waits for say more than its status."""
    if is_rolling_back(deployment):
        return "rolling back"
    return str(deployment.get("outcome") or deployment.get("hold") or deployment["status"])


def progress(deployment: Json, *statuses: str) -> str:
    """Return how far a deployment is: 16/20 successful, 1 failed; of who has not got it only these statuses, if any."""
    counts = {status: n for status, n in deployment["counts"].items() if status in statuses or not statuses}
    return ", ".join([deployment["summary"], *without(counts)])


def needs_a_person(deployment: Json) -> bool:
    """Say whether a deployment goes on only when a person acts."""
    return deployment["status"] != "finished" and deployment.get("hold") in STEPS


def next_step(deployment: Json) -> str | None:
    """Return what a person can do now to move a deployment, with the command; None when it moves by itself."""
    if deployment["status"] == "finished":
        can_retry = "retry" in deployment["allowed"] and deployment["outcome"] in {"partial", "failure"}
        told = ("To try again where it failed", "retry") if can_retry else None
    else:
        told = STEPS.get(deployment.get("hold", ""))
    return f"{told[0]}: wainwright deployment {told[1]} {short(deployment['id'])}" if told else None


def failure_told(failure: Json) -> str:
    """Return an error with its devices: 4 failed, 1 tries again: no-space: disk full (gw-1, gw-2 and 3 more)."""
    failed, again = failure["devices"], failure["again"]
    said = [f"{failed} failed"] * bool(failed) + [f"{again} {'tries' if again == 1 else 'try'} again"] * bool(again)
    named = ", ".join(failure["first"])
    if more := failed + again - len(failure["first"]):
        named += f" and {more} more"
    return f"{', '.join(said)}: {failure['code']}: {failure['text'].rstrip('.')} ({named})"


def words_told(line: Json) -> str | None:
    """Return what a line of the timeline says, or None for one that is not told."""
    device = line.get("device_id")
    if device is None:
        return str(line["text"])
    return f"{device}: {line['text']}" if line["text"].startswith(_FAILURES) else None


def line_told(line: Json) -> str | None:
    """Return the sentence for a line of the timeline, or None for one that is not told."""
    told = words_told(line)
    return None if told is None else f"{api_stamp(line['at'])} {short(line['deployment_id'])} {told}"


def progress_told(before: Json | None, after: Json, now: str) -> Iterator[str]:
    """Yield a sentence for each phase of which another tenth has finished since the state `before`.

    Not for one in which all have: the timeline says that it is done.
    """
    earlier = {phase["number"]: finished(phase) for phase in before["phases"]} if before else {}
    for phase in after["phases"]:
        done, size = finished(phase), phase["size"]
        if done == size or done * TOLD_PARTS // size == earlier.get(phase["number"], 0) * TOLD_PARTS // size:
            continue
        which = f"phase {phase['number']} of {len(after['phases'])}: " if len(after["phases"]) > 1 else ""
        told = ", ".join([f"{done} of {phase['size']} finished", *without(phase["counts"])])
        yield f"{now} {short(after['id'])} {which}{told}"


def outcome_told(state: Json) -> str:
    """Return how a finished deployment ended; of one that was undone, how many devices that has brought back."""
    if rollback := state.get("rollback"):
        back = sum(rollback["counts"].get(status, 0) for status in ("success", "already-installed"))
        others = "".join(f", {told}" for told in without(rollback["counts"]))
        devices = count(rollback["device_count"], "device")
        return f"{state['name']}: {state['outcome']}, {back} of {devices} undone{others}."
    said = [f"{state['name']}: {state['outcome']}", state["summary"]]
    for status, word in WITHOUT.items():
        if n := state["counts"].get(status):
            devices = count(n, "device")
            said.append(f"no artifact fits {devices}" if status == "noartifact" else f"{devices} {word}")
    return f"{', '.join(said)}."
