"""All pages together, for api/app.py."""

from __future__ import annotations

from fastapi import APIRouter

from wainwright_controller.web import deployment, deployments, live, sign_in, wizard

ROUTERS: tuple[APIRouter, ...] = (sign_in.router, live.router, deployments.router, wizard.router, deployment.router)
