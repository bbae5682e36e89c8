"""A browser and a house for a module of tests; windows that fail their test when something goes wrong in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.house import House
from tests.browser.window import PATIENCE_MS, Window
from wainwright_controller.people import Role

CHROMIUM = "/usr/bin/chromium"
MakeWindow = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses to work for root
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE_MS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A controller with its broker, two releases, and people; make devices and deployments of your own."""
    with House(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture
def window(browser: Browser, house: House) -> Iterator[MakeWindow]:
    """Opens windows, `window(Role.VIEWER)`, signed in as that role; without one, as nobody."""
    made: list[Window] = []

    def make(role: Role | None = None, **options: Any) -> Window:  # noqa: ANN401  as Playwright takes them
        context = browser.new_context(**options)
        if role is not None:
            context.add_cookies([house.cookie(role)])
        made.append(Window(context, house.url))
        return made[-1]

    yield make
    for one in made:
        one.context.close()
    assert [error for one in made for error in one.errors] == []
