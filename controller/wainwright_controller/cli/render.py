"""A deployment as live bars on a terminal. With bars.py the only file that imports rich."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wainwright_common.statuses import GOOD
from wainwright_controller.cli.bars import bar
from wainwright_controller.cli.fitting import pieces
from wainwright_controller.cli.narration import (
    failure_told,
    finished,
    next_step,
    opening_short,
    progress,
    standing,
    unfinished,
    without,
)
from wainwright_controller.cli.output import printable
from wainwright_controller.cli.words import ago, between, count, short, span

Json = dict[str, Any]
BAR_WIDTH, BAR_WIDTH_NARROW = 30, 12
NARROW = 100  # columns; below, the words beside a bar need the room
REDRAWS_PER_S = 4  # smooth enough for a percent to be read, and for the clock
FAILURE_ROWS = 4  # part of the height that failures may take: one in so many
FRAME = 3  # rows: title, hint, and the one that the cursor stands on
ACTIVE_MIN = 3  # rows that the phases leave to the devices under way
PERCENT = len("100 %")
Row = tuple[RenderableType, ...]


class LiveView:
    """Redraws a deployment in place, never higher than the terminal; what it showed last stays on the screen.

    It is drawn anew several times a second, not only when something happens: the clock in its title has to go on.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._state: Json | None = None
        self._began = time.monotonic()
        self._lost_at: float | None = None
        self._live = Live(console=self._console, get_renderable=self.drawn, refresh_per_second=REDRAWS_PER_S)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def line(self, _line: Json) -> None:
        """Leave it to the states, which have all that is shown."""

    def state(self, state: Json) -> None:
        """Show a state from now on; the first one at once."""
        is_first, self._state = self._state is None, state
        if is_first:
            self._live.refresh()

    def link(self, *, is_up: bool) -> None:
        """Show that the controller is lost, or found again: until then what is shown is old."""
        self._lost_at = None if is_up else time.monotonic()

    def drawn(self) -> RenderableType:
        """Return what is to be seen now: in the order of what a person must not miss when there is little room."""
        state = self._state
        if state is None:
            return Text("Asking the controller…", style="dim")
        news = self._held(state) + self._failures(state)
        step = next_step(state) if state["status"] != "finished" else None
        room = self._console.height - FRAME - len(news) - (step is not None)
        phases = self._phases(state, max(room - min(len(state["active"]), ACTIVE_MIN), 1))
        active, more = self._active(state, max(room - len(phases), 0))
        parts: list[RenderableType] = [self._title(state), _grid(phases), *news]
        if active:
            parts.append(_grid(active))
        if more:
            parts.append(_line(f"  and {count(more, 'device')} more under way"))
        if step is not None:
            parts.append(_line(step, "bold"))
        if state["status"] != "finished":
            parts.append(_line("Watching; Ctrl+C leaves the deployment as it is.", "dim"))
        return Group(*parts)

    def _title(self, state: Json) -> Text:
        begun = state.get("started_at")
        when = f"started {ago(begun)}" if begun else f"created {ago(state['created_at'])}"
        if begun and state.get("finished_at"):
            when = f"took {between(begun, state['finished_at'])}"
        name = printable(state["name"])
        if self._console.width >= NARROW:
            name += f" ({short(state['id'])})"
        title = Text.assemble((name, "bold"), f"  {standing(state)}  {progress(state)}  {when}")
        title.no_wrap, title.overflow = True, "ellipsis"
        return title

    def _held(self, state: Json) -> list[Text]:
        """Return why nothing goes on, if nothing does."""
        held = []
        if state.get("hold_reason"):
            held.append(_line(printable(f"{state['hold']}: {state['hold_reason']}"), "bold"))
        if self._lost_at is not None:
            away = span(time.monotonic() - self._lost_at)
            held.append(_line(f"Lost the controller {away} ago; looking for it again. What you see is old.", "red"))
        return held

    def _failures(self, state: Json) -> list[Text]:
        """Return the errors, the most frequent first."""
        room = max(self._console.height // FAILURE_ROWS, 1)
        rows: list[Text] = []
        for failure in state["failures"]:
            first, *others = pieces(printable(failure_told(failure)), self._console.width - 2)
            rows += [_line(first, "red"), *(_line(f"  {other}", "red") for other in others)]
        return rows[:room]

    # ---- rows -------------------------------------------------------------------------------------------------------

    def _phases(self, state: Json, room: int) -> list[Row]:
        """Return a row for each phase; where not all have room, for those that are not done yet."""
        phases = state["phases"]
        done = [phase for phase in phases if finished(phase) == phase["size"]]
        left_out = 0
        if len(phases) > room:
            first = min(len(done), len(phases) - room + 1)
            shown = phases[first : first + max(room - 1, 1)]
            left_out, phases = len(phases) - len(shown), shown
        rows = [self._phase(phase, is_over=state["status"] == "finished") for phase in phases]
        if left_out:
            rows.append((_line(f"and {left_out} more"), "", "", _line(f"{len(done)} of all are done")))
        return rows

    def _phase(self, phase: Json, *, is_over: bool) -> Row:
        counts, done = phase["counts"], finished(phase)
        succeeded = sum(n for status, n in counts.items() if status in GOOD)
        if phase.get("opened_at") or is_over:
            said = ", ".join([*without(counts), f"{succeeded} succeeded", *unfinished(counts)])
        else:
            said = ", ".join([opening_short(phase), *without(counts)])
        drawn = self._bar(succeeded, done - succeeded, phase["size"], self._bar_width)
        return f"phase {phase['number']}", drawn, f"{done}/{phase['size']}", _line(said)

    def _active(self, state: Json, room: int) -> tuple[list[Row], int]:
        """Return a row for each device under way that has one in `room` rows, and how many more there are."""
        under_way = sum(state["counts"].get(status, 0) for status in ("downloading", "installing", "rebooting"))
        fits = len(state["active"]) if under_way <= min(room, len(state["active"])) else max(room - 1, 0)
        shown = state["active"][:fits]
        more = under_way - len(shown)
        return [self._device(part) for part in shown], more if room and more > 0 else 0

    def _device(self, part: Json) -> Row:
        percent = ""
        drawn: RenderableType = ""
        if (far := part.get("progress")) and far["total"]:
            percent = f"{100 * far['done'] // far['total']} %"
            drawn = self._bar(far["done"], 0, far["total"], self._bar_width // 2)
        attempt = f"attempt {part['attempt']}" if part["attempt"] > 1 else ""
        said = "  ".join(filter(None, [part["status"], attempt, printable(part.get("substate") or "")]))
        return _line(f"  {part['device_id']}"), drawn, percent.rjust(PERCENT), _line(said)

    def _bar(self, good: int, bad: int, total: int, width: int) -> Text:
        return bar(good, bad, total, width, ascii_only=self._console.options.ascii_only)

    @property
    def _bar_width(self) -> int:
        return BAR_WIDTH if self._console.width >= NARROW else BAR_WIDTH_NARROW


def _grid(rows: list[Row]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*row)
    return grid


def _line(text: str, style: str = "") -> Text:
    """Return a text that takes one row, however narrow it is."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
