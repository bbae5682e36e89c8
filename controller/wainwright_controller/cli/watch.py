"""Follows a deployment over the controller's live stream, across restarts of the controller."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import click

from wainwright_controller.cli import narration
from wainwright_controller.cli.client import Client, ServerEvent, seg
from wainwright_controller.cli.exits import CliError, ExitCode, Told, Unreachable
from wainwright_controller.cli.fitting import columns, fitted
from wainwright_controller.cli.output import as_json, printable
from wainwright_controller.cli.settings import Settings
from wainwright_controller.cli.words import now_stamp, short

Json = dict[str, Any]

SILENCE_S = 40.0  # the controller says something every 15 s; two of these lost mean that it is gone
AGAIN_FIRST_S, AGAIN_MAX_S = 0.2, 2.0  # pauses between attempts to reach a controller that restarts
MEANT_SHOWN = 3  # deployments that somebody may have meant
GIVE_UP_S = 300.0  # a restart with a database to upgrade takes less; a watcher in a pipeline must end some time


class View(Protocol):
    """How what happens is shown."""

    def line(self, line: Json, /) -> None:
        """Show a line of the timeline."""

    def state(self, state: Json) -> None:
        """Show where the deployment stands."""

    def link(self, *, is_up: bool) -> None:
        """Show that the controller is lost, or found again."""


class OnLink(Protocol):
    """Called when the controller is lost, and when it is found again."""

    def __call__(self, *, is_up: bool) -> None: ...


def find(client: Client, reference: str) -> Json:
    """Return the deployment of an id, the beginning of one, or a name."""
    if "/" not in reference:
        try:
            return client.get(f"deployments/{seg(reference)}")
        except Told as error:
            if error.problem == "not-found" and (meant := _meant(client, reference)):
                raise CliError(error.code, f"No such deployment: {reference}. There is {meant}.") from error
            raise
    named = client.get("deployments", name=reference, limit=2)["items"]  # a slash is not for paths
    if len(named) != 1:
        many = (
            f"{len(named)} deployments are called {reference}: use an id"
            if named
            else f"No such deployment: {reference}"
        )
        raise CliError(ExitCode.FAILED, f"{many}. `wainwright deployment list` shows all.")
    found: Json = named[0]
    return found


def _meant(client: Client, text: str) -> str:
    """Return the newest deployments that have a text in their name or release, as a list; empty without any."""
    found = client.get("deployments", q=text, limit=MEANT_SHOWN)["items"]
    return ", ".join(f"{one['name']} ({short(one['id'])})" for one in found)


def watch(
    settings: Settings, deployment_id: str, *, after: str | int, timeout_s: float | None, until_held: bool = False
) -> int:
    """Show a deployment until it is finished, or, if wanted, until a person has to act; returns the exit code."""
    last: Json | None = None
    try:
        with _view(settings) as view:
            last = _shown(settings, view, deployment_id, after=after, timeout_s=timeout_s, until_held=until_held)
    except KeyboardInterrupt:
        settings.say(f"Not watched any more; the deployment itself was not touched.\n{_again(deployment_id)}")
        return ExitCode.INTERRUPTED
    if last is not None and settings.output == "json":
        click.echo(as_json(last, indent=2))
    if last is None or last["status"] != "finished" or narration.is_rolling_back(last):
        settings.say(_still_running(deployment_id, last))
        return ExitCode.STILL_RUNNING
    if settings.output == "table":
        click.echo(fitted(printable(narration.outcome_told(last)), columns(sys.stdout)))
        if step := narration.next_step(last):
            settings.say(step)
    return ExitCode.DONE if last["outcome"] == "success" else ExitCode.FAILED


def _still_running(deployment_id: str, last: Json | None) -> str:
    if last is None or not narration.needs_a_person(last):
        return f"Still running.\n{_again(deployment_id)}"
    reason = f": {last['hold_reason']}" if last.get("hold_reason") else ""
    return "\n".join(filter(None, [f"It is {last['hold']}{reason}.", narration.next_step(last)]))


def _again(deployment_id: str) -> str:
    return f"To watch it again: wainwright deployment watch {short(deployment_id)}"


def _shown(
    settings: Settings,
    view: View,
    deployment_id: str,
    *,
    after: str | int,
    timeout_s: float | None,
    until_held: bool,
) -> Json | None:
    """Show a deployment, and the one that undoes it if it is being rolled back; returns the last state of the first."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    last: Json | None = None
    events = follow(settings, deployment_id, after=after, timeout_s=_left(deadline), on_link=view.link)
    with contextlib.closing(events):
        for event in events:
            if event.kind == "timeline":
                view.line(event.data)
            elif event.kind == "state":
                last = event.data
                view.state(last)
                if narration.is_rolling_back(last) or (until_held and narration.needs_a_person(last)):
                    break
    if last is None or not narration.is_rolling_back(last):
        return last
    for event in follow(settings, last["rollback"]["id"], after=0, timeout_s=_left(deadline), on_link=view.link):
        if event.kind == "timeline":
            view.line(event.data)
        elif event.kind == "state":
            view.state(event.data)
    return settings.client.get(f"deployments/{seg(deployment_id)}")


def follow(
    settings: Settings, deployment_id: str, *, after: str | int, timeout_s: float | None, on_link: OnLink | None = None
) -> Generator[ServerEvent]:
    """Yield a deployment's events until it is finished, or `timeout_s` has passed; closed, it ends the connection.

    A controller that goes away is looked for again; raises Unreachable when it was never there, or stays away.
    """
    on_link = on_link or _Lines(settings).link
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    last: str | int = after
    lost_at: float | None = None
    pause_s = AGAIN_FIRST_S
    was_there = False
    while True:
        try:
            path = f"deployments/{seg(deployment_id)}/events"
            with contextlib.closing(
                settings.client.events(path, after=last, silence_s=lambda: _silence(deadline))
            ) as events:
                for event in events:
                    if lost_at is not None:
                        on_link(is_up=True)
                    was_there, lost_at, pause_s = True, None, AGAIN_FIRST_S
                    if event.kind:
                        last = event.id
                        yield event
                        if event.kind == "state" and event.data["status"] == "finished":
                            return
                    if _is_over(deadline):
                        return
        except Unreachable:
            if not was_there and not _is_over(deadline):
                raise
        if _is_over(deadline):
            return
        if lost_at is None:
            lost_at = time.monotonic()
            on_link(is_up=False)
        elif time.monotonic() - lost_at > GIVE_UP_S:
            raise Unreachable(f"The controller at {settings.client.url} has been away for {GIVE_UP_S / 60:.0f} min.")
        time.sleep(pause_s if deadline is None else max(0.0, min(pause_s, deadline - time.monotonic())))
        pause_s = min(pause_s * 2, AGAIN_MAX_S)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _silence(deadline: float | None) -> float:
    return SILENCE_S if deadline is None else min(SILENCE_S, max(0.01, deadline - time.monotonic()))


@contextlib.contextmanager
def _view(settings: Settings) -> Iterator[View]:
    if settings.output == "table" and sys.stdout.isatty():
        from wainwright_controller.cli.render import LiveView

        with LiveView() as live:
            yield live
    else:
        kinds: dict[str, Callable[[Settings], View]] = {"json": _Silent, "jsonl": _Lines, "table": _Log}
        yield kinds[settings.output](settings)


class _Lines:
    """One JSON object for each change."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def line(self, line: Json) -> None:
        """Leave the timeline to `deployment events`."""

    def state(self, state: Json) -> None:
        click.echo(as_json(state))

    def link(self, *, is_up: bool) -> None:
        if not is_up:  # that it is found is told by what comes next
            self._settings.say("Lost the controller; looking for it again.")


class _Silent(_Lines):
    def state(self, state: Json) -> None:
        """Leave it to the one document at the end."""


class _Log(_Lines):
    """One sentence for each change."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._before: Json | None = None

    def line(self, line: Json) -> None:
        told = narration.line_told(line)
        if told is not None:
            click.echo(printable(told))

    def state(self, state: Json) -> None:
        for told in narration.progress_told(self._before, state, now_stamp()):
            click.echo(printable(told))
        self._before = state
