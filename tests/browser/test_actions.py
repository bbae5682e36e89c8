"""Every action on a deployment by clicking, as every role: done by those who may, refused to others with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.actions import CASES, Case, aborted, finished, held
from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from wainwright_controller.api import roles
from wainwright_controller.people import Role
from wainwright_controller.rules.actions import Act
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(house: House) -> Iterator[Fleet]:
    """Four devices that are accepted and do well."""
    with house.fleet(4) as devices:
        yield devices


@pytest.fixture(autouse=True)
def _over(house: House) -> Iterator[None]:
    """After each test nothing holds the devices any more."""
    yield
    house.abort_all()


def least(act: Act) -> Role:
    """Return the role that an action needs at least."""
    method, path = ("DELETE", "") if act is Act.DELETE else ("POST", f"/{act}")
    return roles.least(method, f"/deployments/{{deployment_id}}{path}")


@pytest.mark.parametrize("role", list(Role), ids=list(Role))
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_action_is_for_those_who_may(house: House, fleet: Fleet, window: MakeWindow, case: Case, role: Role) -> None:
    made = case.begin(house, fleet)
    one = window(role)
    page = one.open(f"/deployments/{made['id']}")
    if not role.includes(least(case.act)):
        assert re.match(rf"For {least(case.act)}s; you are an? {role}\.", one.refusal(case.label))
        return

    one.act(case.label, reason="" if case.is_gone else f"by an {role}")

    if case.is_gone:
        page.wait_for_url(f"{house.url}/deployments")
        expect(page.locator("#toasts")).to_contain_text("done")
        assert house.serve.call("GET", f"deployments/{made['id']}").status_code == 404
        return
    expect(page.locator("main")).to_contain_text(case.seen)
    expect(page.locator("#timeline")).to_contain_text(f"by an {role}")
    assert any(
        line["actor"] == f"the-{role}" and f"by an {role}" in line["text"]
        for line in house.get(f"deployments/{made['id']}/timeline", limit=200)["items"]
    )


def test_every_action_is_clicked() -> None:
    assert {case.act for case in CASES.values()} == set(Act)


def test_who_asked_for_an_approval_does_not_give_it(house: House, fleet: Fleet, window: MakeWindow) -> None:
    body = {"release": "two", "devices": fleet.ids, "approval": True}
    made = house.serve.good("POST", "deployments", house.tokens[Role.ADMIN], json=body)
    one = window(Role.ADMIN)
    one.open(f"/deployments/{made['id']}")

    assert "another admin" in one.refusal("Approve")


@pytest.mark.parametrize(("label", "why"), [("Roll back", "has got"), ("Cancel", "finished"), ("Pause", "finished")])
def test_what_is_not_possible_says_why(house: House, fleet: Fleet, window: MakeWindow, label: str, why: str) -> None:
    one = window(Role.OPERATOR)
    one.open(f"/deployments/{aborted(house, fleet)['id']}")

    assert why in one.refusal(label)


def test_what_cannot_be_undone_has_to_be_typed(house: House, fleet: Fleet, window: MakeWindow) -> None:
    made = held(house, fleet, name="ציפור \u202egnp<b>", force=True)
    one = window(Role.OPERATOR)
    page = one.open(f"/deployments/{made['id']}")
    one.button("Roll back").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("devices that have it")
    dialog.get_by_role("button", name="Roll back", exact=True).click()
    dialog.locator("[data-confirm]").fill("something else")
    dialog.get_by_role("button", name="Roll back", exact=True).click()
    assert house.deployment(made["id"])["hold"] == "awaiting-promotion"

    dialog.locator("[data-confirm]").fill(made["name"])
    dialog.get_by_role("button", name="Roll back", exact=True).click()

    expect(page.locator("#head")).to_contain_text("Rolled back by")


def test_an_action_that_came_too_late_is_told_where_it_was_asked(
    house: House, fleet: Fleet, window: MakeWindow
) -> None:
    made = held(house, fleet)
    one = window(Role.OPERATOR)
    page = one.open(f"/deployments/{made['id']}")
    one.button("Pause").click()
    house.post(f"deployments/{made['id']}/abort")
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("button", name="Pause", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("is finished")
    one.forgive("status of 409")


def test_a_promotion_opens_the_phase_that_was_shown_and_not_the_one_after_it(
    house: House, fleet: Fleet, window: MakeWindow
) -> None:
    plan = [{"count": 1}, {"count": 1, "opens": "approval"}, {"opens": "approval"}]
    made = house.deploy(*fleet.ids, phases=plan, strategy="phased")
    house.wait_for(made["id"], hold="awaiting-promotion")
    one = window(Role.OPERATOR)
    page = one.open(f"/deployments/{made['id']}")
    one.button("Open next phase").click()
    house.post(f"deployments/{made['id']}/promote")
    expect(page.locator("#timeline")).to_contain_text("phase 2 of 3 opened")
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("button", name="Open next phase", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("Phase 2 of")
    one.forgive("status of 409")
    assert ["opened_at" in phase for phase in house.deployment(made["id"])["phases"]] == [True, True, False]


def test_a_page_whose_session_has_ended_leads_to_the_sign_in_and_back(
    house: House, fleet: Fleet, window: MakeWindow
) -> None:
    made = finished(house, fleet)
    token = house.post("tokens", {"user": "the-viewer"})
    one = window()
    one.sign_in(token["token"], f"/deployments/{made['id']}")
    one.expect_live()
    house.serve.call("POST", f"tokens/{token['id']}/revoke")
    expect(one.page.get_by_label("Token")).to_be_visible()
    one.page.get_by_label("Token").fill(house.tokens[Role.VIEWER])
    one.page.keyboard.press("Enter")
    one.page.wait_for_url(f"{house.url}/deployments/{made['id']}")
