"""Routers for pages: who may see one, and errors told as pages.

1. A page asks who it is for as the API does (api/access.py), with the role of web/roles.py.
2. Whoever has not signed in is led to where he can, and from there back.
3. What goes wrong, also an address that nothing is at, is told as a page with the sentence of the API's problem; to a
   script, which does not ask for HTML, as one. Requests of the API are always answered as such.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse

from wainwright_controller.api.access import PREFIX, admitted
from wainwright_controller.api.routing import SMALL_BODY
from wainwright_controller.people import NotAuthenticated
from wainwright_controller.web.rendering import error_page
from wainwright_controller.web.roles import least

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_MACHINES = (f"{PREFIX}/", "/.well-known/")  # whom nobody reads


class _Open(APIRoute):
    """A page for everybody; the OpenAPI document is of the API only."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:  # noqa: ANN401  the base class's
        if options.get("max_body_size") is None:
            options["max_body_size"] = SMALL_BODY
        super().__init__(path, endpoint, **options | {"include_in_schema": False, "response_model": None})


class _Guarded(_Open):
    """A page for those who may see it."""

    def get_route_handler(self) -> _Handler:
        answer = super().get_route_handler()

        async def ask_first(request: Request) -> Response:
            async with admitted(request, least(request.method, self.path_format)):
                return await answer(request)

        return ask_first


def tell_browsers(app: FastAPI) -> None:
    """Have an application tell errors as pages, to whoever wants a page; call it after problems.install."""
    for kind, tell in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, _as_a_page(tell))


def _as_a_page(tell: Callable[..., Any]) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    async def tell_as_a_page(request: Request, error: Exception) -> Response:
        told: Response = await tell(request, error)
        if request.url.path.startswith(_MACHINES) or "text/html" not in request.headers.get("accept", ""):
            return told
        return sign_in_first(request) if isinstance(error, NotAuthenticated) else error_page(request, told)

    return tell_as_a_page


def sign_in_first(request: Request) -> Response:
    """Return the way to the sign-in page, which leads back here afterwards."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?{urlencode({'next': wanted})}", HTTPStatus.SEE_OTHER)


def pages(prefix: str = "") -> APIRouter:
    """Return a router for pages that are for people who have signed in."""
    return APIRouter(prefix=prefix, route_class=_Guarded)


def open_pages() -> APIRouter:
    """Return a router for what asks for nobody: web/roles.py lists it in OPEN, with the reason."""
    return APIRouter(route_class=_Open)
