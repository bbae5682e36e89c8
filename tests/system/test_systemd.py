"""The agent's service under a real systemd, in a booted Debian: readiness, the watchdog, who may ask."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import ROOT
from tests.support.mosquitto import Mosquitto
from tests.support.nspawn import BOOT_S, Guest
from tests.support.roots import Roots, device_id
from tests.support.system import System
from tests.support.wait import wait_until

pytestmark = pytest.mark.long

SERIAL = "service"
FAST_WATCHDOG = "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"
DROP_INS = "/run/systemd/system/wainwright-agent.service.d"
STRICT = ROOT / "systemd" / "wainwright-agent.strict.conf"
NOBODY = "65534"


@pytest.fixture(scope="module")
def system(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("system"), mosquitto.url, auto_accept=True) as system:
        yield system


@pytest.fixture(scope="module")
def guest(system: System, debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("guest")
    try:
        with Roots.build(system, debian, folder).guest(SERIAL) as guest:
            yield guest
    finally:
        shutil.rmtree(folder)


def drop_in(guest: Guest, name: str, text: str) -> None:
    """Change the agent's unit until the next boot, and restart the agent."""
    guest.do("sh", "-euc", f'mkdir -p {DROP_INS}; echo "$1" >{DROP_INS}/{name}.conf', "sh", text)
    guest.do("systemctl", "daemon-reload")
    guest.do("systemctl", "restart", "wainwright-agent")


def test_the_service_is_ready_and_who_may_ask_it_is_decided_by_its_group(guest: Guest) -> None:
    assert guest.show("ActiveState", "SubState", "Type") == {
        "ActiveState": "active",
        "SubState": "running",
        "Type": "notify",
    }
    owner = guest.do("stat", "-c", "%a %U %G", "/var/lib/wainwright", "/run/wainwright/agent.sock").split("\n")
    assert owner[:2] == ["700 root root", "660 root wainwright"]
    as_nobody = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY)
    group = guest.do("getent", "group", "wainwright").split(":")[2]
    assert guest.run(*as_nobody, "--groups", group, "wain", "check-in").returncode == 0
    assert guest.run(*as_nobody, "--clear-groups", "wain", "check-in").returncode == 4


def test_a_technician_who_is_not_root_is_told_what_only_root_can_see(guest: Guest) -> None:
    group = guest.do("getent", "group", "wainwright").split(":")[2]
    as_technician = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--groups", group)

    tested = guest.run(*as_technician, "wain", "test")
    archived = guest.run(*as_technician, "wain", "diag", "--to", "/tmp")

    assert tested.returncode == 1
    assert "✗ disk         /var/lib/wainwright: Permission denied" in tested.stdout
    assert "✓ broker" in tested.stdout
    assert archived.returncode == 0, archived.stderr
    names = guest.do("tar", "-tzf", archived.stdout.strip())
    assert "/journal.problem.txt" in names
    assert "/status.json" in names
    assert "Traceback" not in tested.stderr + archived.stderr


def test_all_checks_are_well_on_a_device_that_was_installed_by_the_guide(guest: Guest) -> None:
    done = guest.run("wain", "test", "-o", "json")

    assert done.returncode == 0, done.stdout
    assert [finding["name"] for finding in json.loads(done.stdout) if finding["ok"]] == [
        *("clock", "disk", "broker", "certificate", "keys", "modules")
    ]


def test_the_archive_for_support_has_the_log_of_the_service(guest: Guest) -> None:
    archive = guest.do("wain", "diag", "--to", "/root").strip()

    log = guest.do("tar", "-xzOf", archive, "--wildcards", "*/service.log")
    assert f"of {device_id(SERIAL)} starts in /var/lib/wainwright" in log


def test_the_agent_works_under_the_strict_drop_in_and_cannot_write_to_the_system(guest: Guest) -> None:
    drop_in(guest, "strict", STRICT.read_text(encoding="utf-8"))
    try:
        assert guest.show("ActiveState") == {"ActiveState": "active"}
        guest.do("wain", "check-in")
        process = guest.show("MainPID")["MainPID"]
        limits = guest.do("cat", f"/proc/{process}/status")
        assert re.search(r"^NoNewPrivs:\s+1$", limits, re.MULTILINE)
        mounts = guest.do("cat", f"/proc/{process}/mounts")
        assert re.search(r"^\S+ / \S+ ro[, ]", mounts, re.MULTILINE)
    finally:
        guest.do("rm", "-r", DROP_INS)
        guest.do("systemctl", "daemon-reload")
        guest.do("systemctl", "restart", "wainwright-agent")


def test_the_watchdog_restarts_an_agent_that_has_stopped_and_its_log_says_where_it_stood(guest: Guest) -> None:
    drop_in(guest, "fast", FAST_WATCHDOG)
    before = guest.show("MainPID")

    guest.do("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "wainwright-agent")

    def is_restarted() -> bool:
        now = guest.show("MainPID", "ActiveState", "NRestarts")
        return now["ActiveState"] == "active" and now["MainPID"] not in {"0", before["MainPID"]}

    wait_until(is_restarted, BOOT_S, "the restart")
    assert guest.show("NRestarts") == {"NRestarts": "1"}
    logged = guest.do("journalctl", "--unit=wainwright-agent", "--no-pager")
    assert "Watchdog timeout" in logged
    assert "Fatal Python error: Aborted" in logged
    assert 'service.py", line' in logged
