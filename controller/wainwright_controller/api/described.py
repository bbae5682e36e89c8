"""The OpenAPI document: what FastAPI makes of the routes, with an example for each body and answer, and problem codes.

Which codes a request may be refused with is a table, as roles.py is; a test holds both to the routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from wainwright_controller.api.examples import example_of
from wainwright_controller.api.examples.machines import PROBLEM
from wainwright_controller.rules.actions import ALLOWED, Act, Stage, code_of

Json = dict[str, Any]
PREFIX = "/api/v1"
CODES_KEY = "x-problem-codes"
SCHEME = "token"  # docs/security.md

_ALWAYS = (
    *("bad-request", "body-too-large", "forbidden", "head-too-large", "internal", "not-allowed", "not-authenticated"),
    *("store-unavailable", "target-too-long", "too-many-at-once", "too-many-failures"),
)
_MACHINES = ("bad-request", "head-too-large", "internal", "store-unavailable", "target-too-long", "too-many-at-once")
_CSR = ("csr-key", "csr-name", "csr-signature", "csr-unreadable", "authority-unavailable", "forbidden", "not-found")
_KEYED = ("decommissioned", "key-in-use")
_KEYS = ("decommissioned", "key-in-use", "key-replaced", "key-revoked", "rejected")
_OF_MACHINES = {
    # By the last step of the path.
    "download": ("link-expired", "link-invalid", "not-found"),
    "cacerts": ("authority-unavailable", "not-found"),
    "crl.pem": ("authority-unavailable", "not-found"),
    "simpleenroll": (*_CSR, *_KEYS, "token-invalid", "too-many-keys", "too-many-pending"),
    "simplereenroll": (
        *_CSR,
        *_KEYS,
        "certificate-needed",
        "certificate-revoked",
        "certificate-unknown",
        "key-unknown",
        "too-many-keys",
        "wrong-name",
    ),
}
_FOUND = ("not-found",)
_AUTHORITY = ("authority-unavailable", "not-found")
_NAMED = ("ambiguous", "not-found")
_ORDER = ("bad-filter", "bad-limit", "bad-plan", "not-found")

# fmt: off
# What a request may be refused with beyond what every one may, and `invalid` where it takes anything.
CODES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("GET",    "/devices"):                                ("bad-filter", *_FOUND),
    ("GET",    "/devices/{device_id}"):                    _FOUND,
    ("GET",    "/devices/{device_id}/history"):            _FOUND,
    ("GET",    "/devices/{device_id}/timeline"):           _FOUND,
    ("GET",    "/devices/{device_id}/logs/{deployment_id}"): _NAMED,
    ("POST",   "/devices/accept"):                         ("which-key", *_KEYED, *_FOUND),
    ("POST",   "/devices/reject"):                         ("decommissioned", *_FOUND),
    ("POST",   "/devices/preauthorize"):                   ("bad-id", "has-a-key", "key-revoked", *_KEYED),
    ("POST",   "/devices/tags"):                           ("bad-filter", "bad-tag", *_FOUND),
    ("POST",   "/devices/check-in"):                       _FOUND,
    ("POST",   "/devices/{device_id}/decommission"):       _FOUND,
    ("POST",   "/devices/{device_id}/recommission"):       ("not-decommissioned", *_FOUND),
    ("POST",   "/devices/{device_id}/accept-key"):         ("which-key", *_KEYED, *_FOUND),
    ("POST",   "/devices/{device_id}/revoke"):             _FOUND,

    ("POST",   "/enrolment/tokens"):                       ("bad-id", "token-expired"),
    ("POST",   "/enrolment/tokens/{token_id}/revoke"):     _FOUND,
    ("POST",   "/certificates/{serial}/revoke"):           _FOUND,
    ("GET",    "/ca"):                                     _AUTHORITY,
    ("POST",   "/ca/request"):                             _AUTHORITY,
    ("POST",   "/ca/rotate"):                              ("not-possible", "root-elsewhere", *_AUTHORITY),
    ("POST",   "/ca/retire"):                              ("not-possible", *_AUTHORITY),

    ("GET",    "/filters"):                                ("bad-filter",),

    ("GET",    "/groups/{name}"):                          _FOUND,
    ("POST",   "/groups"):                                 ("bad-filter", "group-exists", *_FOUND),
    ("PUT",    "/groups/{name}/filter"):                   ("bad-filter", "group-static", *_FOUND),
    ("POST",   "/groups/{name}/add"):                      ("group-dynamic", *_FOUND),
    ("POST",   "/groups/{name}/remove"):                   ("group-dynamic", *_FOUND),
    ("DELETE", "/groups/{name}"):                          _FOUND,

    ("GET",    "/artifacts/{artifact_id}"):                _NAMED,
    ("GET",    "/artifacts/{artifact_id}/file"):           _NAMED,
    ("POST",   "/artifacts"):                ("artifact-exists", "storage-full", "upload-stalled", "upload-too-large"),
    ("DELETE", "/artifacts/{artifact_id}"):                ("artifact-in-use", *_NAMED),
    ("GET",    "/releases/{name}"):                        _FOUND,
    ("DELETE", "/releases/{name}"):                        ("artifact-in-use", *_FOUND),

    ("POST",   "/deployments"):                            _ORDER,
    ("POST",   "/deployments/plan"):                       _ORDER,
    ("GET",    "/deployments/{deployment_id}"):            _NAMED,
    ("GET",    "/deployments/{deployment_id}/devices"):    _NAMED,
    ("GET",    "/deployments/{deployment_id}/failures"):   _NAMED,
    ("GET",    "/deployments/{deployment_id}/logs"):       _NAMED,
    ("GET",    "/deployments/{deployment_id}/timeline"):   _NAMED,
    ("GET",    "/deployments/{deployment_id}/events"):     _NAMED,

    ("POST",   "/users"):                                  ("user-exists",),
    ("POST",   "/users/{name}/role"):                      ("last-admin", *_FOUND),
    ("POST",   "/users/{name}/revoke"):                    ("last-admin", *_FOUND),
    ("POST",   "/tokens"):                                 ("token-expired", *_FOUND),
    ("POST",   "/tokens/{token_id}/revoke"):               _FOUND,
}

# What an action may be refused with beyond what its stage says (rules/actions.py).
_MORE: Mapping[Act, tuple[str, ...]] = {
    Act.APPROVE:  ("own-deployment",),
    Act.PROMOTE:  ("nothing-to-promote", "not-started", "phase-not-next", "phase-open"),
    Act.INSTALL:  ("not-download-only",),
    Act.RETRY:    ("is-a-rollback", "nothing-to-retry"),
    Act.ROLLBACK: ("is-a-rollback", "nothing-to-roll-back", "rolled-back"),
    Act.FINISH:   ("not-dynamic",),
}
_PATHS: Mapping[tuple[str, str], Act] = {
    ("DELETE", "/deployments/{deployment_id}"):               Act.DELETE,
    ("GET",    "/deployments/{deployment_id}/rollback-plan"): Act.ROLLBACK,
    ("POST",   "/deployments/{deployment_id}/approve-batch"): Act.PROMOTE,
    **{("POST", f"/deployments/{{deployment_id}}/{act}"): act for act in Act if act is not Act.DELETE},
}
# fmt: on


def codes_of(method: str, path: str, *, takes: bool) -> list[str]:
    """Return what a request may be refused with, sorted; `takes` says that it has parameters or a body."""
    if not path.startswith(f"{PREFIX}/"):
        last = path.rpartition("/")[2]
        return sorted({*_MACHINES, *(_OF_MACHINES["download"] if "download" in path else _OF_MACHINES.get(last, ()))})
    key = (method, path.removeprefix(PREFIX))
    codes = {*_ALWAYS, *CODES.get(key, ()), *(("invalid",) if takes else ())}
    if (act := _PATHS.get(key)) is not None:
        refused = {code_of(act, stage) for stage in Stage if stage not in ALLOWED[act]}
        codes |= {*_NAMED, *refused, *_MORE.get(act, ())}
    return sorted(codes)


def install(app: FastAPI, *, needs_token: bool) -> None:
    """Make an application describe itself this way; where no token is needed, one may still be given."""
    made = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(made(), [{SCHEME: []}] if needs_token else [{SCHEME: []}, {}])
        return made()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _complete(document: Json, security: list[Json]) -> None:
    document["components"]["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            summary, _, _ = operation["description"].partition("\n")
            operation["summary"] = summary
            if path.startswith(f"{PREFIX}/"):
                operation["security"] = security
            _add_examples(operation)
            takes = bool(operation.get("parameters") or operation.get("requestBody"))
            codes = codes_of(method.upper(), path, takes=takes)
            operation[CODES_KEY] = codes
            problem = operation["responses"]["default"]
            problem["content"].pop("application/json")  # FastAPI's, for the model; problems have a type of their own
            problem |= {"description": f"What went wrong: {', '.join(codes)}"}


def _add_examples(operation: Json) -> None:
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for kind, media in body.get("content", {}).items():
            schema = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if kind == "application/problem+json":
                media["example"] = PROBLEM
            elif schema and schema != "Problem":
                media["example"] = example_of(schema)
