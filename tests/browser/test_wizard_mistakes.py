"""What the wizard does with mistakes: each is told at its step, at its field, and nothing that was typed is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from tests.browser.wizard import Spread, Wizard
from wainwright_controller.people import Role
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.long


class Mistake(NamedTuple):
    """What is filled into the field of a label, after a button was chosen, and what the page says of it."""

    label: str
    value: str
    text: str
    button: str = ""


RELEASE = [Mistake("Release", "", "Choose a release."), Mistake("Release", "three", "No such release: three")]
TARGETS = [
    Mistake("Group", "", "Choose a group.", "A group"),
    Mistake("Filter", "", "Write a filter.", "A filter"),
    Mistake("Filter", "inventory.fleet =", "column", "A filter"),
    Mistake("At most", "0", "“At most”", "A filter"),
    Mistake("Devices", "", "Name the devices.", "Single devices"),
    Mistake("Devices", "nobody", "Not an accepted device: nobody", "Single devices"),
]
PARAMETERS = [
    Mistake("Retries", "101", "“Retries”"),
    Mistake("Maintenance windows", "at night", "at night"),
    Mistake("Bandwidth", "fast", "fast"),
    Mistake("Longest silence", "long", "“Longest silence”"),
    Mistake("Longest attempt", "3 weeks", "“Longest attempt”"),
    Mistake("Longest download", "0", "“Longest download”"),
    Mistake("Longest installation", "-1h", "“Longest installation”"),
    Mistake("Longest reboot", "x", "“Longest reboot”"),
]
STRATEGY = [
    Mistake("Canary", "a few", "a few", "Canary"),
    Mistake("Canary", "", "Say how large the canary is", "Canary"),
    Mistake("Batch", "", "Say how large a batch is", "Rolling"),
    Mistake("Phases", "", "Write the phases", "Phases"),
    Mistake("Batch", "0", "1 device at least", "Rolling"),
    Mistake("Phases", "60%\n60%\n1", "add up to 120 %", "Phases"),
    Mistake("Phases", "1\nmany?", "many", "Phases"),
    Mistake("Soak", "a while", "“Soak”", "Rolling"),
    Mistake("Most failures", "200%", "200%", "Immediate"),
    Mistake("Smallest sample", "0", "“Smallest sample”", "Immediate"),
    Mistake("Error codes", "no-space", "give that", "Immediate"),
    Mistake("Then it", "abort", "give that", "Immediate"),
    Mistake("Rate", "quick", "quick", "Immediate"),
    Mistake("Ramp", "2", "“Ramp”", "Immediate"),
    Mistake("At once", "0", "“At once”", "Immediate"),
]


@pytest.fixture(scope="module", autouse=True)
def fleet(house: House) -> Iterator[Fleet]:
    """Two devices that are accepted."""
    with house.fleet(2) as devices:
        yield devices


@pytest.fixture
def wizard(window: MakeWindow) -> Wizard:
    """An operator's wizard."""
    return Wizard(window(Role.OPERATOR))


def err(wizard: Wizard, mistakes: list[Mistake]) -> None:
    """Make each mistake, be told where it is, and put it right again."""
    for one in mistakes:
        if one.button:
            wizard.step.get_by_role("radio", name=one.button).check()
        field = wizard.label(one.label)
        former = field.input_value()
        put = field.select_option if field.evaluate("field => field.nodeName") == "SELECT" else field.fill
        put(one.value)
        wizard.page.get_by_role("button", name="Next", exact=True).click()
        wizard.expect_complaint(one.label, one.text)
        put(former)


def test_a_mistake_at_the_release_is_told_there(wizard: Wizard) -> None:
    err(wizard, RELEASE)
    assert wizard.window.barriers() == []


def test_a_mistake_at_the_targets_is_told_there(wizard: Wizard) -> None:
    wizard.choose_release("two")
    wizard.next("targets")
    wizard.choose_targets("where", 'device_type = "press"')
    err(wizard, TARGETS)


def test_a_mistake_at_the_parameters_is_told_there(wizard: Wizard) -> None:
    wizard.choose_release("two")
    wizard.next("targets")
    wizard.next("parameters")
    err(wizard, PARAMETERS)


def test_a_mistake_at_the_strategy_is_told_there(wizard: Wizard) -> None:
    wizard.choose_release("two")
    for step in ("targets", "parameters", "strategy"):
        wizard.next(step)
    err(wizard, STRATEGY)


def test_what_contradicts_itself_is_told(wizard: Wizard) -> None:
    wizard.choose_release("two")
    for step in ("targets", "parameters", "strategy"):
        wizard.next(step)
    wizard.label("Start at").fill("2100-01-01T00:00")
    wizard.tick("Start by hand")
    wizard.page.get_by_role("button", name="Next", exact=True).click()
    expect(wizard.page.locator("#wizard-error")).to_contain_text("“Start by hand” waits for a person, “Start at”")
    wizard.expect_step("strategy")


def test_going_back_loses_nothing(wizard: Wizard, fleet: Fleet) -> None:
    wizard.choose_release("two")
    wizard.next("targets")
    wizard.choose_targets("device", "\n".join(fleet.ids))
    wizard.next("parameters")
    typed = {"Name": "typed before", "Retries": "3", "Maintenance windows": "sat 10:00-12:00"}
    for label, value in typed.items():
        wizard.label(label).fill(value)
    wizard.tick("Force")
    wizard.next("strategy")
    wizard.choose_strategy(Spread("Rolling", {"Batch": "1", "After": "5m"}, {"Each next one": "opens after a while"}))
    wizard.next("review")
    command = wizard.command()
    for step in ("strategy", "parameters", "targets", "release"):
        wizard.back(step)
    expect(wizard.page.get_by_role("button", name="Back", exact=True)).to_be_hidden()
    wizard.next("targets")
    expect(wizard.label("Devices")).to_have_value("\n".join(fleet.ids))
    wizard.next("parameters")
    for label, value in typed.items():
        expect(wizard.label(label)).to_have_value(value)
    wizard.page.go_back()
    wizard.expect_step("targets")
    wizard.page.go_forward()
    wizard.next("strategy")
    expect(wizard.label("Batch")).to_have_value("1")
    wizard.next("review")
    assert wizard.command() == command


def test_back_goes_to_the_step_before_however_one_came(wizard: Wizard, house: House) -> None:
    wizard.choose_release("two")
    for step in ("targets", "parameters", "strategy"):
        wizard.next(step)
    wizard.page.get_by_role("link", name="2. Targets").click()
    wizard.expect_step("targets")
    wizard.back("release")

    wizard.page.goto(f"{house.url}/groups")
    wizard.page.goto(f"{house.url}/deployments/new?release=two#targets")
    wizard.expect_step("targets")
    wizard.back("release")
    expect(wizard.label("Release")).to_have_value("two")


def test_what_the_review_finds_wrong_leads_to_its_field(wizard: Wizard) -> None:
    wizard.page.get_by_role("link", name="5. Review").click()
    wizard.expect_step("review")
    expect(wizard.review).to_contain_text("Choose a release.")
    expect(wizard.page.get_by_role("button", name="Create deployment")).to_be_disabled()
    wizard.review.get_by_role("link", name="Change it").click()
    wizard.expect_step("release")
    wizard.expect_complaint("Release", "Choose a release.")


def test_what_is_deleted_meanwhile_is_told_and_makes_nothing(wizard: Wizard, house: House) -> None:
    house.release("short-lived")
    wizard.choose_release("short-lived")
    for step in ("targets", "parameters", "strategy", "review"):
        wizard.next(step)
    expect(wizard.review).to_contain_text("2 of 2 devices")
    before = house.get("deployments", limit=1)
    house.serve.good("DELETE", "releases/short-lived")
    wizard.page.get_by_role("button", name="Create deployment").click()
    expect(wizard.page.locator("#wizard-error")).to_contain_text("No such release: short-lived")
    assert house.get("deployments", limit=1) == before
    wizard.window.forgive("status of 404")


def test_the_wizard_goes_on_by_the_keyboard(wizard: Wizard, house: House) -> None:
    page = wizard.page
    wizard.label("Release").focus()
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    wizard.expect_step("targets")
    expect(page.locator("#step-targets h2")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="All devices")).to_be_focused()
    page.keyboard.press("Enter")
    wizard.expect_step("parameters")
    page.keyboard.press("Tab")
    page.keyboard.type("by keys")
    page.keyboard.press("Enter")
    wizard.expect_step("strategy")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wizard.expect_step("review")
    create = page.get_by_role("button", name="Create deployment")
    expect(create).to_be_enabled()
    for _ in range(6):
        page.keyboard.press("Tab")
        if create.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"{house.url}/deployments/*")
    expect(page.locator("h1")).to_have_text("by keys")
