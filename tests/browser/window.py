"""A window of a browser at a controller's pages, that notes what goes wrong in it, and clicks as a person does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

PATIENCE_MS = 60_000  # for what takes a fraction of a second on a machine that does nothing else
SERIOUS = frozenset({"serious", "critical"})
AWAY = re.compile(r"Failed to load resource: net::ERR_|net::ERR_(CONNECTION|INCOMPLETE|EMPTY)")
"""What a browser writes of a controller that is away."""

expect.set_options(timeout=PATIENCE_MS)


class Window:
    """A window of its own, with its own cookies."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.errors: list[str] = []
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def forgive(self, pattern: str | re.Pattern[str]) -> None:
        """Take errors of a kind as what had to come; those of other kinds stay."""
        self.errors = [one for one in self.errors if not re.search(pattern, one)]

    def open(self, path: str) -> Page:
        """Go to a page, and wait until its stream, if it has one, is there."""
        self.page.goto(self.url + path)
        if self.page.locator("main[data-live]").count():
            self.expect_live()
        return self.page

    def expect_live(self) -> None:
        """Wait until the page says that it is live."""
        expect(self.page.locator("#live-state")).to_have_text("Live")

    def sign_in(self, token: str, wanted: str = "/deployments") -> None:
        """Sign in by the form, and wait for the page that was wanted."""
        self.page.goto(f"{self.url}{wanted}")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(self.url + wanted)

    # ---- actions ----------------------------------------------------------------------------------------------------

    def button(self, label: str) -> Locator:
        """Return the button of an action."""
        return self.page.get_by_role("main").get_by_role("button", name=label, exact=True).locator("visible=true").first

    def act(self, label: str, reason: str = "", **fields: str) -> None:
        """Click an action, fill its dialog, confirm, and wait until it is done."""
        self.button(label).click()
        dialog = self.page.locator("dialog[open]")
        expect(dialog).to_be_visible()
        self.fill(dialog, reason, fields)
        dialog.get_by_role("button", name=label, exact=True).click()
        expect(dialog).to_have_count(0)

    @staticmethod
    def fill(dialog: Locator, reason: str = "", fields: dict[str, str] | None = None) -> None:
        """Fill what a dialog asks for: a reason, what has to be typed to confirm, other fields by their labels."""
        if reason:
            dialog.locator("[name=reason]").fill(reason)
        for label, value in (fields or {}).items():
            dialog.get_by_label(label).fill(value)
        confirm = dialog.locator("[data-confirm]")
        if confirm.count():
            confirm.fill(confirm.get_attribute("data-confirm") or "")

    def refusal(self, label: str) -> str:
        """Click an action that is not possible; returns what the page says of it."""
        button = self.button(label)
        expect(button).to_have_attribute("aria-disabled", "true")
        button.click(force=True)
        toast = self.page.locator("#toasts p").last
        expect(toast).to_be_visible()
        assert self.page.locator("dialog[open]").count() == 0
        return toast.inner_text()

    # ---- looking ----------------------------------------------------------------------------------------------------

    def barriers(self, **options: Any) -> Sequence[str]:  # noqa: ANN401  as axe takes them
        """Return what axe-core finds of serious and critical issues on the page."""
        found = Axe().run(self.page, **options).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {node['html'][:200]}; {node.get('failureSummary', '')[:300]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"][:3]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wide
