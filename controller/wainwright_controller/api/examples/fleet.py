"""Examples of devices, groups, artifacts and releases."""

from __future__ import annotations

from wainwright_controller.api.examples.enrolment import KEY

ARTIFACT: dict[str, object] = {
    "id": "0335b716-5a0f-4c0e-9d4c-6b6a3a6f5d11",
    "name": "panel-2",
    "size": 48_230_400,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "payload_type": "single-file",
    "device_types": ["raspberrypi4"],
    "depends": {"device_type": ["raspberrypi4"]},
    "provides": {"rootfs-image.single-file.version": "panel-2"},
    "signed": True,
    "description": "New operator panel.",
    "created_at": "2026-11-24T08:00:00Z",
}
DEVICE: dict[str, object] = {
    "id": "press-07",
    "state": "accepted",
    "online": True,
    "online_since": "2026-11-24T06:12:41Z",
    "last_seen_at": "2026-11-24T09:14:03Z",
    "last_check_in_at": "2026-11-24T09:14:03Z",
    "last_why": "phase-closed",
    "device_type": "raspberrypi4",
    "artifact_name": "panel-1",
    "agent_version": "0.1.0",
    "group": "plant-a",
    "created_at": "2026-03-02T10:00:00Z",
}
_RELEASE: dict[str, object] = {
    "name": "panel-2",
    "artifact_count": 1,
    "size": 48_230_400,
    "device_types": ["raspberrypi4"],
    "running": 12,
    "created_at": "2026-11-24T08:00:00Z",
}

FLEET: dict[str, dict[str, object]] = {
    "ArtifactOut": ARTIFACT,
    "ReleaseOut": _RELEASE,
    "ReleaseDetail": _RELEASE | {"artifacts": [ARTIFACT], "deployments": ["panel-2 to group plant-a"]},
    "DeviceOut": DEVICE,
    "DeviceDetail": DEVICE
    | {
        "boot_id": "5f0c1e2a-6a1b-4b52-9a3e-0c8f6f1f7d20",
        "provides": {"artifact_name": "panel-1"},
        "attributes": {"kernel": "6.6.31", "mem_total_kB": 3_884_112},
        "tags": {"line": "7"},
        "keys": [KEY],
    },
    "IdsIn": {"ids": ["press-07", "press-08"]},
    "AcceptIn": {"ids": [], "all_pending": True},
    "Changed": {"changed": ["press-07"]},
    "TagsIn": {"where": 'group = "plant-a"', "given": {"line": "7"}, "removed": ["trial"]},
    "Why": {
        "code": "phase-closed",
        "text": "Phase 2 of panel-2 to group plant-a is not open yet: it waits for phase 1 to finish.",
        "deployment_id": "65d0ef0a-54b3-46c7-ac39-e59218dac115",
    },
    "LogLineOut": {
        "attempt": 1,
        "number": 0,
        "at": "2026-11-24T09:15:00Z",
        "level": "info",
        "text": "ArtifactInstall began",
    },
    "LoggedOut": {
        "device_id": "press-07",
        "attempt": 1,
        "number": 0,
        "at": "2026-11-24T09:15:00Z",
        "level": "info",
        "text": "ArtifactInstall began",
    },
    "GroupIn": {"name": "line-7", "ids": [], "where": 'tags.line = "7"'},
    "FilterIn": {"where": 'tags.line = "8"'},
    "FilterOut": {"where": 'tags.lime = "8"', "devices": 0, "unknown": ["tags.lime"]},
    "GroupOut": {
        "name": "line-7",
        "kind": "dynamic",
        "where": 'tags.line = "7"',
        "device_count": 12,
        "created_at": "2026-11-20T10:00:00Z",
    },
}
