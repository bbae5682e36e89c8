"""Routers whose answers leave out what has no value: an optional key is absent, never null."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute


class _Route(APIRoute):
    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:  # noqa: ANN401  the base class's
        super().__init__(path, endpoint, **options | {"response_model_exclude_none": True})


def router(tag: str, prefix: str = "") -> APIRouter:
    """Return a router for one noun."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=_Route)
