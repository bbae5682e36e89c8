"""Examples of users, tokens and the audit log."""

from __future__ import annotations

_TOKEN: dict[str, object] = {
    "id": "3q8Zk1vT",
    "user": "olga",
    "note": "laptop",
    "created_at": "2026-11-01T08:00:00Z",
    "created_by": "anton",
    "expires_at": "2027-11-01T08:00:00Z",
}
_HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

PEOPLE: dict[str, dict[str, object]] = {
    "Me": {"name": "olga", "role": "operator"},
    "UserIn": {"name": "olga", "role": "operator"},
    "RoleIn": {"role": "admin"},
    "UserOut": {"name": "olga", "role": "operator", "created_at": "2026-11-01T08:00:00Z", "created_by": "anton"},
    "TokenIn": {"user": "olga", "expires_at": "2027-11-01T08:00:00Z", "note": "laptop"},
    "TokenOut": _TOKEN | {"last_used_at": "2026-11-24T09:10:00Z"},
    "TokenMade": _TOKEN | {"token": "wwt_3q8Zk1vT_the-secret-part-is-shown-once"},
    "AuditOut": {
        "number": 42,
        "at": "2026-11-24T09:16:40Z",
        "who": "olga",
        "role": "operator",
        "address": "10.0.0.7",
        "action": "pause-deployment",
        "object": "65d0ef0a-54b3-46c7-ac39-e59218dac115",
        "before": {},
        "after": {"hold": "paused"},
        "verdict": "allowed",
        "hash": _HASH,
    },
    "ChainOut": {"whole": True, "entries": 42, "anchor": f"42:{_HASH}"},
}
