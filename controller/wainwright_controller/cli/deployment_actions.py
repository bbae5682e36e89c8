"""`wainwright deployment start`, `pause`, `rollback` and whatever else a person may do with a deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from wainwright_common.statuses import GOOD
from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.deployment_show import UNDER_WAY
from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.narration import finished, needs_a_person, next_step, progress, standing, unfinished
from wainwright_controller.cli.output import Json, put_done
from wainwright_controller.cli.settings import Command, Settings, in_settings
from wainwright_controller.cli.watch import find, watch
from wainwright_controller.cli.words import count, short

NOT_RESTORED_SHOWN = 5  # devices that a rollback cannot bring back, named before it is confirmed
_WATCH = click.option("--watch", "watches", is_flag=True, help="Follow it to its end, as `deployment watch` does.")
_REASON = click.option("--reason", metavar="TEXT", default="", help="Why; kept in the timeline.")

# What asks nothing: verb, help, how it is told when it is done.
_PLAIN: Mapping[str, tuple[str, str]] = {
    "start": ("Start a deployment that waits for it, or for its time.", "started"),
    "approve": ("Let a deployment go on that waits for an approval; for admins.", "approved"),
    "pause": ("Make no more offers; devices under way go on.", "paused"),
    "install": ("Let devices install what they were told to download only.", "installs now"),
    "resume": ("Go on with a paused deployment; what has failed by now counts for no limit again.", "resumed"),
}


def _plain(verb: str, text: str, done: str) -> click.Command:
    @click.command(verb, cls=Command, help=text)
    @click.argument("deployment")
    @_REASON
    @in_settings
    def act(settings: Settings, deployment: str, reason: str) -> None:
        _act(settings, find(settings.client, deployment), verb, reason, done)

    return act


def _asking(verb: str, text: str, done: str, consequence: Callable[[Json], str]) -> click.Command:
    """Return a command that asks first, unless the controller will refuse it: then nobody is asked in vain."""

    @click.command(verb, cls=Command, help=text)
    @click.argument("deployment")
    @_REASON
    @in_settings
    def act(settings: Settings, deployment: str, reason: str) -> None:
        found = find(settings.client, deployment)
        if verb in found["allowed"]:
            confirm(settings, found["name"], verb, consequence(found), or_id=short(found["id"]))
        _act(settings, found, verb, reason, done)

    return act


def _promoting(verb: str, text: str) -> click.Command:
    @click.command(verb, cls=Command, help=text)
    @click.argument("deployment")
    @_REASON
    @in_settings
    def promote(settings: Settings, deployment: str, reason: str) -> None:
        found = find(settings.client, deployment)
        shown = next((phase["number"] for phase in found["phases"] if not phase.get("opened_at")), None)
        body = {"reason": reason} if shown is None else {"reason": reason, "phase": shown}
        answer = settings.client.post(f"deployments/{seg(found['id'])}/{verb}", body)
        text = f"{answer['name']} promoted: {standing(answer)}, {progress(answer)}."
        for phase in found["phases"]:  # whom of those before it nobody waits for any more
            if phase.get("opened_at") and finished(phase) < phase["size"]:
                text += f" Phase {phase['number']} still has {' and '.join(unfinished(phase['counts']))}."
        put_done(settings, answer, f"{text}\n{_next(answer)}")

    return promote


@click.command(cls=Command)
@click.argument("deployment")
@_REASON
@_WATCH
@in_settings
def retry(settings: Settings, deployment: str, reason: str, watches: bool) -> int:  # noqa: FBT001  click passes options by name
    """Make a deployment of the same release to the devices that failed."""
    found = find(settings.client, deployment)
    made = settings.client.post(f"deployments/{seg(found['id'])}/retry", {"reason": reason})
    told = f"Created {made['name']} ({short(made['id'])}) for {made['target']}."
    if watches:
        settings.say(told)
        return watch(settings, made["id"], after=0, timeout_s=None)
    put_done(settings, made, f"{told}\n{_next(made)}")
    return ExitCode.DONE


@click.command(cls=Command)
@click.argument("deployment")
@_REASON
@_WATCH
@in_settings
def rollback(settings: Settings, deployment: str, reason: str, watches: bool) -> int:  # noqa: FBT001  click passes options by name
    """Stop a deployment, and give its devices back what they ran before.

    It says first which devices get which release back, and which cannot, and asks.
    """
    found = find(settings.client, deployment)
    path = f"deployments/{seg(found['id'])}"
    plan = settings.client.get(f"{path}/rollback-plan")
    confirm(settings, found["name"], "roll back", _rollback_told(found, plan), or_id=short(found["id"]))
    answer = settings.client.post(f"{path}/rollback", {"reason": reason})
    if "rollback" not in answer:
        put_done(settings, answer, f"{answer['name']} ended: no device had the release from it.")
        return ExitCode.DONE
    told = f"{answer['name']} is being rolled back on {count(answer['rollback']['device_count'], 'device')}."
    if watches:
        settings.say(told)
        return watch(settings, answer["rollback"]["id"], after=0, timeout_s=None)
    put_done(settings, answer, f"{told}\n{_watch_told(answer)}")
    return ExitCode.DONE


@click.command(cls=Command)
@click.argument("deployment")
@in_settings
def delete(settings: Settings, deployment: str) -> None:
    """Delete a finished deployment with its logs."""
    found = find(settings.client, deployment)
    if "delete" in found["allowed"]:  # else the controller says why not, and nobody is asked in vain
        consequence = f"This deletes {found['name']}, its timeline and its logs."
        confirm(settings, found["name"], "delete", consequence, or_id=short(found["id"]))
    settings.client.delete(f"deployments/{seg(found['id'])}")
    settings.say(f"{found['name']} deleted.")


def _abort_told(deployment: Json) -> str:
    """Return what an abort does to the devices that are there."""
    counts = deployment["counts"]
    said = [
        (counts.get("pending", 0), "device that waits keeps what it runs", "devices that wait keep what they run"),
        (
            sum(counts.get(status, 0) for status in UNDER_WAY),
            "device under way stops and rolls back",
            "devices under way stop and roll back",
        ),
        (sum(counts.get(status, 0) for status in GOOD), "updated device stays so", "updated devices stay so"),
    ]
    told = "; ".join(count(n, one, many) for n, one, many in said if n)
    return f"This ends the deployment: {told or 'no device has joined it'}. It cannot be resumed."


def _finish_told(deployment: Json) -> str:
    waiting = count(deployment["counts"].get("pending", 0), "device that waits is", "devices that wait are")
    return f"No more devices join {deployment['name']}; {waiting} let go. Who waits to try again has failed."


def _deny_told(deployment: Json) -> str:
    return f"This ends {deployment['name']} before it has begun, for {count(deployment['device_count'], 'device')}."


def _rollback_told(deployment: Json, plan: Json) -> str:
    """Return what a rollback does, as far as a person has to know before."""
    given_back = ", ".join(f"{count(n, 'device')} get {name} back" for name, n in sorted(plan["releases"].items()))
    told = f"This stops {deployment['name']}: {given_back or 'no device has anything to get back'}."
    if left := plan["not_restored_count"]:
        told += f" {count(left, 'device')} cannot be restored:"
        shown = plan["not_restored"][:NOT_RESTORED_SHOWN]
        told += "".join(f"\n  {one['device_id']}: {one.get('obstacle', '')}" for one in shown)
        if left > len(shown):
            told += f"\n  and {left - len(shown)} more"
    return told


def _act(settings: Settings, found: Json, verb: str, reason: str, done: str) -> None:
    answer = settings.client.post(f"deployments/{seg(found['id'])}/{verb}", {"reason": reason})
    stands = [standing(answer), progress(answer)][standing(answer) == done :]  # "aborted: aborted" says it twice
    told = f"{answer['name']} {done}: {', '.join(stands)}."
    follows = answer["status"] != "finished" and verb != "pause"
    put_done(settings, answer, f"{told}\n{_next(answer)}" if follows else told)


def _next(deployment: Json) -> str:
    """Return what to do next with a deployment that goes on: what it waits for, or watch it."""
    step = next_step(deployment) if needs_a_person(deployment) else None
    return step or _watch_told(deployment)


def _watch_told(deployment: Json) -> str:
    return f"To watch it: wainwright deployment watch {short(deployment['id'])}"


ACTIONS = [
    *(_plain(verb, text, done) for verb, (text, done) in _PLAIN.items()),
    _asking("deny", "End a deployment that waits for an approval; for admins.", "denied", _deny_told),
    _promoting("promote", "Open the next phase, whether or not its turn has come."),
    _promoting("approve-batch", "Open the next batch; the same as `promote`."),
    retry,
    rollback,
    _asking("finish", "Let no more devices join a deployment by a filter.", "finished", _finish_told),
    _asking(
        "abort",
        "End a deployment: devices under way stop, and roll back what they have not committed.",
        "aborted",
        _abort_told,
    ),
    delete,
]
