"""What must work in a browser, tried on every change: signing in, seeing live, acting, no barriers. More is in long."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from tests.browser.places import furnished
from tests.browser.window import AWAY
from wainwright_controller.people import Role
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.timeout(400)  # for what takes ten seconds on a machine that does nothing else


@pytest.fixture(scope="module")
def fleet(house: House) -> object:
    """Four devices that are accepted and do well."""
    with house.fleet(4) as devices:
        yield devices


def test_a_person_signs_in_by_keyboard_and_out_again(house: House, window: MakeWindow) -> None:
    nobody = window()
    page = nobody.page
    page.goto(f"{house.url}/deployments?q=x")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("wwt_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not one of this controller")
    nobody.forgive("status of 401")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(house.tokens[Role.VIEWER])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{house.url}/deployments?q=x")
    expect(page.locator("header .name")).to_contain_text("the-viewer viewer")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile(r"/sign-in(\?next=|$)"))  # the button's way, or that of the stream, if it is faster
    page.goto(f"{house.url}/deployments")
    expect(page.get_by_label("Token")).to_be_visible()


def test_two_people_see_the_same_change_at_once(house: House, fleet: Fleet, window: MakeWindow) -> None:
    made = house.deploy(*fleet.ids, name="seen by two", phases=[{"count": 1}, {"opens": "approval"}], strategy="canary")
    operator, viewer, listing = window(Role.OPERATOR), window(Role.VIEWER), window(Role.VIEWER)
    for one in (operator, viewer):
        one.open(f"/deployments/{made['id']}")
    listing.open("/deployments?q=seen")
    held = "awaiting-promotion"
    for one in (operator, viewer, listing):
        expect(one.page.locator("main .badge", has_text=held).first).to_be_visible()
    assert "For operators" in viewer.refusal("Promote canary")

    operator.act("Promote canary", reason="the first one is well")

    for one in (operator, viewer):
        expect(one.page.locator("#progress")).to_contain_text("4/4 successful")
        expect(one.page.locator("#timeline")).to_contain_text("the first one is well")
    expect(listing.page.locator("#list")).to_contain_text("4/4 successful")


def test_an_open_page_comes_back_with_the_controller(house: House, fleet: Fleet, window: MakeWindow) -> None:
    made = house.deploy(*fleet.ids, name="meanwhile", phases=[{"opens": "approval"}])
    one = window(Role.OPERATOR)
    one.open(f"/deployments/{made['id']}")
    expect(one.page.locator("#head")).not_to_contain_text("aborted")
    one.page.evaluate("window.isTheSamePage = true")

    house.stop_controller()
    expect(one.page.locator("#live-state")).to_have_text("Reconnecting…")
    house.start_controller()
    house.post(f"deployments/{made['id']}/abort", {"reason": "while the page was away"})

    expect(one.page.locator("#head .badge")).to_contain_text("aborted")
    expect(one.page.locator("#timeline")).to_contain_text("while the page was away")
    one.expect_live()
    assert one.page.evaluate("window.isTheSamePage"), "it must not need to be loaded again"
    one.forgive(AWAY)


def test_what_somebody_types_stays_while_the_page_changes(house: House, fleet: Fleet, window: MakeWindow) -> None:
    made = house.deploy(*fleet.ids, name="typed", phases=[{"count": 1}, {"opens": "approval"}])
    house.wait_for(made["id"], hold="awaiting-promotion")
    one = window(Role.OPERATOR)
    page = one.open(f"/deployments/{made['id']}")
    one.button("Pause").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=reason]").fill("half a sen")
    house.post(f"deployments/{made['id']}/pause", {"reason": "by another"})
    expect(page.locator("#head")).to_contain_text("by another")
    expect(dialog.locator("[name=reason]")).to_be_focused()
    page.keyboard.type("tence")
    dialog.get_by_role("button", name="Pause", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text(re.compile("paused", re.IGNORECASE))
    assert dialog.locator("[name=reason]").input_value() == "half a sentence"
    one.forgive("status of 409")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert "is paused" in one.refusal("Delete")
    one.act("Cancel")


def test_no_page_has_an_error(house: House, window: MakeWindow) -> None:
    """As an admin, with names that do harm; test_looks.py looks at them in all sizes, and for barriers."""
    with house.fleet(3) as fleet:
        one = window(Role.ADMIN)
        for place in [*furnished(house, fleet).values(), "/devices?q=nobody"]:
            page = one.open(place)
            expect(page.locator("h1")).to_have_count(1)
        nobody = window()
        nobody.page.goto(f"{house.url}/sign-in")
        assert nobody.barriers() == []
