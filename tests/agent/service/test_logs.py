"""`wain logs`: what a technician reads of an update when it has failed, on the console that there is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agent.service.test_by_hand import FAIL, Device
from tests.support.wait import free_port
from wainwright_agent.cli.output import ago, fitted

SERIAL = 80  # columns


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A device that has installed panel-2, and could not install panel-3."""
    device = Device(tmp_path, f"mqtt://127.0.0.1:{free_port()}")
    device.exits("install", device.artifact())
    device.on(ArtifactInstall=FAIL)
    device.exits("install", device.artifact("panel-3"))
    return device


def test_the_newest_log_says_why_the_last_update_failed(device: Device) -> None:
    code, text = device.exits("logs")

    assert code == 0
    assert text.startswith("Update 2 of ")
    assert ", by hand (times in UTC):\n" in text
    assert " Updating to panel-3 " in text
    assert "probe ArtifactInstall: the disk is worn out" in text
    assert " error   The step install failed: The update module probe ended with status 1" in text
    assert "panel-2" not in text


def test_an_older_log_is_found_by_the_number_that_the_list_gives(device: Device) -> None:
    listed = device.exits("logs", "--list")[1].splitlines()
    assert [line.partition(": ")[2] for line in listed[:-1]] == ["Updating to panel-2", "Updating to panel-3"]
    assert listed[-1] == "To read one: wain logs NUMBER"

    assert "Updating to panel-2" in device.exits("logs", "1")[1]
    assert device.exits("logs", "7") == (5, "error: There is no log of an update 7. See: wain logs --list\n")


def test_machines_get_documents(device: Device) -> None:
    (first, second) = json.loads(device.exits("logs", "--list", "-o", "json")[1])
    document = json.loads(device.exits("logs", "-o", "json")[1])

    assert (first["number"], second["number"]) == (1, 2)
    assert document.items() >= second.items()
    assert any(line["level"] == "error" for line in document["lines"])


def test_a_device_without_updates_says_so(tmp_path: Path) -> None:
    device = Device(tmp_path, f"mqtt://127.0.0.1:{free_port()}")
    assert device.exits("logs") == (5, "error: There is no log of any update\n")
    assert device.exits("logs", "--list") == (5, "error: There is no log of any update\n")
    assert device.exits("logs", "--list", "-o", "json") == (0, "[]\n")


def test_a_torn_line_and_a_damaged_log_keep_nobody_from_reading_the_others(device: Device) -> None:
    first, second = sorted((device.data_dir / "logs").glob("*.jsonl"))
    first.write_bytes(b"\xff\xfe damaged\n")
    with second.open("ab") as stream:
        stream.write(b'{"at":"2026-')

    assert "Updating to panel-3" in device.exits("logs")[1]
    assert device.exits("logs", "1")[0] == 5


def test_a_serial_console_breaks_no_word(device: Device) -> None:
    ours, theirs = pty.openpty()  # says, as a serial line does, that it has no width
    for arguments in (["logs"], ["status"]):
        command = [sys.executable, "-m", "wainwright_agent", "--config", str(device.config), *arguments]
        process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # all is read: the other end is closed
            break
    os.close(ours)

    lines = shown.decode().replace("\r\n", "\n").splitlines()
    assert len(lines) > 20
    assert max(len(line) for line in lines if " " in line.strip()) <= SERIAL
    assert "             wainwright-agent" in lines


def test_a_time_that_is_yet_to_come_tells_of_a_clock_that_was_wrong() -> None:
    now = datetime.now(UTC)
    assert ago((now - timedelta(minutes=5)).isoformat()) == "5 min ago"
    assert ago((now + timedelta(days=9)).isoformat()).endswith(" UTC by another clock")


def test_what_a_module_says_cannot_write_on_the_terminal(device: Device) -> None:
    device.on(ArtifactInstall="printf '\\033[2Jevil\\007' >&2; exit 1")
    _, text = device.exits("install", device.artifact("panel-4"))
    text += device.exits("status")[1] + device.exits("logs")[1]

    assert "evil" in text
    assert "\033" not in text
    assert "\a" not in text
    assert fitted("a\x1bb\nc", sys.stdout) == "a\N{REPLACEMENT CHARACTER}b\nc"
