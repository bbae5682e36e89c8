"""Puts the HTTP application together."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, FastAPI

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
    operators = APIRouter(prefix=PREFIX)
    for noun in (devices, filters, groups, artifacts, releases, deployments, deployment_actions, events, logs):
        operators.include_router(noun.router)
    for people_router in (people.me, people.users, people.tokens, audit.router):
        operators.include_router(people_router)
    for router in (enrolment.keys, enrolment.tokens, enrolment.devices, enrolment.certificates, ca.router):
        operators.include_router(router)
    operators.include_router(health.operators)
    app.include_router(operators)
    app.include_router(downloads.router)
    app.include_router(est.router)
    app.include_router(ca.machines)
    app.include_router(health.machines)
    for pages in web.ROUTERS:
        app.include_router(pages)
    # Around everything, also around what tells errors of our own; so it cannot be one of FastAPI's middlewares.
    app.middleware_stack = Envelope(app.build_middleware_stack(), context)
    return app
