"""The wizard's page, and what it says before anything is done."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
import requests

from tests.controller.api.served import Json, Served
from tests.controller.web.conftest import TOKEN, user
from tests.controller.web.visitor import Visitor
from wainwright_controller.web.order import OPTIONS
from wainwright_controller.web.wizard import STEPS

IDS = ["lathe-1", "lathe-2", "lathe-3"]


@pytest.fixture(scope="module")
def admin(guarded: Served) -> Visitor:
    """Somebody who may do everything, with a release and three devices."""
    guarded.release("wizard-1")
    guarded.accept(*IDS)
    guarded.post("groups", {"name": "lathes", "ids": IDS[:2]})
    return Visitor.signed_in(guarded, TOKEN)


def asked(visitor: Visitor, fields: dict[str, str], **headers: str) -> requests.Response:
    """Ask what fields would do, as the page does."""
    headers = {"X-CSRF-Token": visitor.csrf(), "Accept": "application/json"} | headers
    return visitor.post("/deployments/new/plan", json=fields, headers=headers)


def order_in(html: str) -> Json:
    """Return the order that a review would send."""
    order: Json = json.loads(unescape(html.split('data-order="', 1)[1].split('"', 1)[0]))
    return order


def test_it_has_five_steps_and_a_place_for_each_field(admin: Visitor) -> None:
    html = admin.get("/deployments/new").text
    assert re.findall(r'<fieldset class="step" id="step-(\w+)"', html) == list(STEPS)
    places = set(re.findall(r'data-of="([\w-]+)"', html))
    assert OPTIONS.keys() - places == {"all", "strategy"}, "which are chosen by a button"


def test_where_somebody_comes_from_is_filled_in(admin: Visitor) -> None:
    html = admin.get("/deployments/new?release=wizard-1&group=lathes").text
    assert 'name="release" list="releases" value="wizard-1"' in html
    assert '<option value="lathes" selected>' in html
    assert 'name="target" value="to" checked' in html


def test_the_review_says_who_gets_it_and_sends_what_it_said(admin: Visitor, guarded: Served) -> None:
    fields = {"release": "wizard-1", "device": " ".join(IDS), "canary": "1", "name": "by <wizard>"}
    html = asked(admin, fields).text

    assert "0 of 3 devices" in html, "they have not told their type yet"
    assert "lathe-1" in html
    assert "no-artifact" in html
    assert "wainwright deployment create wizard-1 --device lathe-1 --device lathe-2" in html
    assert "by &lt;wizard&gt;" in html
    made = admin.call("POST", "/deployments", csrf=admin.csrf(), json=order_in(html))
    assert made.status_code == 201, made.text
    assert guarded.get(f"deployments/{made.json()['id']}")["name"] == "by <wizard>"


def test_the_review_says_when_nothing_stops_a_plan_that_goes_on_by_itself(admin: Visitor) -> None:
    fields = {"release": "wizard-1", "device": " ".join(IDS), "canary": "1+1h"}

    assert "No limit on failures" in asked(admin, fields).text
    assert "No limit on failures" not in asked(admin, fields | {"max-failures": "1"}).text


def test_nothing_is_made_by_asking(admin: Visitor, guarded: Served) -> None:
    before = guarded.get("deployments")["total"]
    assert asked(admin, {"release": "wizard-1", "to": "lathes"}).ok
    assert guarded.get("deployments")["total"] == before


@pytest.mark.parametrize(
    ("fields", "field", "step"),
    [
        ({}, "release", "release"),
        ({"release": "no-such", "all": "yes"}, "release", "release"),
        ({"release": "wizard-1", "to": "no-such"}, "to", "targets"),
        ({"release": "wizard-1", "device": "no-such"}, "device", "targets"),
        ({"release": "wizard-1", "where": "site = "}, "where", "targets"),
        ({"release": "wizard-1", "all": "yes", "retries": "101"}, "retries", "parameters"),
        ({"release": "wizard-1", "all": "yes", "name": "x" * 300}, "name", "parameters"),
        ({"release": "wizard-1", "all": "yes", "max-failures": "101%"}, "max-failures", "strategy"),
        ({"release": "wizard-1", "to": "release-hall"}, "to", "targets"),
        ({"release": "wizard-1", "target": "to"}, "to", "targets"),
        ({"release": "wizard-1", "target": "where"}, "where", "targets"),
        ({"release": "wizard-1", "target": "device"}, "device", "targets"),
        ({"release": "wizard-1", "all": "yes", "downloading-timeout": "0"}, "downloading-timeout", "parameters"),
        ({"release": "wizard-1", "all": "yes", "on-failures": "abort"}, "on-failures", "strategy"),
        ({"release": "wizard-1", "all": "yes", "kind": "canary"}, "canary", "strategy"),
        ({"release": "wizard-1", "all": "yes", "kind": "rolling", "batch": ""}, "batch", "strategy"),
        ({"release": "wizard-1", "all": "yes", "kind": "phased"}, "phase", "strategy"),
        ({"release": "wizard-1", "all": "yes", "kind": "rolling", "batch": "0"}, "batch", "strategy"),
        ({"release": "wizard-1", "all": "yes", "kind": "phased", "phase": "60%\n60%\n1"}, "phase", "strategy"),
    ],
)
def test_a_mistake_says_where_it_is(admin: Visitor, fields: dict[str, str], field: str, step: str) -> None:
    html = asked(admin, fields).text
    assert f'data-field="{field}" data-step="{step}"' in html
    assert "data-order" not in html


def test_a_viewer_is_told_whom_it_is_for(admin: Visitor, guarded: Served) -> None:
    looker = Visitor.signed_in(guarded, user(guarded, "onlooker", "viewer")["token"])
    answer = looker.get("/deployments/new")
    assert answer.status_code == 403
    assert "operators" in answer.text
    assert asked(looker, {"release": "wizard-1"}).status_code == 403
    assert asked(admin, {"release": "wizard-1"}, **{"X-CSRF-Token": "0" * 64}).status_code == 403
