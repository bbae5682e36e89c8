"""Examples of what the controller says of itself."""

from __future__ import annotations

MACHINES: dict[str, dict[str, object]] = {
    "Status": {
        "version": "0.1.0",
        "broker": {"connected": True},
        "devices": {"accepted": 124, "pending": 2},
        "devices_online": 118,
        "deployments": {"inprogress": 1, "finished": 7},
        "releases": 3,
        "artifacts": 5,
    },
    "Readiness": {"ready": True, "store": True, "broker": True},
    "Liveness": {"alive": True},
}
PROBLEM: dict[str, object] = {
    "type": "urn:wainwright:problem:not-found",
    "title": "Not Found",
    "status": 404,
    "detail": "No such deployment: spring. `wainwright deployment list` shows all.",
    "code": "not-found",
}
