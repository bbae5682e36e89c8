"""A deployment as live bars on a terminal. The only file that imports rich."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wainwright_common.statuses import GOOD
from wainwright_controller.cli.narration import UNFINISHED, finished, line_told, opening
from wainwright_controller.cli.output import printable
from wainwright_controller.cli.words import ago, count, span

Json = dict[str, Any]
BAR_WIDTH = 30
REDRAWS_PER_S = 8  # smooth enough for a percent to be read
NEWS_SHOWN = 5  # of the newest failures


class LiveView:
    """Redraws a deployment in place; what it showed last stays on the screen."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=REDRAWS_PER_S, transient=False)
        self._news: list[str] = []
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def line(self, line: Json) -> None:
        """Keep failures in view."""
        told = line_told(line)
        if told is not None and line.get("device_id") is not None:
            self._news = [*self._news, told][-NEWS_SHOWN:]

    def state(self, state: Json) -> None:
        """Draw a state."""
        parts: list[Table | Text] = [self._title(state), _phases(state)]
        if state["active"]:
            parts.append(_active(state))
        parts += [Text(told, style="red", no_wrap=True, overflow="ellipsis") for told in self._news]
        if state["status"] != "finished":
            parts.append(Text("Watching; Ctrl+C leaves the deployment running.", style="dim"))
        self._live.update(Group(*parts))

    def _title(self, state: Json) -> Text:
        standing = state.get("outcome") or state.get("hold") or state["status"]
        return Text.assemble(
            (state["name"], "bold"),
            f"  {standing}  {state['summary']}  created {ago(state['created_at'])}",
            f"  watched {span(time.monotonic() - self._began)}",
        )


def _phases(state: Json) -> Table:
    grid = Table.grid(padding=(0, 2))
    for phase in state["phases"]:
        counts = phase["counts"]
        failures = counts.get("failure", 0)
        moving = sum(n for status, n in counts.items() if status in UNFINISHED and status != "pending")
        said = [f"{sum(n for status, n in counts.items() if status in GOOD)} succeeded"]
        said += [f"{moving} under way"] if moving else []
        said += [f"{failures} failed"] if failures else []
        done = finished(phase)
        grid.add_row(
            f"phase {phase['number']}",
            _bar(done, phase["size"], failed=bool(failures)),
            f"{done}/{phase['size']}",
            ", ".join(said) if phase.get("opened_at") else opening(phase),
        )
    return grid


def _active(state: Json) -> Table:
    grid = Table.grid(padding=(0, 2))
    for part in state["active"]:
        progress = part.get("progress")
        percent = f"{100 * progress['done'] // progress['total']} %" if progress and progress["total"] else ""
        grid.add_row(
            Text(f"  {part['device_id']}"),
            part["status"],
            _bar(progress["done"], progress["total"], width=BAR_WIDTH // 2) if percent else Text(""),
            percent,
            f"attempt {part['attempt']}" if part["attempt"] > 1 else "",
            Text(printable(part.get("substate") or "")),
        )
    under_way = sum(n for status, n in state["counts"].items() if status in UNFINISHED and status != "pending")
    if (more := under_way - len(state["active"])) > 0:
        grid.add_row(Text(f"  and {count(more, 'device')} more"))
    return grid


def _bar(done: int, total: int, *, width: int = BAR_WIDTH, failed: bool = False) -> ProgressBar:
    style = "red" if failed else "green"
    return ProgressBar(
        total=max(total, 1), completed=done if total else 1, width=width, complete_style=style, finished_style=style
    )
