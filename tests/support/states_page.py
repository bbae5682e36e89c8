"""docs/states.md: its diagrams and tables, generated from the tables of statuses, states and steps.

To write them anew: python -m tests.support.states_page
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from wainwright_agent.states import CHOICES, FINAL, INITIAL, TRANSITIONS, Event, UpdateState
from wainwright_agent.steps import GOING_BACK, STEPS
from wainwright_common.statuses import FINISHED, REPORTED

PAGE = Path(__file__).parents[2] / "docs" / "states.md"
S, E = UpdateState, Event
IN_COLUMNS = (E.OK, E.HELD, E.NOTHING, E.FLAWED, E.FAILED, E.ABORTED, E.RESTARTED, E.REBOOTED, E.LOOP)
NOT_DRAWN = frozenset({E.ABORTED, E.LOOP, E.RESTARTED, E.REBOOTED})
REBOOTS = frozenset({S.ENTER_REBOOT, S.HOST_REBOOT, S.ENTER_ROLLBACK_REBOOT, S.HOST_ROLLBACK_REBOOT})
"""Where a boot of the device is the way on, so that it is drawn."""
BACK = GOING_BACK | {S.CHOOSE_ROLLBACK, S.CHOOSE_ROLLBACK_REBOOT, S.CHOOSE_ROLLBACK_REBOOT_WAY}
OTHER_STEPS = {
    S.WAIT_WINDOW: "waits until the maintenance windows and the offer allow to install",
    S.ASK: "`NeedsArtifactReboot` and `SupportsRollback` are asked",
    S.CONFIRM: "the controller must acknowledge a report of the new software",
    S.HOST_REBOOT: "`update.reboot_command`",
    S.HOST_ROLLBACK_REBOOT: "`update.reboot_command`",
    S.CLEANUP: "`Cleanup`; the outcome is on disk before it",
}


def render(page: str) -> str:
    """Return the page with everything that is generated as it should be."""
    parts = {
        "statuses": _statuses(),
        "forward": _updates(back=False),
        "back": _updates(back=True),
        "steps": _steps(),
        "table": _table(),
    }
    for name, content in parts.items():
        pattern = re.compile(rf"(<!-- {name}: generated -->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
        page, count = pattern.subn(lambda match, content=content: f"{match[1]}\n{content}\n\n{match[3]}", page)  # type: ignore[misc]
        assert count == 1, name
    return page


def _statuses() -> str:
    lines = ["    [*] --> pending"]
    lines += [
        f"    {_id(before)} --> {_id(after)}"
        for before, allowed in REPORTED.items()
        for after in sorted(allowed)
        if after is not before
    ]
    ends = {after for allowed in REPORTED.values() for after in allowed} & FINISHED
    lines += [f"    {_id(status)} --> [*]" for status in sorted(ends)]
    return _diagram(lines)


def _updates(*, back: bool) -> str:
    """Return the diagram of one direction; what it leads to in the other one is drawn as its end."""
    rows = [(key, after) for key, after in TRANSITIONS.items() if (key[0] in BACK) is back and _is_drawn(key, after)]
    seen = list(dict.fromkeys(state for (before, _), after in rows for state in (before, after)))
    lines = [f"    state {_id(state)} <<choice>>" for state in seen if state in CHOICES]
    if not back:
        lines.append(f"    [*] --> {_id(INITIAL)}")
    grouped: dict[tuple[UpdateState, UpdateState], list[str]] = {}
    for (before, event), after in rows:
        grouped.setdefault((before, after), []).append(str(event))
    for (before, after), events in grouped.items():
        target = "[*]" if after is FINAL else _id(after)
        lines.append(f"    {_id(before)} --> {target}: {', '.join(events)}")
    return _diagram(lines)


def _is_drawn(key: tuple[UpdateState, Event], after: UpdateState) -> bool:
    state, event = key
    return event not in NOT_DRAWN or (event is E.REBOOTED and state in REBOOTS and after is not state)


def _steps() -> str:
    lines = [
        "| state | scripts before | what is done | scripts after | scripts after a failure |",
        "|---|---|---|---|---|",
    ]
    for state in UpdateState:
        if state in CHOICES or state is FINAL:
            continue
        step = STEPS.get(state)
        before, call, after, on_failure = step or (None, None, None, None)
        done = OTHER_STEPS.get(state) or _code(call)
        lines.append(f"| `{state}` | {_code(before)} | {done} | {_code(after)} | {_code(on_failure)} |")
    return "\n".join(lines)


def _table() -> str:
    lines = [f"| state | {' | '.join(IN_COLUMNS)} |", "|---" * (len(IN_COLUMNS) + 1) + "|"]
    for state in UpdateState:
        if state in CHOICES or state is FINAL:
            continue
        cells = (_code(TRANSITIONS.get((state, event))) for event in IN_COLUMNS)
        lines.append(f"| `{state}` | {' | '.join(cells)} |")
    lines += ["", "| fork | answer | leads to |", "|---|---|---|"]
    lines += [
        f"| `{state}` | {event} | `{after}` |" for (state, event), after in TRANSITIONS.items() if state in CHOICES
    ]
    return "\n".join(lines)


def _diagram(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _id(name: str) -> str:
    return str(name).replace("-", "_")  # a hyphen ends a name in mermaid


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
