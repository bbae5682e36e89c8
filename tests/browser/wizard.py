"""The wizard as a person uses it: a step at a time, by the labels of what is filled in and clicked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from playwright.sync_api import Locator, Page, expect

from tests.browser.window import Window

STEPS = ("release", "targets", "parameters", "strategy", "review")
TARGETS: Mapping[str, str] = {
    "all": "All devices",
    "to": "A group",
    "where": "A filter",
    "device": "Single devices",
}
"""The button of each way to say to whom."""


class Spread(NamedTuple):
    """What is clicked and filled in at the fourth step: a button, fields and lists by their labels, boxes."""

    button: str
    fields: Mapping[str, str] = {}
    choices: Mapping[str, str] = {}
    boxes: tuple[str, ...] = ()


class Wizard:
    """The wizard in a window; it is opened by going to an address or by clicking what leads there."""

    def __init__(self, window: Window, address: str = "/deployments/new") -> None:
        self.window = window
        self.page: Page = window.open(address) if address else window.page

    @property
    def step(self) -> Locator:
        """The step that is shown."""
        return self.page.locator(".step:visible")

    def expect_step(self, name: str) -> None:
        """Wait until a step is the one that is shown, and said to be."""
        expect(self.page.locator(f"#step-{name}")).to_be_visible()
        expect(self.page.locator(".steps [aria-current=step]")).to_have_attribute("data-step", name)
        expect(self.page.locator(".step:visible")).to_have_count(1)

    def next(self, step: str) -> None:
        """Go on, and arrive at a step."""
        self.page.get_by_role("button", name="Next", exact=True).click()
        self.expect_step(step)

    def back(self, step: str) -> None:
        """Go back, and arrive at a step."""
        self.page.get_by_role("button", name="Back", exact=True).click()
        self.expect_step(step)

    def label(self, text: str) -> Locator:
        """Return the field that has a label, of those that are shown."""
        return self.step.get_by_label(text, exact=True).locator("visible=true")

    def choose_release(self, name: str) -> None:
        """Fill the first step."""
        self.label("Release").fill(name)

    def choose_targets(self, way: str, value: str = "") -> None:
        """Fill the second step."""
        self.step.get_by_role("radio", name=TARGETS[way]).check()
        if way == "to":
            self.label("Group").select_option(value)
        elif way == "where":
            self.label("Filter").fill(value)
        elif way == "device":
            self.label("Devices").fill(value)

    def choose_strategy(self, spread: Spread) -> None:
        """Fill the fourth step."""
        self.step.get_by_role("radio", name=spread.button).check()
        for label, value in spread.choices.items():
            self.label(label).select_option(label=value)
        for label, value in spread.fields.items():
            self.label(label).fill(value)
        for text in spread.boxes:
            self.tick(text)

    def tick(self, text: str) -> None:
        """Tick one of a step's boxes."""
        self.step.get_by_role("checkbox", name=re.compile(f"^{text}")).check()

    def expect_complaint(self, label: str, text: str) -> None:
        """Wait until a field is said to be wrong, where the keyboard is then, and why."""
        expect(self.page.locator("#wizard-error")).to_contain_text(text)
        expect(self.label(label)).to_have_attribute("aria-invalid", "true")
        expect(self.label(label)).to_be_focused()

    @property
    def review(self) -> Locator:
        """What the last step shows."""
        return self.page.locator("#review")

    def command(self) -> str:
        """Return the command that does the same."""
        return self.page.locator("#command").inner_text()

    def create(self) -> str:
        """Submit; returns the id of the deployment at whose page that ends."""
        self.page.get_by_role("button", name="Create deployment").click()
        self.page.wait_for_url(re.compile(r"/deployments/[0-9a-f-]{32,}$"))
        expect(self.page.locator("#toasts")).to_contain_text("Created")
        self.window.expect_live()
        return self.page.url.rsplit("/", 1)[1]
