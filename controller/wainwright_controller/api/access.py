"""Who may call the API and see the pages, and that the audit log knows of it.

0. All of this is asked before a byte of the body is read: a stranger makes nobody hold, or parse, what he sends.
1. A request that changes something and that a browser sends on behalf of another site's page is refused: a controller
   without a token on the operator's own machine must not be steered by a page that he visits.
2. gate.py says who it is: by a token, or by the cookie of a browser that has signed in (sessions.py), whose pages send
   a second value with what changes something. Whoever needs no token must name this controller as the host: a page may
   not reach it under a name of its own that it points to this machine (DNS rebinding). There, a cookie that is good no
   more is as none: browsers send one to all controllers of a host, whatever their ports (RFC 6265 section 8.5).
   Who needs none may not have come through a proxy either: who sits before that, nobody knows.
3. The person's role must be the one that roles.py asks for, or above it.
4. What changes something is entered in the audit log with the change itself (audit.py); what is refused is entered
   here, as far as refusals.py lets it.

Health, metrics and signed downloads ask for nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from wainwright_common.errors import WainwrightError
from wainwright_controller import audit
from wainwright_controller.api import roles
from wainwright_controller.api.context import Context
from wainwright_controller.api.problems import Forbidden, code_of
from wainwright_controller.people import (
    LOCAL,
    Actor,
    NotAllowed,
    NotAuthenticated,
    Role,
    TooManyFailures,
    is_same,
)

LOG = logging.getLogger(__name__)

PREFIX = "/api/v1"
CSRF_HEADER = "X-CSRF-Token"
UNKNOWN = "unknown"  # who is refused before he is known
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = frozenset({"cross-site", "same-site"})  # Fetch Metadata: what Sec-Fetch-Site says of another origin
_PASSED_ON = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"})
_ADDRESS_MAX = 64  # characters: the column's
_OTHER = " "  # what stands for credentials of another kind: no token is a space


@asynccontextmanager
async def admitted(request: Request, needed: Role | None = None) -> AsyncIterator[None]:
    """Note in a request who makes it; raises NotAuthenticated, TooManyFailures, Forbidden or NotAllowed.

    `needed` is the role for it, where it is not that of the API's route. What is refused within the `with` is entered
    in the audit log, too. routing.py puts it around every route, and web/routing.py around every page.
    """
    context: Context = request.app.state.context
    address = address_of(request)
    route = request.scope["route"]
    subject = ", ".join(str(value) for value in request.path_params.values())
    nobody = Actor(UNKNOWN, Role.VIEWER, address)
    about = audit.Attempt(nobody, route.name.replace("_", "-"), subject)
    try:
        check_origin(request, context)
        actor = await run_in_threadpool(_who, request, context, address)
        if actor.name == LOCAL:
            _check_local(request, context)
        about = about._replace(actor=actor)
        needed = needed or roles.least(request.method, route.path_format.removeprefix(PREFIX))
        if not actor.role.includes(needed):
            raise NotAllowed(f"{actor.name} is {_a(actor.role)}, and this is for {needed}s: ask one to do it.")
        if request.method not in _READING:
            audit.attempt.set(about)
        request.state.actor = actor
        yield
    except WainwrightError as error:
        is_known = about.actor is not nobody
        wants_entry = request.method not in _READING or isinstance(error, NotAllowed | TooManyFailures)
        if wants_entry or (not is_known and _token_of(request)):
            await run_in_threadpool(enter_refusal, context, about, error)
        raise


def _actor(request: Request) -> Actor:
    actor: Actor = request.state.actor  # not there on a route that asks for nobody: a mistake of ours, told as one
    return actor


InActor = Annotated[Actor, Depends(_actor)]


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie; by its prefix browsers take it from HTTPS, and for this host, only."""
    return "__Host-wainwright" if request.url.scheme == "https" else "wainwright"


def cookie_of(request: Request) -> str:
    """Return the cookie of the browser's session, "" without one."""
    return request.cookies.get(cookie_name(request), "")


def address_of(request: Request) -> str:
    """Return where a request comes from, as the audit log has room for it."""
    return (request.client.host if request.client else "")[:_ADDRESS_MAX]


def _who(request: Request, context: Context, address: str) -> Actor:
    """Return who makes a request: by a token, or by the cookie of his browser's session."""
    cookie = cookie_of(request)
    if not cookie or "authorization" in request.headers:
        return context.gate.admit(_token_of(request), address)
    try:
        session = context.sessions.check(cookie, context.clock())
        actor = context.gate.recall(session, address)
    except NotAuthenticated:
        if context.gate.needs_token:
            raise
        return context.gate.admit("", address)
    given = request.headers.get(CSRF_HEADER, "")
    if request.method not in _READING and not is_same(given, context.sessions.csrf(cookie)):
        raise Forbidden("This request does not come from a page of this session: load the page again.")
    return actor


def check_origin(request: Request, context: Context) -> None:
    """Raise Forbidden for what a browser sends on behalf of another site's page, if it may change something."""
    origin = request.headers.get("origin")
    is_ours = origin is None or _host(origin) in context.hosts or _is_of_its_host(origin, request, context)
    is_foreign = request.headers.get("sec-fetch-site") in _FOREIGN or not is_ours
    if request.method not in _READING and is_foreign:
        raise Forbidden("This request comes from another site's page: use the controller's own page or its CLI.")


def _is_of_its_host(origin: str, request: Request, context: Context) -> bool:
    """Say whether a page speaks to the host that it comes from, by a name of the controller that nobody told it.

    Only where a token is asked for: to a name of his own (DNS rebinding) nobody's browser brings a cookie.
    """
    host = request.headers.get("host", "")
    return context.gate.needs_token and origin in {f"http://{host}", f"https://{host}"}


def _check_local(request: Request, context: Context) -> None:
    """Raise Forbidden for who needs no token, and may not be on this machine."""
    if _host(f"//{request.headers.get('host', '')}") not in context.hosts:
        raise Forbidden("This request names another host: use this controller's address, or give it a token.")
    if not _PASSED_ON.isdisjoint(request.headers):
        raise Forbidden(
            "This request came through a proxy, and nobody knows from whom: have the controller ask for tokens"
            " (http.require_token = true)."
        )


def _token_of(request: Request) -> str:
    """Return the token of a request, "" if it has no credentials at all."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip() or _OTHER
    return _OTHER if header else ""


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _a(role: Role) -> str:
    return f"a {role}" if role is Role.VIEWER else f"an {role}"


def enter_refusal(context: Context, about: audit.Attempt, error: WainwrightError) -> None:
    """Enter in the audit log that somebody was refused, unless he has been too often of late."""
    left_out = context.refusals.take(about.actor.address, time.monotonic())
    if left_out is None:
        return
    if isinstance(error, NotAuthenticated) and error.who:
        about = about._replace(actor=about.actor._replace(name=error.who))
    after = {"refusals left out before this one": left_out} if left_out else {}
    try:
        with context.store.write() as connection:
            audit.append(connection, context.clock(), about, about.subject, after=after, code=code_of(error))
    except SQLAlchemyError:  # the answer is the refusal, whatever the disk says
        LOG.exception("cannot enter a refusal in the audit log")
