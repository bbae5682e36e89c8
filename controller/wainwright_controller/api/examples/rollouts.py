"""Examples of deployments."""

from __future__ import annotations

_ID = "65d0ef0a-54b3-46c7-ac39-e59218dac115"
_PHASES: list[dict[str, object]] = [
    {
        "number": 1,
        "size": 12,
        "opens": "now",
        "delay_s": 0.0,
        "soak_s": 3600.0,
        "opened_at": "2026-11-24T09:00:00Z",
        "counts": {"downloading": 2, "success": 9, "failure": 1},
    },
    {
        "number": 2,
        "size": 108,
        "opens": "approval",
        "delay_s": 0.0,
        "soak_s": 0.0,
        "waits_for": "phase 1 to finish",
        "counts": {"pending": 108},
    },
]
_CONDITIONS: dict[str, object] = {
    "time_limits": {"attempt_s": 7200.0},
    "limits": [{"percent": 5.0, "min_sample": 20, "codes": [], "action": "rollback"}],
    "pace": {"per_minute": 30.0, "factor": 2.0, "every": 50, "max_per_minute": 600.0},
    "policy": {
        "windows": [{"start": "22:00", "end": "04:00", "days": [1, 2, 3, 4, 5]}],
        "bytes_per_second": 500_000,
        "download_only": False,
    },
}
_PART: dict[str, object] = {
    "deployment_id": _ID,
    "device_id": "press-07",
    "phase": 1,
    "status": "downloading",
    "margo_state": "installing",
    "attempt": 1,
    "progress": {"done": 24_115_200, "total": 48_230_400},
    "inconsistent": False,
    "artifact_id": "0335b716-5a0f-4c0e-9d4c-6b6a3a6f5d11",
    "former_name": "panel-1",
    "offered": True,
    "offered_at": "2026-11-24T09:14:03Z",
    "created_at": "2026-11-24T09:00:00Z",
    "started_at": "2026-11-24T09:14:03Z",
    "updated_at": "2026-11-24T09:14:31Z",
    "deadline_at": "2026-11-24T11:14:03Z",
}

ROLLOUTS: dict[str, dict[str, object]] = {
    "OrderIn": {
        "release": "panel-2",
        "group": "plant-a",
        "strategy": "canary",
        "phases": [{"percent": 10.0, "soak_s": 3600.0}, {"opens": "approval"}],
        "retries": 2,
    }
    | _CONDITIONS,
    "ReasonIn": {"reason": "the line is running"},
    "PromotionIn": {"reason": "the canaries are well", "phase": 2},
    "DeploymentOut": {
        "id": _ID,
        "sequence": 8,
        "name": "panel-2 to group plant-a",
        "artifact_name": "panel-2",
        "target": "group plant-a",
        "kind": "static",
        "strategy": "canary",
        "status": "inprogress",
        "margo_state": "installing",
        "allowed": ["promote", "pause", "retry", "rollback", "abort"],
        "refused": {
            "finish": {
                "code": "not-dynamic",
                "text": "Deployment panel-2 to group plant-a finishes by itself when all its devices have: abort it to"
                " end it now.",
            },
            "delete": {
                "code": "deployment-not-finished",
                "text": "Deployment panel-2 to group plant-a is in progress: abort it, or wait until it is finished.",
            },
        },
        "device_count": 120,
        "counts": {"pending": 108, "downloading": 2, "success": 9, "failure": 1},
        "summary": "9/120 successful",
        "regressed": 0,
        "phases": _PHASES,
        "retries": 2,
        "force": False,
        "in_progress_timeout_s": 86_400.0,
        "created_at": "2026-11-24T09:00:00Z",
        "created_by": "olga",
        "started_at": "2026-11-24T09:00:02Z",
        "updated_at": "2026-11-24T09:14:31Z",
    }
    | _CONDITIONS,
    "PlanOut": {
        "target": "group plant-a",
        "kind": "static",
        "devices": 120,
        "updated": 119,
        "bytes": 5_739_417_600,
        "artifacts": [
            {
                "artifact_id": "0335b716-5a0f-4c0e-9d4c-6b6a3a6f5d11",
                "devices": 119,
                "size": 48_230_400,
                "bytes": 5_739_417_600,
            }
        ],
        "left": [{"device_id": "press-93", "code": "already-installed", "text": "It runs panel-2 already."}],
        "left_counts": {"already-installed": 1},
        "waiting": 0,
        "offline": 4,
        "phases": [
            {"number": 1, "size": 12, "updated": 12, "opens": "now", "delay_s": 0.0, "soak_s": 3600.0},
            {"number": 2, "size": 108, "updated": 107, "opens": "approval", "delay_s": 0.0, "soak_s": 0.0},
        ],
        "needs_approval": False,
        "first": ["press-07", "press-08"],
    },
    "RollbackPlanOut": {
        "devices": 11,
        "restored": 10,
        "releases": {"panel-1": 10},
        "not_restored": [
            {
                "device_id": "press-31",
                "release": "panel-0",
                "obstacle": "Its former release panel-0 is not in the store.",
            }
        ],
        "not_restored_count": 1,
    },
    "PartOut": _PART,
    "HistoryOut": _PART | {"deployment_name": "panel-2 to group plant-a", "artifact_name": "panel-2"},
    "FailureOut": {
        "code": "install-failed",
        "text": "The update module single-file ended with status 1 in ArtifactInstall.",
        "devices": 12,
        "again": 3,
        "first": ["press-07", "press-15", "press-23", "press-31", "press-39"],
    },
    "EventOut": {
        "id": 1_204,
        "at": "2026-11-24T09:16:40Z",
        "kind": "deployment",
        "text": "pause: the line is running",
        "actor": "olga",
        "deployment_id": _ID,
    },
}
