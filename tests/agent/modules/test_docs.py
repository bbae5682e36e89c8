"""The documents name every module that comes with the agent, and every setting that one takes from the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wainwright_agent.config import OWN_MODULES

DOCS = Path(__file__).parents[3] / "docs"
MODULES = sorted(file.name for file in OWN_MODULES.iterdir())


def test_the_list_of_modules_is_complete() -> None:
    page = (DOCS / "update-modules.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if "the agent's own:" in line)

    assert sorted(re.findall(r"`([a-z-]+)`", line)) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_section_and_its_settings_are_in_the_documents(module: str) -> None:
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("update-modules.md", "rootfs-image.md"))
    text = (OWN_MODULES / module).read_text(encoding="utf-8")

    assert f"\n### {module}\n" in pages
    for name in set(re.findall(r"WAINWRIGHT_[A-Z_]+", text)):
        assert f"`{name}`" in pages


def test_the_settings_of_rootfs_image_are_in_the_documents() -> None:
    text = (OWN_MODULES / "rootfs-image").read_text(encoding="utf-8")
    page = (DOCS / "rootfs-image.md").read_text(encoding="utf-8")
    names = [
        name for line in re.findall(r'^settings="(.*)"$', text, re.MULTILINE) for name in line.split() if name[0] != "$"
    ]

    assert len(names) == 14
    for name in names:
        assert re.search(rf"^\|.*`{name}`", page, re.MULTILINE), name
