"""Routers: what all routes of a kind have in common.

1. Answers leave out what has no value: an optional key is absent, never null.
2. A route asks who makes the request, and whether he may (access.py), unless its router is an `open_router`.
3. A body is at most SMALL_BODY, unless the route says otherwise. FastAPI counts what a route reads; one that reads none
   is not begun at all when the request says that it has more.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute

from wainwright_controller.api.access import admitted

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
SMALL_BODY = 64 * 1024  # bytes: the longest filter, and much more than the longest of what else there is
FLEET_BODY = 16 * 2**20  # bytes of a request that may name a whole fleet: IDS_MAX ids of the usual length


class _Open(APIRoute):
    """A route for everybody."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:  # noqa: ANN401  the base class's
        if options.get("max_body_size") is None:
            options["max_body_size"] = SMALL_BODY
        self._body_max: int = options["max_body_size"]
        super().__init__(path, endpoint, **options | {"response_model_exclude_none": True})

    def get_route_handler(self) -> _Handler:
        answer = super().get_route_handler()

        async def measure_first(request: Request) -> Response:
            if int(request.headers.get("content-length", 0)) > self._body_max:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than this request may have"
                )
            return await answer(request)

        return measure_first


class _Guarded(_Open):
    """A route for those who may."""

    def get_route_handler(self) -> _Handler:
        answer = super().get_route_handler()

        async def ask_first(request: Request) -> Response:
            async with admitted(request):
                return await answer(request)

        return ask_first


def router(tag: str, prefix: str = "") -> APIRouter:
    """Return a router for one noun, for people."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=_Guarded)


def open_router(tag: str, prefix: str = "") -> APIRouter:
    """Return a router for what asks for nobody: roles.py lists it in OPEN, with the reason."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=_Open)
