"""The wizard's order. Its fields are options of `wainwright deployment create`, read by that command's own rules.

So the command that the wizard shows means what the wizard sends, and nothing of a plan is decided a second time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click

from wainwright_common.errors import WainwrightError
from wainwright_controller.cli.deployment_order import order_of, order_options

Json = dict[str, Any]
Fields = Mapping[str, str]
"""What somebody filled in, by the name of the option."""


class Option(NamedTuple):
    """An option as a field: what it is called, and the step that asks for it; `many` stands on a line each."""

    label: str
    step: str
    many: bool = False
    is_flag: bool = False


# fmt: off
OPTIONS: Mapping[str, Option] = {
    "to":                  Option("Group", "targets"),
    "device":              Option("Devices", "targets", many=True),
    "all":                 Option("All devices", "targets", is_flag=True),
    "where":               Option("Filter", "targets"),
    "max-devices":         Option("At most", "targets"),
    "name":                Option("Name", "parameters"),
    "retries":             Option("Retries", "parameters"),
    "force":               Option("Force", "parameters", is_flag=True),
    "window":              Option("Maintenance windows", "parameters", many=True),
    "bandwidth":           Option("Bandwidth", "parameters"),
    "download-only":       Option("Download only", "parameters", is_flag=True),
    "in-progress-timeout": Option("Longest silence", "parameters"),
    "attempt-timeout":     Option("Longest attempt", "parameters"),
    "downloading-timeout": Option("Longest download", "parameters"),
    "installing-timeout":  Option("Longest installation", "parameters"),
    "rebooting-timeout":   Option("Longest reboot", "parameters"),
    "strategy":            Option("Strategy", "strategy"),
    "canary":              Option("Canary", "strategy"),
    "batch":               Option("Batch", "strategy"),
    "phase":               Option("Phases", "strategy", many=True),
    "soak":                Option("Soak", "strategy"),
    "max-failures":        Option("Most failures", "strategy", many=True),
    "min-sample":          Option("Smallest sample", "strategy"),
    "failure-code":        Option("Error codes", "strategy", many=True),
    "on-failures":         Option("On failures", "strategy"),
    "rate":                Option("Rate", "strategy"),
    "ramp":                Option("Ramp", "strategy"),
    "concurrency":         Option("At once", "strategy"),
    "manual":              Option("Start by hand", "strategy", is_flag=True),
    "at":                  Option("Start at", "strategy"),
    "approval":            Option("Approval", "strategy", is_flag=True),
}
# fmt: on
_NAMED = re.compile(r"--([a-z][a-z-]*)")
_SPLIT: Mapping[str, str] = {"device": r"[\s,]+", "failure-code": r"[\s,]+", "max-failures": r"[\s,]+"}
_LINES = r"\s*\n\s*"


# What a button of the page asks for: the field that has to be filled in then, and what is said when it is not.
CHOICES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "target": {
        "to": ("to", "Choose a group."),
        "where": ("where", "Write a filter."),
        "device": ("device", "Name the devices."),
    },
    "kind": {
        "canary": ("canary", "Say how large the canary is, such as 10%: without a size all would get it at once."),
        "rolling": ("batch", "Say how large a batch is, such as 25%: without a size all would get it at once."),
        "phased": ("phase", "Write the phases: without them all would get it at once."),
    },
}


class BadField(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad field"
    """A field of the wizard cannot be used; `field` is its name, "" when no single one is to blame."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(_NAMED.sub(lambda match: _labelled(match[1]), text))
        self.field = field

    @property
    def step(self) -> str:
        """The step that asks for it."""
        return "release" if self.field == "release" else OPTIONS[self.field].step if self.field in OPTIONS else ""


def words_of(fields: Fields) -> list[str]:
    """Return the options that say what the fields say, as words of a command line; raises BadField."""
    unknown = fields.keys() - OPTIONS.keys() - CHOICES.keys() - {"release"}
    if unknown:
        raise BadField(f"There is no field {min(unknown)!r}.")
    words: list[str] = []
    for name, option in OPTIONS.items():
        for one in _values(name, fields):
            if option.is_flag:
                words.append(f"--{name}")
                break
            words += [f"--{name}", one]
    return words


def _values(name: str, fields: Fields) -> list[str]:
    value = fields.get(name, "").strip()
    values = re.split(_SPLIT.get(name, _LINES), value) if OPTIONS[name].many else [value]
    return [one for one in values if one]


def command_of(fields: Fields) -> str:
    """Return the command that does the same, as a shell takes it; raises BadField."""
    release = fields.get("release", "").strip()
    last = ["--", release] if release.startswith("-") else []
    first = [] if last else [release]
    return shlex.join(["wainwright", "deployment", "create", *first, *words_of(fields), *last])


@click.command(add_help_option=False)
@order_options
def _options(**given: Any) -> Json:  # noqa: ANN401  as click gives them
    return given


def ordered(fields: Fields, device_count: Callable[[Json], int]) -> Json:
    """Return the order that the fields describe, as the API takes it; raises BadField with the field that is wrong.

    `device_count` is as in `order_of`.
    """
    release = fields.get("release", "").strip()
    if not release:
        raise BadField("Choose a release.", "release")
    _check_choice("target", fields)
    try:
        with _options.make_context("create", words_of(fields)) as context:
            order = order_of(release, context.params, device_count)
    except click.UsageError as error:
        raise _told(error, fields) from error
    _check_choice("kind", fields)  # its step is the last: what is wrong before comes first
    return order


def _check_choice(name: str, fields: Fields) -> None:
    field, text = CHOICES[name].get(fields.get(name, ""), ("", ""))
    if field and not _values(field, fields):
        raise BadField(text, field)


def of_phases(fields: Fields) -> str:
    """Return the field that says how the devices are divided, "" when none does."""
    return CHOICES["kind"].get(fields.get("kind", ""), ("", ""))[0]


def _told(error: click.UsageError, fields: Fields) -> BadField:
    """Return the error in the wizard's words; the field is the option that it names, or whose value it has.

    Of several, the first that is filled in.
    """
    if isinstance(error, click.BadParameter) and error.param is not None:
        name = error.param.opts[0].removeprefix("--")
        return BadField(f"{_labelled(name)}: {error.message}", name)
    named = [name for name in _NAMED.findall(error.message) if name in OPTIONS]
    filled = [name for name in named if _values(name, fields)]
    filled += [name for name in OPTIONS if any(one in error.message for one in _values(name, fields))]
    blamed = [*filled, *named, of_phases(fields)]  # what names nothing is about a phase
    return BadField(error.message, blamed[0])


def _labelled(name: str) -> str:
    option = OPTIONS.get(name)
    return f"“{option.label}”" if option is not None else f"--{name}"
