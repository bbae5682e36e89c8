"""Who may call the API.

1. Where a token is configured, every request under /api/v1 must bring it as `Authorization: Bearer`.
2. A request that changes something and that a browser sends on behalf of another site's page is refused: a controller
   without a token on the operator's own machine must not be steered by a page that he visits.
3. Without a token a request must name this controller as its host: a page may not reach it under a name of its own that
   it points to this machine (DNS rebinding).

Health, metrics and signed downloads need no token. Users and roles are not known here.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from fastapi import Request

from wainwright_controller.api.context import InContext
from wainwright_controller.api.problems import Forbidden, Unauthorized

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = frozenset({"cross-site", "same-site"})  # Fetch Metadata: what Sec-Fetch-Site says of another origin


def check_access(request: Request, context: InContext) -> None:
    """Raise Unauthorized or Forbidden by the rules of this module."""
    origin = request.headers.get("origin")
    is_foreign = request.headers.get("sec-fetch-site") in _FOREIGN or (
        origin is not None and _host(origin) not in context.hosts
    )
    if request.method not in _READING and is_foreign:
        raise Forbidden("This request comes from another site's page: use the controller's own page or its CLI.")
    if not context.token:
        if _host(f"//{request.headers.get('host', '')}") not in context.hosts:
            raise Forbidden("This request names another host: use this controller's address, or give it a token.")
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), context.token.encode()):
        raise Unauthorized("This controller asks for its token: give --token, or set WAINWRIGHT_TOKEN.")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
