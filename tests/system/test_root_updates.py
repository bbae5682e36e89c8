"""A device that replaces its whole root, the agent in it included: a booted Debian, our module, GRUB's environment.

Each test has a device of its own, in slot A with the agent as it is. The new root has an agent of a later version, and
what it says after the reboot it reads from the journal that the former one has written.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import SITE
from tests.support.mosquitto import Mosquitto
from tests.support.nspawn import Guest
from tests.support.roots import NEWER, Roots, device_id, status
from tests.support.system import System
from tests.support.wait import wait_until
from wainwright_agent.journal import SCHEMA
from wainwright_common import __version__ as OLDER  # noqa: N812  a version, not a name
from wainwright_controller.demo.api import Json

pytestmark = pytest.mark.long

UPDATE_S = 600.0  # for an update with all its reboots: half a minute on a machine that does nothing else
SICK = "echo 'no reply on port 8443' >&2; exit 1"
HANGS = "touch /run/checking; sleep 3600"
BROKEN_AGENT = f"rm -r {SITE}/msgspec"
# GRUB's own tool has written that the slot is for good, and flushed it; then it does not return.
HANGS_AFTER_COMMIT = """
mv usr/bin/grub-editenv usr/bin/grub-editenv.real
cat >usr/bin/grub-editenv <<'END'
#!/bin/sh
grub-editenv.real "$@" || exit
case "$*" in *mender_boot_part=3*upgrade_available=0*) sync; touch /run/committed; sleep 3600 ;; esac
END
chmod 755 usr/bin/grub-editenv
"""


def journal_schema(number: int) -> str:
    """Return how a root is changed whose agent writes another journal."""
    return f"sed -i 's/^SCHEMA = .*/SCHEMA = {number}/' {SITE}/wainwright_agent/journal.py"


@pytest.fixture(scope="module")
def roots(mosquitto: Mosquitto, debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    folder = tmp_path_factory.mktemp("roots")
    with System(folder / "system", mosquitto.url, auto_accept=True) as system:
        yield Roots.build(system, debian, folder)
    shutil.rmtree(folder)


def finished(roots: Roots, deployment_id: str, serial: str) -> Json:
    """Wait for the end of a deployment; returns the device's part in it."""
    roots.system.finished(deployment_id, UPDATE_S)
    return roots.system.part(deployment_id, device_id(serial))


def assert_back_in_a(roots: Roots, guest: Guest, serial: str, part: Json) -> None:
    """Assert that the old root runs for good, with its agent, and that everybody is told so."""
    assert part["status"] == "failure"
    assert not part["inconsistent"]
    wait_until(guest.is_up, UPDATE_S, "the guest to be up")
    assert (guest.slot, guest.committed_slot) == ("A", "A")
    assert not guest.has("/etc/image-version")
    said = status(guest)
    assert (said["last"]["outcome"], said["last"]["rolled_back"]) == ("failure", True)
    assert said["artifact_name"] == "unknown"
    assert roots.agent_version(serial) == OLDER


def test_a_device_updates_its_root_and_the_agent_in_it(roots: Roots) -> None:
    serial = release = "whole"
    image = roots.release(release, ArtifactCommit_Enter="grep -qx whole /etc/image-version")
    with roots.guest(serial) as guest:
        assert roots.agent_version(serial) == OLDER

        part = finished(roots, roots.system.deploy(release, device_id(serial)), serial)

        assert part["status"] == "success"
        assert guest.boots == ["A", "B"]
        assert guest.committed_slot == "B"
        assert guest.do("cat", "/etc/image-version") == f"{release}\n"
        assert guest.do("findmnt", "--noheadings", "--output", "MAJ:MIN", "/").strip() == number_of(guest, "/dev/vda3")
        assert guest.slot_bytes("B", 1024) == image[:1024]  # nothing is written before the first superblock
        wait_until(lambda: roots.agent_version(serial) == NEWER, UPDATE_S, "the controller to hear the new agent")
        log = guest.do("journalctl", "--unit=wainwright-agent", "--no-pager")
        assert f"agent {NEWER} of {device_id(serial)} starts" in log
        assert f"Going on with the update to {release}, rebooted in the step host-reboot" in log
        said = status(guest)
        assert (said["agent"], said["artifact_name"], said["last"]["outcome"]) == ("running", release, "success")


def number_of(guest: Guest, device: str) -> str:
    major, minor = (int(part, 16) for part in guest.do("stat", "-c", "%t %T", device).split())
    return f"{major}:{minor}"


def test_a_root_whose_check_of_itself_fails_is_left_again(roots: Roots) -> None:
    serial = "sick"
    roots.release("sick", ArtifactCommit_Enter=SICK)
    with roots.guest(serial) as guest:
        part = finished(roots, roots.system.deploy("sick", device_id(serial)), serial)

        assert part["error"]["code"] == "script-failed"
        assert "no reply on port 8443" in part["error"]["text"]
        assert_back_in_a(roots, guest, serial, part)
        assert guest.boots == ["A", "B", "A"]


@pytest.mark.parametrize(
    ("release", "change"),
    [("no-init", "rm sbin/init lib/systemd/systemd"), ("no-agent", BROKEN_AGENT), ("older-journal", journal_schema(0))],
    ids=["it has no init", "its agent does not start", "its agent is of an older journal"],
)
def test_a_root_that_does_not_come_up_is_left_by_the_boot_loader(roots: Roots, release: str, change: str) -> None:
    roots.release(release, change)
    with roots.guest(release) as guest:
        part = finished(roots, roots.system.deploy(release, device_id(release)), release)

        assert part["error"]["code"] == "verify-failed"
        assert "the bootloader has fallen back" in part["error"]["text"]
        assert guest.boots[:4] == ["A", "B", "B", "A"]  # tried as often as the script of GRUB allows
        assert_back_in_a(roots, guest, release, part)


def test_a_power_cut_while_the_slot_is_written_costs_only_time(roots: Roots) -> None:
    serial = release = "cut-writing"
    roots.release(release)
    with roots.guest(serial) as guest:
        deployment_id = roots.system.deploy(release, device_id(serial))
        wait_until(lambda: any(guest.slot_bytes("B", 65536)), UPDATE_S, "the slot to be written")

        guest.cut_power()

        part = finished(roots, deployment_id, serial)
        assert part["status"] == "success"
        assert guest.boots == ["A", "A", "B"]
        assert guest.committed_slot == "B"
        assert guest.do("cat", "/etc/image-version") == f"{release}\n"


def test_a_power_cut_in_the_new_root_before_it_is_committed_leads_back(roots: Roots) -> None:
    serial = release = "cut-on-trial"
    roots.release(release, ArtifactCommit_Enter=HANGS)
    with roots.guest(serial) as guest:
        deployment_id = roots.system.deploy(release, device_id(serial))
        wait_until(lambda: guest.has("/run/checking"), UPDATE_S, "the new root to check itself")
        assert guest.committed_slot is None

        guest.cut_power()

        part = finished(roots, deployment_id, serial)
        assert guest.boots == ["A", "B", "B", "A"]  # the second time, to give itself up
        assert_back_in_a(roots, guest, serial, part)


def test_a_power_cut_between_the_commit_and_the_journal_leads_back(roots: Roots) -> None:
    serial = release = "cut-committed"
    roots.release(release, HANGS_AFTER_COMMIT)
    with roots.guest(serial) as guest:
        deployment_id = roots.system.deploy(release, device_id(serial))
        wait_until(lambda: guest.has("/run/committed"), UPDATE_S, "the slot to be committed")
        assert guest.committed_slot == "B"

        guest.cut_power()

        part = finished(roots, deployment_id, serial)
        assert guest.boots == ["A", "B", "B", "A"]
        assert_back_in_a(roots, guest, serial, part)


def test_the_former_agent_comes_to_an_end_although_the_new_one_writes_another_journal(roots: Roots) -> None:
    serial = release = "newer-journal"
    roots.release(release, journal_schema(SCHEMA + 1), ArtifactCommit_Enter=SICK)
    with roots.guest(serial) as guest:
        part = finished(roots, roots.system.deploy(release, device_id(serial)), serial)

        assert part["error"]["code"] == "verify-failed"
        assert guest.boots[:3] == ["A", "B", "A"]
        assert_back_in_a(roots, guest, serial, part)
        log = guest.do("journalctl", "--unit=wainwright-agent", "--no-pager")
        assert not re.search("Install that agent again", log)
