"""Examples of keys, certificates, tokens of enrolment and the authority."""

from __future__ import annotations

_DIGEST = "5b8f4a0f2d1c3e6b7a9d8c7f6e5d4c3b2a190807f6e5d4c3b2a1908172635445"
_SERIAL = "1f0c6a2b9d3e4f5061728394a5b6c7d8e9f00112"
_PEM = "-----BEGIN CERTIFICATE-----\nMIIBzDCCAXKgAwIBAgIUHwxqK50+\n-----END CERTIFICATE-----\n"
_ISSUER = "0a1b2c3d4e5f6071"

KEY: dict[str, object] = {
    "device": "press-07",
    "digest": _DIGEST,
    "state": "accepted",
    "asked_at": "2026-11-24T08:00:00Z",
    "last_asked_at": "2026-11-24T08:02:00Z",
    "address": "192.0.2.17",
    "decided_at": "2026-11-24T08:01:12Z",
    "decided_by": "olga",
}
_TOKEN: dict[str, object] = {
    "id": "0c9f3b1a7d2e",
    "budget": 20,
    "used": 3,
    "expires_at": "2026-12-01T00:00:00Z",
    "note": "line 7",
    "created_at": "2026-11-24T08:00:00Z",
    "created_by": "olga",
}

ENROLMENT: dict[str, dict[str, object]] = {
    "KeyOut": KEY,
    "KeyIn": {"key": _DIGEST[:12]},
    "PreauthorizeIn": {"ids": ["press-08"], "keys": {"press-07": _DIGEST}},
    "RevokeIn": {"key": _DIGEST[:12], "reason": "key-compromise"},
    "RevokeCertificateIn": {"reason": "superseded"},
    "Revoked": {"serials": [_SERIAL]},
    "CertificateOut": {
        "serial": _SERIAL,
        "kind": "device",
        "name": "press-07",
        "key": _DIGEST,
        "issuer": _ISSUER,
        "begins_at": "2026-11-24T07:01:12Z",
        "ends_at": "2027-02-22T08:01:12Z",
        "issued_at": "2026-11-24T08:01:12Z",
        "issued_by": "device",
        "revoked_at": "2026-12-24T08:01:12Z",
        "reason": "decommissioned",
        "session_ended_at": "2026-12-24T08:01:18Z",
        "pem": _PEM,
    },
    "EnrolmentTokenIn": {"expires_at": "2026-12-01T00:00:00Z", "budget": 20, "note": "line 7"},
    "EnrolmentTokenOut": _TOKEN,
    "EnrolmentTokenMade": _TOKEN | {"token": "wwe_0c9f3b1a7d2e_the-secret-part-is-shown-once"},
    "AuthorityOut": {
        "subject": "CN=Wainwright root 5b8f4a0f",
        "fingerprint": _DIGEST,
        "begins_at": "2026-11-01T00:00:00Z",
        "ends_at": "2046-10-27T00:00:00Z",
        "has_root_key": False,
        "issuers": [
            {
                "id": _ISSUER,
                "subject": "CN=Wainwright issuing 0a1b2c3d",
                "fingerprint": _DIGEST,
                "begins_at": "2026-11-01T00:00:00Z",
                "ends_at": "2031-10-31T00:00:00Z",
                "signs_now": True,
                "certificates": 124,
                "pem": _PEM,
            }
        ],
        "crl_written_at": "2026-11-24T08:00:00Z",
        "crl_ends_at": "2026-12-24T08:00:00Z",
        "revoked": 2,
        "pem": _PEM,
    },
    "RequestOut": {"request": "-----BEGIN CERTIFICATE REQUEST-----\nMIH…\n-----END CERTIFICATE REQUEST-----\n"},
    "RotateIn": {"certificate": _PEM},
    "RetireIn": {"issuer": _ISSUER},
}
