"""Records for the tests of the rules, with everything that a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from wainwright_common.messages import Report
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.records import (
    Artifact,
    Deployment,
    Device,
    DeviceDeployment,
    DeviceState,
    Opens,
    Phase,
    Strategy,
)
from wainwright_controller.rules.selection import Candidate

NOW = 1_000_000.0


def device(**changes: object) -> Device:
    base = Device(
        id="press-07",
        state=DeviceState.ACCEPTED,
        device_type="pi4",
        artifact_name="panel-1",
        provides={"artifact_name": "panel-1"},
        online=True,
        online_since=NOW - 60,
        last_seen_at=NOW - 8,
    )
    return replace(base, **changes)


def artifact(**changes: object) -> Artifact:
    base = Artifact(
        id="a1",
        name="panel-2",
        size=100,
        sha256="0" * 64,
        payload_type="single-file",
        depends={"device_type": ("pi4",)},
        provides={},
        signed=False,
        created_at=1.0,
    )
    return replace(base, **changes)


def deployment(**changes: object) -> Deployment:
    base = Deployment(
        id="d1",
        sequence=1,
        name="spring",
        artifact_name="panel-2",
        target="all devices",
        strategy=Strategy.IMMEDIATE,
        retries=0,
        in_progress_timeout_s=600.0,
        force=False,
        device_count=1,
        created_at=1.0,
        created_by="operator",
    )
    return replace(base, **changes)


def phase(**changes: object) -> Phase:
    return replace(Phase(deployment_id="d1", number=1, size=1, opens=Opens.NOW), **changes)


def part(**changes: object) -> DeviceDeployment:
    base = DeviceDeployment(deployment_id="d1", device_id="press-07", sequence=1, phase=1)
    return replace(base, **changes)


def offered(status: DeviceStatus = DeviceStatus.PENDING, **changes: object) -> DeviceDeployment:
    return replace(part(status=status, offered=True, artifact_id="a1"), **changes)


PART = part()
DEPLOYMENT = deployment()
ARTIFACT = artifact()
OPENED = (phase(opened_at=1.0),)


def candidate(
    *,
    part: DeviceDeployment = PART,
    deployment: Deployment = DEPLOYMENT,
    phases: Sequence[Phase] = OPENED,
    artifacts: Sequence[Artifact] = (ARTIFACT,),
) -> Candidate:
    return Candidate(part, deployment, phases, artifacts)


def report(status: str = "downloading", seq: int = 1, **changes: object) -> Report:
    values = {
        "deployment_id": "d1",
        "attempt": 1,
        "seq": seq,
        "status": status,
        "boot_id": "b",
        "at": "2026-11-22T09:14:03Z",
    }
    return msgspec.convert(values | changes, Report)
