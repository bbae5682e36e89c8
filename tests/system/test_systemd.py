"""The agent under a real systemd, in a booted Debian: readiness, the watchdog, and updates of its own root.

Needs root, for systemd-nspawn; says so and fails where there is none.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.nspawn import BOOT_S, HEALTHY, ROOT, Guest, build_root, require_machine
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from wainwright_common.artifact import ArtifactSpec, PayloadSource, load_signing_key, write_module_image

pytestmark = pytest.mark.long

DEVICE = "guest-01"
CONFIG = """
device_id = "{device}"
device_type = "guest"
[broker]
url = "{url}"
prefix = "{prefix}"
reconnect_first_s = 0.5
reconnect_max_s = 2
[update]
verify_keys = ["/etc/wainwright/release.pem"]
"""
FAST_WATCHDOG = "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"
DROP_INS = "/run/systemd/system/wainwright-agent.service.d"
STRICT = ROOT / "systemd" / "wainwright-agent.strict.conf"
NOBODY = "65534"


@pytest.fixture(scope="module")
def system(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    require_machine()
    with System(tmp_path_factory.mktemp("system"), mosquitto.url, auto_accept=True) as system:
        yield system


@pytest.fixture(scope="module")
def guest(system: System, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("guest")
    assert request.config.cache is not None
    try:
        root = build_root(folder, request.config.cache.mkdir("nspawn"))
        config = CONFIG.format(device=DEVICE, url=system.stage.broker_url, prefix=system.stage.prefix)
        files = {"release.pem": system.stage.public_key.read_bytes()}
        with Guest(root, folder, config, files) as guest:
            system.wait_for_devices([DEVICE])
            yield guest
    finally:
        shutil.rmtree(folder)  # two Debians


def upload(system: System, release: str, *, health: str = HEALTHY) -> None:
    """Upload a release for guests: what it changes in the new root, its version and its check of itself."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as root:
        for name, text in (("etc/image-version", f"{release}\n"), ("usr/local/bin/health", health)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o755
            root.addfile(member, io.BytesIO(text.encode()))
    path = system.stage.folder / f"{release}.mender"
    source = PayloadSource.from_bytes("root.tar", packed.getvalue())
    spec = ArtifactSpec(name=release, device_types=("guest",), payload_type="ab-slot", files=(source,))
    with path.open("wb") as file:
        write_module_image(file, spec, key=load_signing_key(system.stage.private_key))
    system.api.upload(path)


def drop_in(guest: Guest, name: str, text: str) -> None:
    """Change the agent's unit until the next boot, and restart the agent."""
    guest.do("sh", "-euc", f'mkdir -p {DROP_INS}; echo "$1" >{DROP_INS}/{name}.conf', "sh", text)
    guest.do("systemctl", "daemon-reload")
    guest.do("systemctl", "restart", "wainwright-agent")


def has(guest: Guest, path: str) -> bool:
    """Say whether a guest runs and has a file."""
    try:
        return guest.run("test", "-e", path).returncode == 0
    except AssertionError:
        return False  # it is just rebooting


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
    assert f"of {DEVICE} starts in /var/lib/wainwright" in log


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


def test_an_update_of_the_root_goes_through_a_reboot_into_the_other_slot(guest: Guest, system: System) -> None:
    upload(system, "root-2")
    old, boots = guest.slot, len(guest.boots)
    new = "AB".replace(old, "")

    deployment_id = system.deploy("root-2", DEVICE)

    assert system.finished(deployment_id)["outcome"] == "success"
    assert guest.boots[boots:] == [new]
    assert (guest.slot, guest.committed_slot) == (new, new)
    assert guest.file("etc/image-version") == "root-2\n"
    status = json.loads(guest.do("wain", "status", "-o", "json"))
    assert (status["agent"], status["artifact_name"], status["last"]["outcome"]) == ("running", "root-2", "success")


def test_a_root_whose_check_of_itself_fails_is_left_again(guest: Guest, system: System) -> None:
    upload(system, "root-3-broken", health="#!/bin/sh\necho 'no reply on port 8443' >&2\nexit 1\n")
    old, boots = guest.slot, len(guest.boots)
    new = "AB".replace(old, "")

    deployment_id = system.deploy("root-3-broken", DEVICE)

    assert system.finished(deployment_id)["outcome"] == "failure"
    part = system.part(deployment_id, DEVICE)
    assert part["error"]["code"] == "verify-failed"
    assert "no reply on port 8443" in part["error"]["text"]
    assert not part["inconsistent"]
    assert guest.boots[boots:] == [new, old]
    assert (guest.slot, guest.committed_slot) == (old, old)
    wait_until(guest.is_up, PATIENCE_S, "the guest to be up")
    status = json.loads(guest.do("wain", "status", "-o", "json"))
    assert (status["last"]["outcome"], status["last"]["rolled_back"]) == ("failure", True)
    assert status["artifact_name"] != "root-3-broken"


def test_a_power_cut_in_the_new_root_before_it_is_committed_leads_back(guest: Guest, system: System) -> None:
    upload(system, "root-4-slow", health="#!/bin/sh\ntouch /run/checking\nsleep 600\n")
    old, boots = guest.slot, len(guest.boots)
    new = "AB".replace(old, "")
    deployment_id = system.deploy("root-4-slow", DEVICE)
    wait_until(lambda: guest.slot == new and has(guest, "/run/checking"), PATIENCE_S, "the new root to check itself")

    guest.cut_power()

    assert system.finished(deployment_id)["outcome"] == "failure"
    assert guest.boots[boots : boots + 2] == [new, old]
    assert guest.committed_slot == old
    assert not system.part(deployment_id, DEVICE)["inconsistent"]
    wait_until(guest.is_up, PATIENCE_S, "the guest to be up")
    assert json.loads(guest.do("wain", "status", "-o", "json"))["last"]["outcome"] == "failure"
