"""Puts the HTTP application together."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, Depends, FastAPI

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
    groups,
    health,
    people,
    problems,
    releases,
)
from wainwright_controller.api.access import PREFIX, check_access
from wainwright_controller.api.context import Context
from wainwright_controller.api.uploads import UPLOADS_MAX

JSON_MAX = 16 * 2**20  # bytes of a request other than an upload: IDS_MAX ids of the usual length


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
        max_body_size=JSON_MAX,
    )
    app.state.context = context
    app.state.uploads = anyio.CapacityLimiter(UPLOADS_MAX)
    problems.install(app)
    described.install(app)
    operators = APIRouter(prefix=PREFIX, dependencies=[Depends(check_access)])
    for noun in (devices, groups, artifacts, releases, deployments, deployment_actions, events):
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
    return app
