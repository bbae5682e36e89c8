"""The wizard by clicking, as every role: each way to say to whom, each strategy, and what was ordered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from tests.browser.wizard import STEPS, Spread, Wizard
from tests.support.serve import PATIENCE_S, Json
from wainwright_controller.people import Role
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.long

MAKERS = (Role.OPERATOR, Role.ADMIN)
LATER = "2100-01-01T00:00"
STATIC, DYNAMIC = "the 'first' <b>hall", "by filter"
OF_ITS_OWN = ("id", "sequence", "created_at", "created_by", "updated_at")
"""What differs between two deployments that are equal."""

# Way, what is filled in (with the fleet's prefix), the deployment's kind.
WAYS: Mapping[str, tuple[str, str, str]] = {
    "all devices": ("all", "", "static"),
    "a static group": ("to", STATIC, "static"),
    "a dynamic group": ("to", DYNAMIC, "dynamic"),
    "a filter": ("where", 'inventory.fleet = "{prefix}"', "dynamic"),
    "single devices": ("device", "{prefix}1, {prefix}2\n{prefix}3 {prefix}4", "static"),
}


class Ordered(NamedTuple):
    """A strategy as it is clicked; what its deployment has then, and comes to: `phases` are (opens, size, delay_s)."""

    spread: Spread
    strategy: str
    phases: list[tuple[str, int, int]]
    comes_to: Mapping[str, Any]
    has: Mapping[str, Any] = {}


NOW = [("now", 4, 0)]
DONE = {"status": "finished", "outcome": "success", "summary": "4/4 successful"}
WAITS = {"hold": "awaiting-promotion", "summary": "1/4 successful"}
# fmt: off
SPREADS: Mapping[str, Ordered] = {
    "immediate": Ordered(Spread("Immediate"), "immediate", NOW, DONE),
    "canary": Ordered(
        Spread("Canary", {"Canary": "25%"}), "canary", [("now", 1, 0), ("approval", 3, 0)], WAITS),
    "canary by itself": Ordered(
        Spread("Canary", {"Canary": "1", "After": "1h"}, {"Then": "it goes on by itself after"}),
        "canary", [("now", 1, 0), ("after", 3, 3600)], {"summary": "1/4 successful"}),
    "rolling": Ordered(
        Spread("Rolling", {"Batch": "50%"}), "rolling", [("now", 2, 0), ("now", 2, 0)], DONE),
    "rolling on approval": Ordered(
        Spread("Rolling", {"Batch": "1"}, {"Each next one": "waits for a person's approval"}),
        "rolling", [("now", 1, 0), *[("approval", 1, 0)] * 3], WAITS),
    "rolling after a while": Ordered(
        Spread("Rolling", {"Batch": "3", "After": "30m"}, {"Each next one": "opens after a while"}),
        "rolling", [("now", 3, 0), ("after", 1, 1800)], {"summary": "3/4 successful"}),
    "phases": Ordered(
        Spread("Phases", {"Phases": "1\n2?\nrest+2h", "Soak": "10m"}),
        "phased", [("now", 1, 0), ("approval", 2, 0), ("after", 1, 7200)], {"summary": "1/4 successful"}),
    "scheduled": Ordered(
        Spread("Immediate", {"Start at": LATER}), "immediate", [("at", 4, 0)], {"hold": "scheduled"}),
    "by hand": Ordered(
        Spread("Immediate", boxes=("Start by hand",)), "immediate", [("approval", 4, 0)], {"hold": "awaiting-start"}),
    "on approval": Ordered(
        Spread("Immediate", boxes=("Approval",)), "immediate", NOW, {"hold": "awaiting-approval"}),
    "with limits and a pace": Ordered(
        Spread("Immediate", {"Most failures": "5% 3", "Smallest sample": "2", "At once": "2", "Rate": "600/min"},
               {"Then it": "is rolled back"}),
        "immediate", NOW, DONE,
        {"limits": [{"percent": 5, "action": "rollback", "min_sample": 2, "codes": []},
                    {"count": 3, "action": "rollback", "min_sample": 1, "codes": []}],
         "pace": {"per_minute": 600, "factor": 1, "concurrency": 2}}),
}
# fmt: on


@pytest.fixture(scope="module", autouse=True)
def fleet(house: House) -> Iterator[Fleet]:
    """Four devices that are accepted, all there are, and a group of each kind that has them."""
    with house.fleet(4) as devices:
        house.post("groups", {"name": STATIC, "ids": devices.ids})
        house.post("groups", {"name": DYNAMIC, "where": f'inventory.fleet = "{devices.spec.id_prefix}"'})
        yield devices


@pytest.fixture(autouse=True)
def _over(house: House) -> Iterator[None]:
    """After each test nothing holds the devices any more."""
    yield
    house.abort_all()


def filled(wizard: Wizard, targets: tuple[str, str], spread: Spread, name: str) -> None:
    """Go from the first step to the last."""
    wizard.choose_release("two")
    wizard.next("targets")
    wizard.choose_targets(*targets)
    wizard.next("parameters")
    wizard.label("Name").fill(name)
    wizard.tick("Force")
    wizard.next("strategy")
    wizard.choose_strategy(spread)
    wizard.next("review")


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
@pytest.mark.parametrize("way", WAYS)
def test_to_whom_can_be_said_in_each_way(house: House, fleet: Fleet, window: MakeWindow, way: str, role: Role) -> None:
    kind_of_target, value, kind = WAYS[way]
    wizard = Wizard(window(role))
    filled(wizard, (kind_of_target, value.format(prefix=fleet.spec.id_prefix)), Spread("Immediate"), way)
    expect(wizard.review).to_contain_text("4 of 4 devices would get it")

    made = house.wait_for(wizard.create(), summary="4/4 successful")

    assert (made["name"], made["artifact_name"], made["kind"]) == (way, "two", kind)
    assert made["created_by"] == f"the-{role}"
    parts = house.get(f"deployments/{made['id']}/devices")["items"]
    assert {part["device_id"]: part["status"] for part in parts} == dict.fromkeys(fleet.ids, "success")
    expect(wizard.page.locator("#progress")).to_contain_text("4/4 successful")


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
@pytest.mark.parametrize("name", SPREADS)
def test_each_strategy_is_the_one_that_was_clicked(
    house: House, fleet: Fleet, window: MakeWindow, name: str, role: Role
) -> None:
    ordered = SPREADS[name]
    wizard = Wizard(window(role))
    filled(wizard, ("device", " ".join(fleet.ids)), ordered.spread, name)
    expect(wizard.review).to_contain_text("4 of 4 devices would get it")
    shown = wizard.review.locator("table").first.locator("tbody tr")
    assert [row.locator("[data-label=Devices]").inner_text() for row in shown.all()] == [
        str(size) for _, size, _ in ordered.phases
    ]

    made = house.wait_for(wizard.create(), **ordered.comes_to)

    assert (made["name"], made["strategy"]) == (name, ordered.strategy)
    assert [(p["opens"], p["size"], p["delay_s"]) for p in made["phases"]] == ordered.phases
    for key, value in ordered.has.items():
        assert made[key] == value


def test_the_command_that_is_shown_makes_an_equal_deployment(house: House, window: MakeWindow, tmp_path: Path) -> None:
    wizard = Wizard(window(Role.OPERATOR))
    wizard.choose_release("two")
    wizard.next("targets")
    wizard.choose_targets("to", STATIC)
    wizard.next("parameters")
    parameters = {
        "Name": 'it\'s "so" $(id) <b>',
        "Retries": "2",
        "Maintenance windows": "mon-fri 22:00-04:00\nsat 10:00-12:00",
        "Bandwidth": "500k",
        "Longest silence": "2h",
        "Longest attempt": "1h",
        "Longest download": "30m",
        "Longest installation": "20m",
        "Longest reboot": "10m",
    }
    for label, value in parameters.items():
        wizard.label(label).fill(value)
    wizard.tick("Download only")
    wizard.tick("Force")
    wizard.next("strategy")
    fields = {
        "Canary": "1",
        "Soak": "10m",
        "Most failures": "5%\n2",
        "Smallest sample": "2",
        "Error codes": "no-space, timeout",
        "Rate": "30/min",
        "Ramp": "2/50/600",
        "At once": "3",
    }
    wizard.choose_strategy(Spread("Canary", fields, {"Then it": "is cancelled"}, ("Start by hand",)))
    wizard.next("review")
    command = wizard.command()
    clicked = house.deployment(wizard.create())

    shell = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WAINWRIGHT_CONTROLLER": house.url,
        "WAINWRIGHT_TOKEN": house.tokens[Role.ADMIN],
    }
    subprocess.run(["sh", "-c", command], env=shell, cwd=tmp_path, check=True, timeout=PATIENCE_S)

    newest = house.get("deployments", limit=1)["items"][0]
    typed = house.deployment(newest["id"])
    assert (typed["created_by"], clicked["created_by"]) == ("the-admin", "the-operator")
    assert typed["id"] != clicked["id"]
    assert alike(typed) == alike(clicked)
    assert clicked["name"] == parameters["Name"]
    assert len(clicked["policy"]["windows"]) == 2


def alike(made: Json) -> Json:
    """Return what two equal deployments have in common."""
    return {key: value for key, value in made.items() if key not in OF_ITS_OWN}


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_deploy_to_leads_to_the_wizard_with_that_filled_in(house: House, window: MakeWindow, role: Role) -> None:
    one = window(role)
    for address in ("/groups", f"/groups/{quote(STATIC)}", "/releases/two"):
        is_release = address.startswith("/releases")
        page = one.open(address)
        link = "Deploy this release" if is_release else f"Deploy to {STATIC}"
        page.get_by_role("link", name=link, exact=True).first.click()
        wizard = Wizard(one, "")
        wizard.expect_step("release")
        if is_release:
            expect(wizard.label("Release")).to_have_value("two")
            wizard.next("targets")
            wizard.choose_targets("all")
        else:
            wizard.choose_release("two")
            wizard.next("targets")
            expect(wizard.label("Group")).to_have_value(STATIC)
        wizard.next("parameters")
        wizard.tick("Force")
        wizard.next("strategy")
        wizard.next("review")
        made = house.wait_for(wizard.create(), status="finished")
        assert made["summary"] == "4/4 successful"
        assert (STATIC in made["target"]) is not is_release


def test_a_viewer_is_told_why_not(house: House, window: MakeWindow) -> None:
    one = window(Role.VIEWER)
    for address, label in (
        ("/deployments", "New deployment"),
        ("/groups", "Deploy to"),
        (f"/groups/{DYNAMIC}", "Deploy to"),
        ("/releases/two", "Deploy this release"),
    ):
        one.open(address)
        assert "For operators; you are a viewer." in one.refusal(label), address
    one.page.goto(f"{house.url}/deployments/new")
    expect(one.page.locator("main")).to_contain_text("the-viewer is a viewer, and this is for operators")
    one.forgive("status of 403")
    assert one.barriers() == []


def test_what_the_last_step_shows_follows_the_fleet(house: House, window: MakeWindow) -> None:
    wizard = Wizard(window(Role.OPERATOR))
    wizard.choose_release("two")
    wizard.next("targets")
    wizard.choose_targets("all")
    for step in STEPS[2:]:
        wizard.next(step)
    expect(wizard.review).to_contain_text("of 4 devices")
    with house.fleet(1) as another:
        expect(wizard.review).to_contain_text("of 5 devices")
        house.post(f"devices/{another.ids[0]}/decommission")
    expect(wizard.review).to_contain_text("of 4 devices")
