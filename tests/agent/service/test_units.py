"""The units of systemd/: accepted without a word by systemd's own tools, and as exposed as docs/systemd.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wainwright_agent import link, rounds, service

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "systemd"
PAGE = (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")
AGENT, STRICT = "wainwright-agent.service", "wainwright-agent.strict.conf"
OPEN_POINTS_MIN = 40
MARGIN_S = 15  # for a start of Python and slow storage


@pytest.fixture(params=["plain", "strict", "trial"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The agent's unit, without and with a drop-in, for a program that is there."""
    text = (UNITS / AGENT).read_text(encoding="utf-8")
    program = Path(sys.executable).with_name("wainwright-agent")
    assert program.exists()
    (tmp_path / AGENT).write_text(text.replace("/usr/bin/wainwright-agent", str(program)), encoding="utf-8")
    if request.param != "plain":
        folder = tmp_path / f"{AGENT}.d"
        folder.mkdir()
        shutil.copy(UNITS / f"wainwright-agent.{request.param}.conf", folder)
    return tmp_path / AGENT


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which("systemd-analyze"), "systemd-analyze is not installed: run `make peers`"
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def exposure(unit: Path) -> float:
    found = re.search(r"exposure level for \S+: ([\d.]+)", analyze("security", "--offline=true", str(unit)).stdout)
    assert found
    return float(found[1])


def is_strict(unit: Path) -> bool:
    return (unit.with_name(f"{AGENT}.d") / STRICT).exists()


def test_systemd_accepts_the_unit_without_a_warning(unit: Path) -> None:
    done = analyze("verify", str(unit))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_manager_waits_for_everything_that_may_hold_up_the_end(unit: Path) -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    bounds = {"idle scripts": rounds.STOP_S, "a step": service.WORKER_STOP_S, "the link": 2 * link.FAREWELL_S}

    assert found
    assert sum(bounds.values()) + MARGIN_S <= int(found[1])
    assert f"{sum(bounds.values()):.0f} s in all" in unit.read_text(encoding="utf-8")
    for bound in bounds.values():
        assert f"({bound:.0f} s)" in PAGE


def test_a_unit_with_a_misspelt_key_would_be_found(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))

    assert "'WatchdogSecs'" in analyze("verify", str(unit)).stderr


def test_the_exposure_is_what_the_page_says(unit: Path) -> None:
    plain, strict = re.findall(r"\*\*(\d\.\d)\*\*", PAGE)
    expected = strict if is_strict(unit) else plain
    version = re.match(r"systemd (\d+)", analyze("--version").stdout)
    assert version
    # Other versions weigh other things; a setting that was lost makes more than a point.
    tolerance = 0.01 if version[1] == "252" else 1.0

    assert exposure(unit) == pytest.approx(float(expected), abs=tolerance)


def test_each_open_point_has_its_reason(unit: Path) -> None:
    points = json.loads(analyze("security", "--offline=true", "--json=short", str(unit)).stdout)
    names = {point["name"] for point in points if point["exposure"] and not point["set"]}
    reasons = PAGE.partition("### What stays open, and why")[2].partition("###")[0].replace("\\|", "|")

    assert is_strict(unit) or len(names) > OPEN_POINTS_MIN
    assert not {name for name in names if f"`{name}`" not in reasons}


def test_systemd_makes_the_group_and_the_folders(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for tool, options, file in (
        ("systemd-sysusers", [], "wainwright-agent.sysusers"),
        ("systemd-tmpfiles", ["--create"], "wainwright-agent.tmpfiles"),
    ):
        command = [tool, f"--root={tmp_path}", *options, str(UNITS / file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    assert re.search(r"^wainwright:", (tmp_path / "etc/group").read_text(), re.MULTILINE)
    assert (tmp_path / "var/lib/wainwright").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run/wainwright").stat().st_mode & 0o777 == 0o755
