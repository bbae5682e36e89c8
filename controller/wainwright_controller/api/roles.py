"""Which role each request needs at least. What is not in the table is for admins: forgetting a line opens nothing.

Viewers look, operators run the fleet. What gives power to people, or ends a device's part in the fleet for good, is the
admins'. A test compares the table with the OpenAPI document and with the routes, and tries every line as every role.
"""

from __future__ import annotations

from collections.abc import Mapping

from wainwright_controller.people import Role

_V, _O, _A = Role.VIEWER, Role.OPERATOR, Role.ADMIN

# fmt: off
LEAST: Mapping[tuple[str, str], Role] = {
    ("GET",    "/me"):                                     _V,
    ("GET",    "/status"):                                 _V,
    ("GET",    "/events"):                                 _V,

    ("GET",    "/devices"):                                _V,
    ("GET",    "/devices/{device_id}"):                    _V,
    ("GET",    "/devices/{device_id}/history"):            _V,
    ("GET",    "/devices/{device_id}/timeline"):           _V,
    ("GET",    "/devices/{device_id}/why"):                _V,
    ("GET",    "/devices/{device_id}/logs/{deployment_id}"): _V,
    ("POST",   "/devices/accept"):                         _O,
    ("POST",   "/devices/reject"):                         _O,
    ("POST",   "/devices/preauthorize"):                   _O,
    ("POST",   "/devices/tags"):                           _O,
    ("POST",   "/devices/check-in"):                       _O,
    ("POST",   "/devices/{device_id}/decommission"):       _A,
    ("POST",   "/devices/{device_id}/recommission"):       _A,
    ("POST",   "/devices/{device_id}/accept-key"):         _O,
    ("POST",   "/devices/{device_id}/revoke"):             _A,

    ("GET",    "/enrolment/keys"):                         _V,
    ("GET",    "/enrolment/tokens"):                       _O,
    ("POST",   "/enrolment/tokens"):                       _O,
    ("POST",   "/enrolment/tokens/{token_id}/revoke"):     _O,
    ("GET",    "/certificates"):                           _V,
    ("POST",   "/certificates/{serial}/revoke"):           _A,
    ("GET",    "/ca"):                                     _V,
    ("POST",   "/ca/request"):                             _A,
    ("POST",   "/ca/rotate"):                              _A,
    ("POST",   "/ca/retire"):                              _A,

    ("GET",    "/filters"):                                _V,

    ("GET",    "/groups"):                                 _V,
    ("GET",    "/groups/{name}"):                          _V,
    ("POST",   "/groups"):                                 _O,
    ("PUT",    "/groups/{name}/filter"):                   _O,
    ("POST",   "/groups/{name}/add"):                      _O,
    ("POST",   "/groups/{name}/remove"):                   _O,
    ("DELETE", "/groups/{name}"):                          _O,

    ("GET",    "/artifacts"):                              _V,
    ("GET",    "/artifacts/{artifact_id}"):                _V,
    ("GET",    "/artifacts/{artifact_id}/file"):           _V,
    ("POST",   "/artifacts"):                              _O,
    ("DELETE", "/artifacts/{artifact_id}"):                _O,

    ("GET",    "/releases"):                               _V,
    ("GET",    "/releases/{name}"):                        _V,
    ("DELETE", "/releases/{name}"):                        _O,

    ("GET",    "/deployments"):                            _V,
    ("GET",    "/deployments/{deployment_id}"):            _V,
    ("GET",    "/deployments/{deployment_id}/devices"):    _V,
    ("GET",    "/deployments/{deployment_id}/failures"):   _V,
    ("GET",    "/deployments/{deployment_id}/logs"):       _V,
    ("GET",    "/deployments/{deployment_id}/timeline"):   _V,
    ("GET",    "/deployments/{deployment_id}/events"):     _V,
    ("GET",    "/deployments/{deployment_id}/rollback-plan"): _V,
    ("POST",   "/deployments"):                            _O,
    ("POST",   "/deployments/plan"):                       _O,
    ("POST",   "/deployments/{deployment_id}/approve"):    _A,
    ("POST",   "/deployments/{deployment_id}/deny"):       _A,
    ("POST",   "/deployments/{deployment_id}/start"):      _O,
    ("POST",   "/deployments/{deployment_id}/promote"):    _O,
    ("POST",   "/deployments/{deployment_id}/approve-batch"): _O,
    ("POST",   "/deployments/{deployment_id}/pause"):      _O,
    ("POST",   "/deployments/{deployment_id}/resume"):     _O,
    ("POST",   "/deployments/{deployment_id}/install"):    _O,
    ("POST",   "/deployments/{deployment_id}/retry"):      _O,
    ("POST",   "/deployments/{deployment_id}/rollback"):   _O,
    ("POST",   "/deployments/{deployment_id}/finish"):     _O,
    ("POST",   "/deployments/{deployment_id}/abort"):      _O,
    ("DELETE", "/deployments/{deployment_id}"):            _O,

    ("GET",    "/users"):                                  _A,
    ("POST",   "/users"):                                  _A,
    ("POST",   "/users/{name}/role"):                      _A,
    ("POST",   "/users/{name}/revoke"):                    _A,
    ("GET",    "/tokens"):                                 _A,
    ("POST",   "/tokens"):                                 _A,
    ("POST",   "/tokens/{token_id}/revoke"):               _A,
    ("GET",    "/audit"):                                  _A,
    ("GET",    "/audit/verify"):                           _A,
}

# What asks for nobody, and why. A route that is in neither table fails a test.
OPEN: Mapping[tuple[str, str], str] = {
    ("GET", "/healthz"):                "says one word, to whatever watches the process",
    ("GET", "/readyz"):                 "says three words, to load balancers",
    ("GET", "/metrics"):                "counts, and names nothing; keep it from strangers in the proxy",
    ("GET", "/download/{artifact_id}"): "the link itself is the permission: signed, for one artifact, for a time",
    ("GET", "/crl.pem"):                "what is revoked is for every broker to know, and signed",
    ("GET", "/.well-known/est/cacerts"): "certificates are no secret",
    ("POST", "/.well-known/est/simpleenroll"): "who is given a certificate is decided by key, token or person",
    ("POST", "/.well-known/est/simplereenroll"): "the present certificate, shown in TLS, is the permission",
    ("GET", "/api/v1/openapi.json"):    "describes the program, not what it holds",
}
# fmt: on


def least(method: str, path: str) -> Role:
    """Return the role that a request needs at least; `path` is a route's, below /api/v1, as OpenAPI writes it."""
    return LEAST.get((method, path), Role.ADMIN)
