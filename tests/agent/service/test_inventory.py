"""What the device tells of itself: real scripts, good and bad."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from tests.support.wait import wait_until
from wainwright_agent import inventory
from wainwright_agent.config import Config, Inventory, Update
from wainwright_common.messages import PAYLOAD_MAX, Attributes

LIMIT_S = 6.0  # of a script: so long may one that is well be kept from running


def script(folder: Path, name: str, text: str, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(mode)
    return file


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration whose inventory scripts lie in a folder of the test."""
    return Config(
        device_type="press",
        inventory=Inventory(scripts=tmp_path, script_timeout_s=LIMIT_S),
        update=Update(modules=(tmp_path / "modules",)),
    )


def test_scripts_of_both_names_run_and_a_repeated_key_makes_a_list(config: Config, tmp_path: Path) -> None:
    script(tmp_path, "wainwright-inventory-site", "echo site=north; echo ' line = 7 '; echo not a pair; echo =x")
    script(tmp_path, "mender-inventory-disk", "echo disk=sda; echo disk=sdb; echo disk=sdc; echo url=http://x/?a=b")
    script(tmp_path, "other-script", "echo other=1")
    script(tmp_path, "wainwright-inventory-off", "echo off=1", mode=0o644)

    found = inventory.collect(config, {"artifact_name": "panel-1"})

    assert found["site"] == "north"
    assert found["line"] == "7"
    assert found["disk"] == ["sda", "sdb", "sdc"]
    assert found["url"] == "http://x/?a=b"
    assert found["artifact_name"] == "panel-1"
    assert "other" not in found
    assert "off" not in found


def test_names_that_are_not_text_are_told_with_a_mark_in_their_place(config: Config, tmp_path: Path) -> None:
    """Names of devices and files are bytes; those of a message are UTF-8."""
    script(tmp_path / "modules", os.fsdecode(b"caf\xe9"), "exit 0")

    found = inventory.fitting(inventory.own(config, {}) | {"hostname": os.fsdecode(b"ger\xe4t-7")})

    assert found["update_modules"] == ["caf?"]
    assert found["hostname"] == "ger?t-7"
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_what_a_script_prints_goes_before_what_the_agent_knows(config: Config, tmp_path: Path) -> None:
    script(tmp_path, "wainwright-inventory-type", "echo hostname=chosen")

    assert inventory.collect(config, {})["hostname"] == "chosen"


@pytest.mark.parametrize(
    "text",
    [
        "echo bad=1; exit 1",
        "echo bad=1; sleep 60",
        "echo bad=1; (sleep 60)",
        "echo bad=1; yes bad=2",
        "kill -9 $$",
    ],
)
def test_a_script_that_fails_is_skipped_in_time_and_the_others_count(config: Config, tmp_path: Path, text: str) -> None:
    script(tmp_path, "wainwright-inventory-a", text)
    script(tmp_path, "wainwright-inventory-b", "echo good=1")
    begin = time.monotonic()

    found = inventory.collect(config, {})

    assert time.monotonic() - begin < 30
    assert "bad" not in found
    assert found["good"] == "1"


def test_a_script_that_leaves_a_child_behind_is_not_waited_for(config: Config, tmp_path: Path) -> None:
    script(tmp_path, "wainwright-inventory-a", f"sleep 60 & echo $! > {tmp_path}/child; echo good=1")

    assert inventory.collect(config, {})["good"] == "1"
    child = (tmp_path / "child").read_text(encoding="ascii").strip()

    wait_until(lambda: not _is_alive(child), what="the child to be ended")


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_script_without_an_interpreter_is_skipped(config: Config, tmp_path: Path) -> None:
    script(tmp_path, "wainwright-inventory-a", "").write_text("#!/no/such/interpreter\n", encoding="ascii")

    assert inventory.collect(config, {})["device_type"] == "press"


def test_the_agent_knows_the_machine_without_scripts(config: Config, tmp_path: Path) -> None:
    script(tmp_path / "modules", "single-file", "")
    script(tmp_path / "modules", "README", "", mode=0o644)

    found = inventory.collect(config, {"artifact_name": "a", "rootfs-image.version": "3"})

    assert {"agent_version", "hostname", "kernel", "os", "mem_total_kB", "python_version", "cpu_count"} <= set(found)
    assert isinstance(found["mem_total_kB"], int)
    assert found["update_modules"] == ["single-file"]
    assert found["rootfs-image.version"] == "3"


def test_what_no_message_can_carry_is_left_out(config: Config, tmp_path: Path) -> None:
    script(
        tmp_path,
        "wainwright-inventory-a",
        "head -c 5000 /dev/zero | tr '\\0' x | sed 's/^/long=/'; echo; echo good=1; printf 'bytes=\\377\\n'",
    )

    found = inventory.collect(config, {})

    assert "long" not in found
    assert found["good"] == "1"
    assert found["bytes"] == "\ufffd"


def test_more_than_a_message_can_carry_is_cut() -> None:
    many: Attributes = {f"key-{number:04}": "x" * 4000 for number in range(100)}

    kept = inventory.fitting(many)

    assert 50 < len(kept) < 100
    assert len(msgspec.json.encode(kept)) < PAYLOAD_MAX
    assert len(inventory.fitting({f"key-{number:04}": 1 for number in range(600)})) == 512
