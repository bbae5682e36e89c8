"""How every page looks, with names that do harm: light and dark, on a phone and on a wall, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from tests.browser.places import furnished, pages
from wainwright_controller.people import Role
from wainwright_controller.web.roles import least

pytestmark = pytest.mark.long
WIDTHS = (360, 1280, 2560)


@pytest.fixture(scope="module")
def places(house: House) -> Iterator[Mapping[str, str]]:
    """An address of each page; the devices stay."""
    with house.fleet(3) as fleet:
        yield furnished(house, fleet)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", pages())
def test_a_page_has_no_barriers(
    places: Mapping[str, str], window: MakeWindow, path: str, scheme: Literal["light", "dark"]
) -> None:
    for width in WIDTHS:
        one = window(Role.ADMIN, color_scheme=scheme, viewport={"width": width, "height": 900})
        one.open(places[path])
        assert one.barriers() == []
        assert (width, one.overflow()) == (width, 0)


@pytest.mark.parametrize("path", pages())
def test_a_page_can_be_read_without_scripts_and_with_a_keyboard(
    house: House, places: Mapping[str, str], window: MakeWindow, path: str
) -> None:
    bare = window(Role.ADMIN, java_script_enabled=False)
    bare.page.goto(house.url + places[path])
    expect(bare.page.locator("h1")).to_have_count(1)
    assert "Without JavaScript" in bare.page.content()
    bare.errors.clear()  # scripts that were not run are told as errors

    one = window(Role.ADMIN)
    page = one.open(places[path])
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main, footer') !== null"), "the content comes after the link"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_a_page_is_whole_for_every_role(
    house: House, places: Mapping[str, str], window: MakeWindow, role: Role
) -> None:
    for path, place in places.items():
        one = window(role)
        if not role.includes(least("GET", path)):
            one.page.goto(house.url + place)
            expect(one.page.locator("main")).to_contain_text("not-allowed")
            one.forgive("status of 403")
            continue
        one.open(place)
        assert one.barriers() == []


def test_an_empty_controller_says_what_to_do_first(window: MakeWindow, house: House) -> None:
    for path in ("/deployments?q=nothing-like-that", "/devices?q=nothing-like-that", "/groups?q=nothing-like-that"):
        one = window(Role.OPERATOR)
        one.open(path)
        expect(one.page.locator(".empty h2")).to_be_visible()
        assert one.barriers() == []
    missing = window(Role.OPERATOR)
    missing.page.goto(f"{house.url}/deployments/nothing")
    expect(missing.page.locator("h1")).to_have_text("Not Found")
    assert missing.barriers() == []
    missing.forgive("status of 404")
