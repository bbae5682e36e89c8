"""docs/web-story.md: one rollout on the web page, by clicking, with real agents; the test and the pictures are this.

To take the pictures anew: python -m tests.support.web_page

The page's text is written by hand; its pictures are of the moments that `tell` calls by their names.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from wainwright_controller.demo.stage import DEVICE_TYPES

PAGE = Path(__file__).parents[2] / "docs" / "web-story.md"
IMAGES = PAGE.parent / "images"
CHROMIUM = "/usr/bin/chromium"
VIEW = {"width": 1280, "height": 640}
HEIGHTS = {"log": 350}  # of a picture that would be larger than IMAGE_MAX
IMAGE_MAX = 100_000  # bytes
AGENTS = 8
FORMER, RELEASE = "panel-1", "panel-2"
LIMIT = "1"  # failures; the second stops it
BROKEN = "the new software does not start on this device"
PICTURE = re.compile(r"!\[([^\]]+)\]\(images/web-([a-z-]+)\.png\)")

Shoot = Callable[[str], None]


def sandbox() -> list[str]:
    """Return what Chromium has to be told: its sandbox refuses to work for root."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


def prepare(system: System) -> None:
    """Have a fleet that runs FORMER, and the artifacts of RELEASE as files."""
    system.start_agents()
    system.release(FORMER)
    assert system.finished(system.deploy(FORMER))["outcome"] == "success"
    for device_type in DEVICE_TYPES:
        system.build(RELEASE, device_type)


def tell(system: System, page: Page, shoot: Shoot) -> str:
    """Roll RELEASE out by clicking, have it stopped by failures, and roll it back; returns the deployment's id."""
    expect.set_options(timeout=1000 * PATIENCE_S)
    page.set_default_timeout(1000 * PATIENCE_S)
    _upload(system, page)
    shoot("upload")
    _fill_the_wizard(page)
    shoot("review")
    page.get_by_role("button", name="Create deployment").click()
    expect(page.locator("#head")).to_contain_text("awaiting-promotion")
    expect(page.locator("#progress")).to_contain_text("2/8 successful")
    deployment_id = page.url.rsplit("/", 1)[1]
    shoot("canary")
    _rig(system, deployment_id)
    _act(page, "Promote canary", "both canaries print as before")
    expect(page.locator("#head")).to_contain_text("paused")
    expect(page.locator("#failures")).to_contain_text("2 failed")
    shoot("paused")
    page.locator("#failures").get_by_role("link").first.click()
    expect(page.locator("#log")).to_contain_text(BROKEN)
    shoot("log")
    page.locator("#log").get_by_role("link", name=re.compile(RELEASE)).first.click()
    _act(page, "Roll back", "it does not start on some devices", confirm=True)
    rolled_back = page.get_by_role("link", name=re.compile("rollback of"))
    expect(rolled_back).to_be_visible()
    rolled_back.click()
    expect(page.locator("#head")).to_contain_text("success")
    shoot("rolled-back")
    return deployment_id


def _upload(system: System, page: Page) -> None:
    page.goto(f"{system.stage.url}/releases")
    expect(page.locator("#live-state")).to_have_text("Live")
    files = [system.stage.folder / f"{RELEASE}-{device_type}.mender" for device_type in DEVICE_TYPES]
    page.locator("input[type=file]").set_input_files(files)
    row = page.locator("#list tr", has_text=RELEASE)
    expect(row).to_contain_text("press")
    expect(row).to_contain_text("lathe")


def _fill_the_wizard(page: Page) -> None:
    page.locator("#list").get_by_role("link", name=RELEASE).click()
    page.get_by_role("link", name="Deploy this release").click()
    expect(page.get_by_label("Release", exact=True)).to_have_value(RELEASE)
    following = page.get_by_role("button", name="Next")
    following.click()
    page.get_by_role("radio", name="All devices").check()
    following.click()
    following.click()
    page.get_by_role("radio", name="Canary").check()
    page.get_by_role("textbox", name="Canary").fill("2")
    page.get_by_label("Most failures").fill(LIMIT)
    page.get_by_role("spinbutton", name="At once").fill("1")
    following.click()
    expect(page.locator("#review")).to_contain_text("wainwright deployment create")
    expect(page.locator("#review")).to_contain_text("8 of 8 devices")


def _rig(system: System, deployment_id: str) -> None:
    """Have the new software fail to start on four of the six that have not got it: two fail while some still wait."""
    waiting = [one for one, part in sorted(system.api.parts(deployment_id).items()) if part["status"] == "pending"]
    for device_id in waiting[:4]:
        system.agent(device_id).rig()


def _act(page: Page, label: str, reason: str, *, confirm: bool = False) -> None:
    page.locator("#head").get_by_role("button", name=label, exact=True).click()
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=reason]").fill(reason)
    if confirm:
        field = dialog.locator("[data-confirm]")
        field.fill(field.get_attribute("data-confirm") or "")
    dialog.get_by_role("button", name=label, exact=True).click()
    expect(dialog).to_have_count(0)


def picture(name: str) -> Path:
    """Return the file of a moment's picture."""
    return IMAGES / f"web-{name}.png"


def take_pictures(folder: Path) -> None:
    """Run the story, and write its pictures."""
    with (
        Mosquitto(folder / "broker") as broker,
        System(folder / "system", broker.url, agents=AGENTS, auto_accept=True) as system,
        sync_playwright() as playwright,
    ):
        prepare(system)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox())
        page = browser.new_page(viewport=VIEW, color_scheme="light")  # type: ignore[arg-type]  # a TypedDict

        def shoot(name: str) -> None:
            page.evaluate("document.activeElement.blur()")
            shown = {"x": 0, "y": 0, "width": VIEW["width"], "height": HEIGHTS.get(name, VIEW["height"])}
            page.screenshot(path=picture(name), animations="disabled", clip=shown)  # type: ignore[arg-type]  # as above

        IMAGES.mkdir(exist_ok=True)
        tell(system, page, shoot)
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        take_pictures(Path(name))
