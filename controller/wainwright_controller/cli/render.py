"""A deployment as live bars on a terminal. The only file that imports rich."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wainwright_common.statuses import GOOD
from wainwright_controller.cli.narration import finished, opening_short, unfinished, without, words_told
from wainwright_controller.cli.output import printable
from wainwright_controller.cli.words import ago, count, span

Json = dict[str, Any]
BAR_WIDTH, BAR_WIDTH_NARROW = 30, 12
NARROW = 100  # columns; below, the words beside a bar need the room
REDRAWS_PER_S = 4  # smooth enough for a percent to be read, and for the clock
NEWS_SHOWN = 5  # of the newest failures
FRAME = 3  # rows: title, hint, and the one that the cursor stands on
ACTIVE_MIN = 3  # rows that the phases leave to the devices under way


class LiveView:
    """Redraws a deployment in place, never higher than the terminal; what it showed last stays on the screen.

    It is drawn anew several times a second, not only when something happens: the clock in its title has to go on.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._state: Json | None = None
        self._news: list[str] = []
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

    def line(self, line: Json) -> None:
        """Keep failures in view."""
        told = words_told(line)
        if told is not None and line.get("device_id") is not None:
            self._news = [*self._news, told][-NEWS_SHOWN:]

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
        news = [_line(printable(told), "red") for told in self._news]
        if self._lost_at is not None:
            away = span(time.monotonic() - self._lost_at)
            news.insert(0, _line(f"Lost the controller {away} ago; looking for it again. What you see is old.", "red"))
        if state.get("hold_reason"):
            news.insert(0, _line(printable(f"{state['hold']}: {state['hold_reason']}"), "bold"))
        room = self._console.height - FRAME - len(news)
        phases = _phases(state, max(room - min(len(state["active"]), ACTIVE_MIN), 1), self._bar_width)
        active = _active(state, max(room - len(phases), 0), self._bar_width // 2)
        parts: list[RenderableType] = [self._title(state), _grid(phases), *news]
        if active:
            parts.append(_grid(active))
        if state["status"] != "finished":
            parts.append(_line("Watching; Ctrl+C leaves the deployment running.", "dim"))
        return Group(*parts)

    @property
    def _bar_width(self) -> int:
        return BAR_WIDTH if self._console.width >= NARROW else BAR_WIDTH_NARROW

    def _title(self, state: Json) -> Text:
        standing = state.get("outcome") or state.get("hold") or state["status"]
        title = Text.assemble(
            (printable(state["name"]), "bold"),
            f"  {standing}  {state['summary']}  watched {span(time.monotonic() - self._began)}",
            f"  created {ago(state['created_at'])}",
        )
        title.no_wrap, title.overflow = True, "ellipsis"
        return title


Row = tuple[RenderableType, ...]


def _phases(state: Json, room: int, bar_width: int) -> list[Row]:
    """Return a row for each phase; where not all have room, for those that are not done yet."""
    phases = state["phases"]
    done = [phase for phase in phases if finished(phase) == phase["size"]]
    left_out = 0
    if len(phases) > room:
        first = min(len(done), len(phases) - room + 1)
        shown = phases[first : first + max(room - 1, 1)]
        left_out, phases = len(phases) - len(shown), shown
    rows = [_phase(phase, bar_width, is_over=state["status"] == "finished") for phase in phases]
    if left_out:
        rows.append((_line(f"and {left_out} more"), "", "", _line(f"{len(done)} of all are done")))
    return rows


def _phase(phase: Json, bar_width: int, *, is_over: bool) -> Row:
    counts = phase["counts"]
    ended_otherwise = without(counts)
    if phase.get("opened_at") or is_over:
        succeeded = sum(n for status, n in counts.items() if status in GOOD)
        said = ", ".join([*ended_otherwise, f"{succeeded} succeeded", *unfinished(counts)])
    else:
        said = ", ".join([opening_short(phase), *ended_otherwise])
    done, failed = finished(phase), bool(counts.get("failure"))
    bar = _bar(done, phase["size"], bar_width, failed=failed)
    return f"phase {phase['number']}", bar, f"{done}/{phase['size']}", _line(said)


def _active(state: Json, room: int, bar_width: int) -> list[Row]:
    """Return a row for each device under way, and one for how many more there are, in `room` rows."""
    under_way = sum(state["counts"].get(status, 0) for status in ("downloading", "installing", "rebooting"))
    fits = len(state["active"]) if under_way <= min(room, len(state["active"])) else max(room - 1, 0)
    shown = state["active"][:fits]
    rows = [_device(part, bar_width) for part in shown]
    if room and (more := under_way - len(shown)) > 0:
        rows.append((_line(f"  and {count(more, 'device')} more"), "", "", ""))
    return rows


def _device(part: Json, bar_width: int) -> Row:
    percent = ""
    bar: RenderableType = ""
    if (progress := part.get("progress")) and progress["total"]:
        percent = f"{100 * progress['done'] // progress['total']} %"
        bar = _bar(progress["done"], progress["total"], bar_width)
    attempt = f"attempt {part['attempt']}" if part["attempt"] > 1 else ""
    said = "  ".join(filter(None, [part["status"], attempt, printable(part.get("substate") or "")]))
    return _line(f"  {part['device_id']}"), bar, percent, _line(said)


def _grid(rows: list[Row]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*row)
    return grid


def _line(text: str, style: str = "") -> Text:
    """Return a text that takes one row, however narrow it is."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _bar(done: int, total: int, width: int, *, failed: bool = False) -> ProgressBar:
    style = "red" if failed else "green"
    return ProgressBar(
        total=max(total, 1), completed=done if total else 1, width=width, complete_style=style, finished_style=style
    )
