"""A device with a valid certificate speaks in its own name, and of what is not its own or not now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import UNSET

from tests.support.device import Device
from tests.support.wait import wait_until
from tests.system.security.conftest import assert_undisturbed
from tests.system.security.secured import SecureSystem
from wainwright_common.messages import Line, LogLines, Presence, Verdict, encode
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic

S = DeviceStatus


@pytest.fixture
def liar(system: SecureSystem, evil: str) -> Device:
    """A device that is accepted, and connected within a `with`."""
    return system.device(evil)


def status_of(system: SecureSystem, deployment_id: str, device: Device) -> str:
    return str(system.part(deployment_id, device.id)["status"])


@pytest.mark.parametrize("status", [S.DOWNLOADING, S.INSTALLING, S.REBOOTING, S.SUCCESS, S.FAILURE])
def test_a_report_for_another_devices_deployment_is_unknown_and_changes_nothing(
    system: SecureSystem, victim: Device, liar: Device, release: str, status: DeviceStatus
) -> None:
    system.release(release, "press")
    deployment_id = system.deploy(release, victim.id)
    victim.check_in()
    victim.report(deployment_id, 1, S.DOWNLOADING)
    with liar:
        assert liar.report(deployment_id, 2, status).verdict is Verdict.UNKNOWN
        assert liar.report(deployment_id, 1, status, attempt=2).verdict is Verdict.UNKNOWN

    assert status_of(system, deployment_id, victim) == "downloading"
    assert system.api.deployment(deployment_id)["counts"] == {"downloading": 1}
    assert victim.report(deployment_id, 2, S.SUCCESS).verdict is Verdict.ACCEPTED
    assert system.finished(deployment_id)["counts"] == {"success": 1}


def test_a_log_for_another_devices_deployment_is_refused(
    system: SecureSystem, victim: Device, liar: Device, release: str
) -> None:
    system.release(release, "press")
    deployment_id = system.deploy(release, victim.id)
    victim.check_in()
    before = system.refusals().get("unknown-deployment", 0)
    with liar:
        lines = [Line(at=datetime.now(UTC), level="error", text="all is lost")]
        liar.send(Kind.LOG, LogLines(deployment_id=deployment_id, attempt=1, first=0, lines=lines))
        liar.check_in()

    assert system.refusals()["unknown-deployment"] == before + 1
    for device in (victim, liar):
        log = system.api.call("GET", f"/devices/{device.id}/logs/{deployment_id}")
        assert log["items"] == []


def test_reports_that_are_played_again_do_not_bring_a_finished_attempt_back(
    system: SecureSystem, victim: Device, liar: Device, release: str
) -> None:
    """What a recording of its own traffic, or of a broker's, could do."""
    system.release(release, "press")
    deployment_id = system.deploy(release, liar.id, victim.id, retries=1)
    victim.woken()
    victim.check_in()
    with liar:
        liar.check_in()
        liar.report(deployment_id, 1, S.DOWNLOADING)
        liar.report(deployment_id, 2, S.FAILURE, error={"code": "timeout", "text": "recorded"})
        wait_until(lambda: liar.check_in().offer is not UNSET, 60, "the second offer")
        liar.report(deployment_id, 1, S.INSTALLING, attempt=2)
        liar.report(deployment_id, 2, S.SUCCESS, attempt=2)

        for attempt, seq, status, verdict in (
            (1, 1, S.DOWNLOADING, Verdict.STALE),
            (1, 2, S.FAILURE, Verdict.STALE),
            (2, 1, S.INSTALLING, Verdict.ACCEPTED),  # a repeat, which is acknowledged and changes nothing
            (2, 2, S.SUCCESS, Verdict.ACCEPTED),
            (2, 3, S.FAILURE, Verdict.STALE),
            (3, 1, S.FAILURE, Verdict.UNKNOWN),
        ):
            assert liar.report(deployment_id, seq, status, attempt=attempt).verdict is verdict
    part = system.part(deployment_id, liar.id)

    assert (part["status"], part["attempt"]) == ("success", 2)
    assert system.api.deployment(deployment_id)["counts"] == {"success": 1, "pending": 1}
    assert_undisturbed(victim)


def test_an_old_presence_that_is_played_again_does_not_take_a_device_offline(
    system: SecureSystem, liar: Device
) -> None:
    with liar:
        old = Presence(online=False, since=datetime.now(UTC) - timedelta(minutes=1), agent_version="1")
        liar.announce()
        liar.send_raw(Topic(liar.id, Kind.PRESENCE).text(system.stage.prefix), encode(old))
        liar.check_in()

        assert system.api.devices()[liar.id]["online"] is True


def test_a_rejected_device_gets_nothing_whatever_its_certificate_says(
    system: SecureSystem, victim: Device, liar: Device, release: str
) -> None:
    system.release(release, "press")
    with liar:
        liar.check_in()
        deployment_id = system.deploy(release, liar.id, victim.id)
        system.api.call("POST", "/devices/reject", json={"ids": [liar.id]})

        reply = liar.check_in()

        assert reply.offer is UNSET
        assert reply.why is not UNSET
        assert reply.why.code == "not-accepted"
        assert liar.report(deployment_id, 1, S.SUCCESS).verdict is Verdict.ABORTED
        assert status_of(system, deployment_id, liar) == "aborted"
    assert victim.check_in().offer is not UNSET


def test_a_device_that_calls_itself_another_type_harms_none_but_itself(
    system: SecureSystem, victim: Device, evil: str, release: str
) -> None:
    """Which artifact fits is a device's own word: what no device may read must not be in an artifact."""
    system.release(release, "press")
    deployment_id = system.deploy(release, evil)
    with system.device(evil, device_type="lathe") as honest:
        assert honest.check_in().offer is UNSET
    assert status_of(system, deployment_id, honest) == "noartifact"

    with system.device(evil, device_type="press") as liar:
        assert liar.check_in().offer is UNSET, "once finished, it is finished"
    assert_undisturbed(victim)
