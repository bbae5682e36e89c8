"""The wizard's fields and the command that it shows: both mean the same order."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wainwright_controller.api.models import OrderIn
from wainwright_controller.cli.deployment_create import create
from wainwright_controller.cli.deployment_order import order_of
from wainwright_controller.web.order import OPTIONS, BadField, command_of, ordered

ALL = {"release": "panel-2", "all": "yes"}
Json = dict[str, Any]


def of_the_command(command: str, devices: int = 40) -> Json:
    """Return the order that the real command line makes of a command."""
    words = shlex.split(command)
    assert words[:3] == ["wainwright", "deployment", "create"]
    # As the whole command line has them: click keeps what a command is first asked with, and its help is a page.
    with create.make_context("create", words[3:], help_option_names=["-h", "--help"]) as context:
        chosen = dict(context.params)
        return order_of(chosen.pop("release"), chosen, lambda _: devices)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (ALL, {"release": "panel-2", "all_devices": True}),
        ({"release": "a b", "to": "north"}, {"release": "a b", "group": "north"}),
        (ALL | {"name": "--all"}, {"name": "--all"}),
        ({"release": "-odd", "device": "a, b\nc"}, {"release": "-odd", "devices": ["a", "b", "c"]}),
        (ALL | {"canary": "10%"}, {"phases": [{"percent": 10.0}, {"opens": "approval"}], "strategy": "canary"}),
        (ALL | {"canary": "2+1h"}, {"phases": [{"count": 2}, {"opens": "after", "delay_s": 3600.0}]}),
        (ALL | {"batch": "20?"}, {"phases": [{"count": 20}, {"opens": "approval"}]}),
        (ALL | {"phase": "1\n 10%+2h \nrest?", "soak": "10m"}, {"strategy": "phased"}),
        (ALL | {"max-failures": "5% 3", "on-failures": "rollback", "failure-code": "no-space, timeout"}, {}),
        (ALL | {"window": "mon-fri 22:00-04:00\nsat 00:00-24:00".replace("24:00", "23:59")}, {}),
        (ALL | {"rate": "30/min", "ramp": "2/50/600", "concurrency": "5", "bandwidth": "500k"}, {}),
        (ALL | {"at": "2030-01-01T00:00:00.000Z", "name": 'it\'s "quoted" $(name)'}, {}),
        ({"release": "r", "where": 'tags.site = "north" and mem_mb >= 512', "max-devices": "7"}, {"max_devices": 7}),
        (ALL | {"retries": "3", "force": "yes", "download-only": "yes", "manual": "yes", "approval": "yes"}, {}),
        (ALL | {"attempt-timeout": "2h", "in-progress-timeout": "1d", "rebooting-timeout": "10m"}, {}),
    ],
)
def test_what_the_wizard_sends_is_what_its_command_does(fields: dict[str, str], expected: Json) -> None:
    order = ordered(fields, lambda _: 40)

    assert of_the_command(command_of(fields)) == order
    assert expected.items() <= order.items()
    OrderIn.model_validate(order)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)


@given(release=texts, name=texts, where=texts, devices=st.lists(texts, max_size=4), picks=st.sampled_from("dw"))
def test_whatever_is_typed_reaches_the_command_as_it_was_typed_or_is_refused(
    release: str, name: str, where: str, devices: list[str], picks: str
) -> None:
    target = {"where": where} if picks == "w" else {"device": "\n".join(devices)}
    fields = {"release": release, "name": name} | target
    try:
        order = ordered(fields, lambda _: 40)
    except BadField:
        return
    assert of_the_command(command_of(fields)) == order
    assert order.get("name", "") == name.strip()


@pytest.mark.parametrize(
    ("fields", "field", "step", "says"),
    [
        ({}, "release", "release", "Choose a release."),
        ({"release": "r"}, "to", "targets", "“Group”"),
        (ALL | {"to": "north"}, "to", "targets", "exactly one"),
        (ALL | {"canary": "ten"}, "canary", "strategy", "'ten' is not a phase"),
        (ALL | {"canary": "10%", "batch": "5"}, "canary", "strategy", "“Canary”, “Batch”"),
        (ALL | {"soak": "10m"}, "soak", "strategy", "“Soak” is a time between phases"),
        (ALL | {"soak": "soon"}, "soak", "strategy", "not a span of time"),
        (ALL | {"retries": "many"}, "retries", "parameters", "not a valid integer"),
        (ALL | {"on-failures": "abort"}, "on-failures", "strategy", "“Most failures”"),
        (ALL | {"ramp": "2/50"}, "ramp", "strategy", "“Rate”"),
        (ALL | {"no-such": "x"}, "", "", "no field"),
    ],
)
def test_a_mistake_names_the_field_and_its_step_in_the_wizards_words(
    fields: dict[str, str], field: str, step: str, says: str
) -> None:
    with pytest.raises(BadField) as caught:
        ordered(fields, lambda _: 40)
    assert (caught.value.field, caught.value.step) == (field, step)
    assert says in str(caught.value)
    assert "--" not in str(caught.value)


def test_every_option_of_the_command_is_a_field_and_the_other_way_round() -> None:
    options = {
        name.removeprefix("--")
        for parameter in create.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--")
    }
    of_a_terminal = {"watch", "until-held", "output", "quiet", "yes"}
    assert options - OPTIONS.keys() == of_a_terminal
    assert OPTIONS.keys() - options == set()
