"""A deployment told in sentences, for a log: one for each change, with its time. Pure.

Told are the lines of the timeline about the deployment and its phases, every failed attempt of a device, and how far
each phase is whenever a device has finished. What a device does on its way there is for `deployment events`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wainwright_controller.cli.words import ago, api_stamp, count, short, span

Json = dict[str, Any]
UNFINISHED = frozenset({"pending", "downloading", "installing", "rebooting"})
_FAILURES = ("failure", "attempt")  # how the timeline's lines about failed attempts begin


def finished(phase: Json) -> int:
    """Return how many devices of a phase have finished."""
    return sum(n for status, n in phase["counts"].items() if status not in UNFINISHED)


def opening(phase: Json) -> str:
    """Return whether a phase is open, and if not what opens it."""
    if phase.get("done_at"):
        return "done"
    if phase.get("opened_at"):
        return "open"
    how = {
        "now": "closed: opens when the phase before is done",
        "at": f"closed: opens {ago(phase.get('opens_at'))}",
        "after": f"closed: opens {span(phase['delay_s'])} after the phase before is done",
        "approval": "closed: opens when it is promoted",
    }
    return how[phase["opens"]]


def standing(deployment: Json) -> str:
    """Return where a deployment stands, in two words at most."""
    if deployment["status"] == "finished":
        return f"finished ({deployment['outcome']})"
    hold = deployment.get("hold")
    return f"{deployment['status']} ({hold})" if hold else str(deployment["status"])


def line_told(line: Json) -> str | None:
    """Return the sentence for a line of the timeline, or None for one that is not told."""
    device = line.get("device_id")
    if device is not None and not line["text"].startswith(_FAILURES):
        return None
    who = f"{device}: " if device is not None else ""
    return f"{api_stamp(line['at'])} {short(line['deployment_id'])} {who}{line['text']}"


def progress_told(before: Json | None, after: Json, now: str) -> Iterator[str]:
    """Yield a sentence for each phase in which devices have finished since the state `before`.

    Not for one in which all have: the timeline says that it is done.
    """
    earlier = {phase["number"]: finished(phase) for phase in before["phases"]} if before else {}
    for phase in after["phases"]:
        done, failures = finished(phase), phase["counts"].get("failure", 0)
        if done in {earlier.get(phase["number"], 0), phase["size"]}:
            continue
        which = f"phase {phase['number']} of {len(after['phases'])}: " if len(after["phases"]) > 1 else ""
        failed = f", {failures} failed" if failures else ""
        yield f"{now} {short(after['id'])} {which}{done} of {phase['size']} finished{failed}"


def outcome_told(state: Json) -> str:
    """Return how a finished deployment ended."""
    failures = state["counts"].get("failure", 0)
    failed = f", {count(failures, 'device')} failed" if failures else ""
    return f"{state['name']}: {state['outcome']}, {state['summary']}{failed}."
