"""docs/web-story.md: upload, wizard, canary, failures, automatic pause, log, rollback, with real agents."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.window import Window
from tests.support.mosquitto import Mosquitto
from tests.support.system import System
from tests.support.web_page import AGENTS, FORMER, IMAGE_MAX, IMAGES, PAGE, PICTURE, VIEW, picture, prepare, tell


@pytest.mark.long
def test_the_story_of_the_web_page_goes_as_it_is_told(browser: Browser, mosquitto: Mosquitto, tmp_path: Path) -> None:
    moments: list[str] = []
    with System(tmp_path / "system", mosquitto.url, agents=AGENTS, auto_accept=True) as system:
        prepare(system)
        window = Window(browser.new_context(viewport=VIEW), system.stage.url)  # type: ignore[arg-type]  # a TypedDict
        told = tell(system, window.page, moments.append)
        assert window.errors == []
        window.context.close()

        assert system.api.deployment(told)["rollback"]["outcome"] == "success"
        assert {system.runs(device.id) for device in system.stage.devices} == {FORMER}
        whos = {who for who, _ in system.told(told)}
        assert whos <= {"local", "controller", "device"}
    assert moments == [name for _, name in PICTURE.findall(PAGE.read_text(encoding="utf-8"))]


def test_the_pictures_of_the_story_are_there_and_small() -> None:
    told = PICTURE.findall(PAGE.read_text(encoding="utf-8"))

    assert len(told) == len({name for _, name in told}) >= 5
    for words, name in told:
        assert len(words) > 20, "say what is to be seen, for who does not see it"
        data = picture(name).read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(data[16:20]) == VIEW["width"]
        assert len(data) < IMAGE_MAX
    assert {path.name for path in IMAGES.glob("web-*.png")} == {picture(name).name for _, name in told}
