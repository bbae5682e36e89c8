"""The controller's unit: accepted without a word by systemd's own tools, and as exposed as its page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = "wainwright-controller.service"
PAGE = (ROOT / "docs" / "systemd-controller.md").read_text(encoding="utf-8")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, for a program that is there."""
    program = Path(sys.executable).with_name("wainwright")
    text = (ROOT / "systemd" / UNIT).read_text(encoding="utf-8")
    (tmp_path / UNIT).write_text(text.replace("/usr/bin/wainwright", str(program)), encoding="utf-8")
    return tmp_path / UNIT


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which("systemd-analyze"), "systemd-analyze is not installed: run `make peers`"
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_accepts_the_unit_without_a_warning(unit: Path) -> None:
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exposure_is_what_the_page_says(unit: Path) -> None:
    [expected] = re.findall(r"\*\*(\d\.\d)\*\*", PAGE)
    said = analyze("security", "--offline=true", str(unit)).stdout
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    version = re.match(r"systemd (\d+)", analyze("--version").stdout)
    assert found
    assert version
    # Other versions weigh other things; a setting that was lost makes more than half a point.
    assert float(found[1]) == pytest.approx(float(expected), abs=0.01 if version[1] == "252" else 0.5)


def test_each_open_point_has_its_reason_and_no_other_point_has_one(unit: Path) -> None:
    points = json.loads(analyze("security", "--offline=true", "--json=short", str(unit)).stdout)
    names = {point["name"] for point in points if point["exposure"] and not point["set"]}
    reasons = PAGE.partition("### What stays open, and why")[2].partition("###")[0].replace("\\|", "|")
    told = {
        name for line in re.findall(r"^\| (`.*`) \|", reasons, re.MULTILINE) for name in re.findall("`(.+?)`", line)
    }
    assert len(points) > 50
    assert told == names


def test_systemd_makes_the_user(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(ROOT / "systemd" / "wainwright.sysusers")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = re.search(r"^wainwright-controller:.*", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert made
    assert made[0].endswith(":/var/lib/wainwright-controller:/usr/sbin/nologin")
