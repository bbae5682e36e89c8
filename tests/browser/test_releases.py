"""Releases by clicking, as every role: uploaded by choosing and dropping, refused, cancelled, downloaded, deleted."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import TYPE, House
from tests.browser.window import Window
from tests.controller.api.served import artifact
from wainwright_controller.people import Role
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.long

MAKERS = (Role.OPERATOR, Role.ADMIN)
LARGE = 6_000_000  # bytes that cannot be compressed: their upload is seen on its way
SLOW = 1_000_000  # bytes a second
# A drag that brings files from outside the browser: what Chromium gives a page then, which no other input makes.
DRAG = """([kind, files]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    data.items.add(new File([bytes], name));
  }
  const drag = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector("main").dispatchEvent(drag);
}"""


@pytest.fixture(scope="module")
def fleet(house: House) -> Iterator[Fleet]:
    """Two devices that are accepted."""
    with house.fleet(2) as devices:
        yield devices


def drag(page: Page, kind: str, **files: bytes) -> None:
    """Let a drag enter the page, or drop files, by their names."""
    page.evaluate(DRAG, [kind, [[name, base64.b64encode(data).decode()] for name, data in files.items()]])


def row(page: Page, name: str) -> str:
    """Return what the list of uploads says of a file, when it is over."""
    found = page.locator("#uploads li", has_text=name)
    expect(found).to_have_attribute("data-state", re.compile("good|bad|off"))
    return found.locator(".state").inner_text()


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_artifacts_are_chosen_in_a_dialog(house: House, window: MakeWindow, tmp_path: Path, role: Role) -> None:
    names = [f"chosen-by-{role}-{number}" for number in range(3)]
    files = [tmp_path / f"{name}.mender" for name in names]
    for name, file in zip(names, files, strict=True):
        file.write_bytes(artifact(name, TYPE))
    page = window(role).open("/releases")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload artifacts").click()
    chooser.value.set_files(files)
    for name in names:
        assert row(page, f"{name}.mender") == f"Stored: an artifact of release {name}"
        expect(page.locator("#list")).to_contain_text(name)
        assert house.get(f"releases/{name}")["artifact_count"] == 1
    page.get_by_role("button", name="Clear what is over").click()
    expect(page.locator("#uploads")).to_be_hidden()


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_artifacts_are_dropped_on_the_page(house: House, window: MakeWindow, role: Role) -> None:
    one = window(role)
    page = one.open("/releases")
    name = f"dropped-by-{role}"
    drag(page, "dragenter", file=b"")
    expect(page.locator("#drop")).to_have_text("Drop the artifacts to upload them")
    drag(page, "dragleave", file=b"")
    expect(page.locator("#drop")).to_be_hidden()
    drag(page, "dragenter", file=b"")
    drag(page, "drop", dropped=artifact(name, TYPE))
    expect(page.locator("#drop")).to_be_hidden()
    assert row(page, "dropped") == f"Stored: an artifact of release {name}"
    page.locator("#uploads").get_by_role("link", name=name).click()
    expect(page.locator("h1")).to_have_text(name)
    assert house.get(f"releases/{name}")["size"] > 0


def test_a_viewer_uploads_nothing_and_is_told_why(house: House, window: MakeWindow) -> None:
    one = window(Role.VIEWER)
    page = one.open("/releases")
    assert "For operators; you are a viewer." in one.refusal("Upload artifacts")
    assert page.locator("input[type=file]").count() == 0
    drag(page, "dragenter", file=b"")
    expect(page.locator("#drop")).to_have_text("For operators; you are a viewer.")
    drag(page, "drop", file=artifact("of-a-viewer", TYPE))
    expect(page.locator("#toasts p").last).to_have_text("For operators; you are a viewer.")
    expect(page.locator("#uploads")).to_be_hidden()
    assert house.serve.call("GET", "releases/of-a-viewer").status_code == 404
    one.open("/releases/one")
    for label in ("Delete", "Deploy this release"):
        assert "you are a viewer" in one.refusal(label), label


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("cut.mender", artifact("cut", TYPE)[:2000], "Fetch the file again"),
        ("text.mender", b"I am no artifact, but a letter.\n" * 100, "Choose a .mender file"),
        ("empty.mender", b"", "after 0 bytes"),
        ("there-is-one.mender", artifact("one", TYPE), "delete that one first"),
    ],
    ids=["cut", "text", "empty", "there is one"],
)
def test_what_is_no_good_artifact_is_refused_and_why(
    house: House, window: MakeWindow, name: str, data: bytes, why: str
) -> None:
    one = window(Role.OPERATOR)
    page = one.open("/releases")
    before = house.get("releases")["items"]
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": data})
    said = row(page, name)
    expect(page.locator("#uploads li")).to_have_attribute("data-state", "bad")
    assert why in said
    assert "answered" not in said, "that is what is said when there is no reason"
    assert house.get("releases")["items"] == before
    page.get_by_role("button", name=f"Upload {name} again").click()
    assert row(page, name) == said
    one.forgive(r"status of 4\d\d")
    assert one.barriers() == []


def throttled(one: Window) -> None:
    """Give a window a slow connection."""
    session = one.context.new_cdp_session(one.page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": SLOW}
    session.send("Network.emulateNetworkConditions", slow)


def test_an_upload_shows_how_far_it_is_and_can_be_cancelled_and_done_again(house: House, window: MakeWindow) -> None:
    one = window(Role.OPERATOR)
    page = one.open("/releases")
    throttled(one)
    data = artifact("large", TYPE, os.urandom(LARGE))
    page.locator("input[type=file]").set_input_files({"name": "large.mender", "mimeType": "", "buffer": data})
    state = page.locator("#uploads .state")
    expect(state).to_have_text(re.compile(r"^[1-9]\d? % of 6\.\d MB$"))
    assert 0 < int(page.locator("#uploads progress").evaluate("bar => bar.value")) < 100
    assert one.barriers() == []
    page.get_by_role("button", name="Cancel the upload of large.mender").click()
    expect(state).to_contain_text("Cancelled")
    assert house.serve.call("GET", "releases/large").status_code == 404
    page.get_by_role("button", name="Upload large.mender again").click()
    assert row(page, "large.mender") == "Stored: an artifact of release large"
    assert house.get("releases/large")["size"] > LARGE


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_a_release_is_deleted_by_who_types_its_name(house: House, window: MakeWindow, role: Role) -> None:
    name = f"deleted by {role} <b>"
    house.release(name)
    one, looker = window(role), window(Role.VIEWER)
    looker.open("/releases")
    expect(looker.page.locator("#list")).to_contain_text(name)
    page = one.open("/releases")
    page.locator("#list").get_by_role("link", name=name).click()
    one.expect_live()
    one.act("Delete")
    page.wait_for_url(f"{house.url}/releases")
    expect(page.locator("#toasts")).to_contain_text(f"{name} was deleted.")
    for each in (one, looker):
        expect(each.page.locator("#list")).not_to_contain_text(name)


def test_one_of_several_artifacts_is_downloaded_and_deleted(house: House, window: MakeWindow, tmp_path: Path) -> None:
    blobs = {kind: artifact("for two", kind) for kind in ("press", "lathe")}
    for blob in blobs.values():
        house.serve.good("POST", "artifacts", data=blob, headers={"Content-Type": "application/octet-stream"})
    one = window(Role.OPERATOR)
    page = one.open("/releases/for two")
    item = page.locator("article", has_text="For lathe")
    with page.expect_download() as download:
        item.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == blobs["lathe"]
    item.get_by_role("button", name="Delete").click()
    page.locator("dialog[open]").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("article")).to_have_count(1)
    expect(page.locator("article")).to_contain_text("For press")


def test_a_release_in_use_says_why_it_stays_until_it_is_not(house: House, fleet: Fleet, window: MakeWindow) -> None:
    house.release("in use")
    made = house.deploy(*fleet.ids, release="in use", name="the one that needs it", manual=True)
    one = window(Role.ADMIN)
    page = one.open("/releases/in use")
    assert "the one that needs it, which has not finished" in one.refusal("Delete")
    expect(page.locator("#needed")).to_contain_text("the one that needs it")
    house.post(f"deployments/{made['id']}/abort")
    expect(page.locator("#needed")).to_contain_text("No deployment that has not finished")
    one.act("Delete")
    page.wait_for_url(f"{house.url}/releases")
    assert house.serve.call("GET", "releases/in use").status_code == 404
