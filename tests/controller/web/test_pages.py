"""What every page has: headers, errors for people and for programs, files to be kept, and no gap for a script."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.common.artifact.build import Recipe, header_info
from tests.controller.api.served import Json, Served
from tests.controller.web.conftest import TOKEN, user
from tests.controller.web.visitor import HTML, Stream, Visitor, is_elsewhere, links
from tests.support.mosquitto import Mosquitto
from tests.support.wait import wait_until
from wainwright_controller.people import Role
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import STATIC, release_of_pages
from wainwright_controller.web.roles import OPEN, SHOWS, least
from wainwright_controller.web.roles import VIEWS as VIEW_PAGES

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</textarea></title></style><svg onload=alert(1)>",
    "\u202egnp.exe\u2066",
    "javascript:alert(1)",
    "&lt;b&gt;&amp;",
]
DATA = {"/live", "/filters", "/filters/names", "/audit.csv"}  # for scripts and for spreadsheets
PAGES = sorted(path for method, path in SHOWS if method == "GET" and path != "/live")
GROUP = HOSTILE[1]  # a name without a slash, as those of groups are


class Markup(HTMLParser):
    """Collects what could run: elements, attributes of events, addresses, styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self.found.append("a script of its own")
        if tag in {"style", "iframe", "object", "embed", "base"}:
            self.found.append(tag)
        for name, value in attrs:
            self.values.append(value or "")
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}={value}")
            if name in {"href", "src", "action", "formaction"} and is_elsewhere(value or ""):
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def hostile(guarded: Served) -> dict[str, Json]:
    """A deployment, a release, a group and a device of each hostile name, where they may be named so."""
    made: dict[str, Json] = {}
    guarded.accept("plain-1")
    guarded.post("groups", {"name": GROUP, "ids": ["plain-1"]})
    for number, name in enumerate(HOSTILE):
        info = header_info(artifact_provides={"artifact_name": name}, artifact_depends={"device_type": ["pi4"]})
        blob = replace(Recipe(), header_info=info).blob()
        release = name if guarded.upload(blob).ok else f"release-{number}"
        if release != name:
            guarded.release(release)
        made[name] = guarded.deploy(release, "plain-1", name=name)
    return made


def concrete(path: str, hostile: dict[str, Json]) -> str:
    """Return an address of a page."""
    one = hostile[HOSTILE[0]]
    if path == "/groups/{name}":
        return f"/groups/{quote(GROUP, safe='')}"
    filled = path.replace("{deployment_id}", one["id"]).replace("{device_id}", "plain-1")
    return re.sub(r"{name(:path)?}", lambda _: quote(one["artifact_name"], safe=""), filled)


@pytest.mark.parametrize("path", [path for path in PAGES if path not in DATA])
def test_every_page_forbids_what_it_does_not_need(guarded: Served, hostile: dict[str, Json], path: str) -> None:
    answer = Visitor.signed_in(guarded, TOKEN).get(concrete(path, hostile))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    check_headers(answer.headers)
    assert Markup(answer.text).found == []
    if answer.status_code != 404:
        assert answer.status_code == 200
        assert answer.text.count("<h1") == 1


def check_headers(headers: object) -> None:
    assert hasattr(headers, "__getitem__")
    policy = dict(one.strip().split(" ", 1) for one in headers["content-security-policy"].split(";"))
    assert policy == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("role", list(Role), ids=list(Role))
def test_a_page_is_for_those_who_may_see_what_it_shows(
    guarded: Served, hostile: dict[str, Json], role: Role, path: str
) -> None:
    name = f"{role}-of-{re.sub('[^a-z]', '-', path)}"[:60]
    visitor = Visitor.signed_in(guarded, user(guarded, name, role)["token"])
    place = concrete(path, hostile)

    answer = visitor.get(place)
    assert (answer.status_code == 403) is not role.includes(least("GET", path))
    anonymous = Visitor(guarded).get(place)
    assert (anonymous.status_code, anonymous.headers["location"].startswith("/sign-in?next=")) == (303, True)


def test_every_view_has_a_page_whose_role_it_asks_for(guarded: Served) -> None:
    assert guarded.url
    assert VIEWS.keys() == VIEW_PAGES.keys(), "add them to VIEWS of web/roles.py"
    assert set(VIEW_PAGES.values()) <= SHOWS.keys()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "not-found"),
        ("//evil.example/x", 404, "not-found"),
        ("/deployments/nothing-of-that-name", 404, "not-found"),
        ("/deployments?cursor=nonsense", 422, "invalid"),
        ("/static/x/nothing.js", 404, "not-found"),
        ("/sign-out", 405, "method-not-allowed"),
        ("/live?view=nothing", 404, "not-found"),
        ("/live", 422, "invalid"),
    ],
)
def test_errors_are_pages_for_people_and_problems_for_programs(
    guarded: Served, path: str, status: int, code: str
) -> None:
    visitor = Visitor.signed_in(guarded, TOKEN)

    page = visitor.get(path)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert code in page.text
    assert Markup(page.text).found == []
    check_headers(page.headers)
    for accept in ("application/json", "*/*", "text/event-stream", ""):
        problem = visitor.get(path, headers={"Accept": accept})
        assert (accept, problem.status_code, problem.headers["content-type"]) == (
            accept,
            status,
            "application/problem+json",
        )
        assert problem.json()["code"] == code


def test_the_api_answers_a_browser_as_everybody(guarded: Served) -> None:
    answer = Visitor(guarded).get("/api/v1/devices", headers={"Accept": HTML})

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


def test_a_mistake_of_ours_and_a_store_that_is_away_are_pages_too(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(tmp_path, mosquitto) as served:
        visitor = Visitor(served)
        with served.controller.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE deployment RENAME TO away")
        away = visitor.get("/deployments")
        assert (away.status_code, "store-unavailable" in away.text) == (503, True)
        check_headers(away.headers)
        with served.controller.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO deployment")
        monkeypatch.setattr("wainwright_controller.web.deployments.ROWS", "no number")
        mistake = visitor.get("/deployments")
        assert (mistake.status_code, "its log says which one" in mistake.text) == (500, True)
        assert "Traceback" not in mistake.text
        check_headers(mistake.headers)


def test_files_are_kept_for_as_long_as_they_are_those_of_the_release(guarded: Served, visitor: Visitor) -> None:
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    names = sorted(path.name for path in STATIC.iterdir() if path.is_file())
    assert len(names) > 6
    for name in names:
        answer = visitor.get(f"/static/{release_of_pages()}/{name}")
        assert (name, answer.status_code) == (name, 200)
        assert answer.headers["content-type"].split(";")[0] == types[Path(name).suffix]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert visitor.get(f"/static/another/{name}").headers["cache-control"] == "no-cache"
    linked = [one for one in links(visitor.get("/sign-in").text) if one.startswith("/static/")]
    assert linked
    assert all(one.startswith(f"/static/{release_of_pages()}/") for one in linked)
    assert guarded.call("GET", "/favicon.ico", headers={"Authorization": ""}).ok


@pytest.mark.parametrize(
    "name",
    ["../app.py", "..%2Fapp.py", "%2e%2e%2fapp.py", "..", ".", "x" * 3000, "main.js%00", "main.js/", "", "MAIN.JS"],
)
def test_nothing_but_these_files_is_given(visitor: Visitor, name: str) -> None:
    answer = visitor.get(f"/static/{release_of_pages()}/{name}", headers={"Accept": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_a_name_is_shown_as_it_is_and_is_nothing_else(guarded: Served, hostile: dict[str, Json], name: str) -> None:
    visitor = Visitor.signed_in(guarded, TOKEN)
    for path in ("/deployments?limit=100", f"/deployments/{hostile[name]['id']}", f"/deployments?q={quote(name)}"):
        page = Markup(visitor.get(path).text)
        assert page.found == []
        assert any(name in text for text in page.texts), path
    for path in (f"/deployments/{quote(name, safe='')}-not", f"/sign-in?next={quote('/' + name)}"):
        assert Markup(visitor.get(path).text).found == []


def test_what_the_scripts_put_into_a_page_is_escaped_too(guarded: Served, hostile: dict[str, Json]) -> None:
    """What comes by the stream is the same markup as the page's."""
    visitor = Visitor.signed_in(guarded, TOKEN)
    for made in hostile.values():
        with Stream(visitor, f"/live?view=deployment&id={made['id']}") as stream:
            wait_until(lambda: len(stream.heard) > 3, what="the regions")
            for event in stream.heard:
                for html in event.data.values():
                    assert Markup(html).found == []


def test_pages_that_ask_for_nobody_are_known() -> None:
    assert {path for method, path in OPEN if method == "POST"} == {"/sign-in", "/sign-out"}
