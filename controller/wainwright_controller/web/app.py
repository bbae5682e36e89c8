"""All pages together, for api/app.py."""

from __future__ import annotations

from fastapi import APIRouter

from wainwright_controller.web import (
    audit,
    deployment,
    deployments,
    device,
    devices,
    filters,
    groups,
    live,
    release,
    releases,
    sign_in,
    wizard,
)

ROUTERS: tuple[APIRouter, ...] = (
    sign_in.router,
    live.router,
    deployments.router,
    wizard.router,  # before the next: `new` is no id
    deployment.router,
    devices.router,
    device.router,
    filters.router,
    groups.router,
    releases.router,
    release.router,
    audit.router,
)
