"""Puts the HTTP application together."""

from __future__ import annotations

import anyio
from fastapi import FastAPI

from wainwright_common import __version__
from wainwright_controller.api import (
    artifacts,
    audit,
    ca,
    deployment_actions,
    deployments,
    described,
    devices,
    downloads,
    enrolment,
    est,
    events,
    filters,
    groups,
    health,
    logs,
    people,
    problems,
    releases,
)
from wainwright_controller.api.access import PREFIX
from wainwright_controller.api.context import Context
from wainwright_controller.api.envelope import Envelope
from wainwright_controller.api.routing import SMALL_BODY
from wainwright_controller.api.uploads import UPLOADS_MAX
from wainwright_controller.web import app as web
from wainwright_controller.web.routing import tell_browsers
from wainwright_controller.web.shared import Shared

OPERATORS = (
    *(
        noun.router
        for noun in (devices, filters, groups, artifacts, releases, deployments, deployment_actions, events, logs)
    ),
    *(people.me, people.users, people.tokens, audit.router),
    *(enrolment.keys, enrolment.tokens, enrolment.devices, enrolment.certificates, ca.router),
    health.operators,
)


def create_app(context: Context) -> FastAPI:
    """Return the application that serves one controller."""
    app = FastAPI(
        title="Wainwright",
        summary="Keeps the software of a fleet of embedded Linux devices current.",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # these pages load their scripts from the internet, which a controller may not have
        redoc_url=None,
        responses=problems.RESPONSES,
        max_body_size=SMALL_BODY,
        redirect_slashes=False,  # it would send browsers to whatever host the request names
    )
    app.state.context = context
    app.state.shared = Shared()
    app.state.uploads, app.state.uploads_of = anyio.CapacityLimiter(UPLOADS_MAX), {}
    problems.install(app)
    tell_browsers(app)
    described.install(app, needs_token=context.gate.needs_token)
    # Each by itself: FastAPI works out the routes of a router in a router once for each of the two.
    for router in OPERATORS:
        app.include_router(router, prefix=PREFIX)
    for router in (downloads.router, est.router, ca.machines, health.machines):
        app.include_router(router)
    for pages in web.ROUTERS:
        app.include_router(pages)
    # Around everything, also around what tells errors of our own; so it cannot be one of FastAPI's middlewares.
    app.middleware_stack = Envelope(app.build_middleware_stack(), context)
    return app
