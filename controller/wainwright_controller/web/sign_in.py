"""Signing in with a token, signing out, and the files that every page needs."""

from __future__ import annotations

import mimetypes
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from wainwright_controller import audit
from wainwright_controller.api.access import (
    UNKNOWN,
    address_of,
    check_origin,
    cookie_name,
    cookie_of,
    enter_refusal,
)
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.problems import response_of
from wainwright_controller.operations import NotFound
from wainwright_controller.people import Actor, NotAuthenticated, Role, TooManyFailures
from wainwright_controller.web import routing
from wainwright_controller.web.rendering import FIRST_PAGE, HEADERS, STATIC, TEMPLATES, own, release_of_pages

router = routing.open_pages()

FIELDS_MAX = 8  # of the form
_FOREVER = "public, max-age=31536000, immutable"  # RFC 8246; the address changes when the file does


@router.get("/")
def first_page() -> Response:
    """Lead to the first page."""
    return RedirectResponse(FIRST_PAGE, HTTPStatus.SEE_OTHER)


@router.get("/sign-in")
def ask_for_token(request: Request, context: InContext, next: str = FIRST_PAGE) -> Response:  # noqa: A002  in the address
    """Show the form; whoever needs no token needs no form."""
    if not context.gate.needs_token and not cookie_of(request):
        return RedirectResponse(own(next, FIRST_PAGE), HTTPStatus.SEE_OTHER)
    return _form(next)


@router.post("/sign-in")
async def sign_in(request: Request, context: InContext) -> Response:
    """Take a token, and give a cookie that stands for it."""
    check_origin(request, context)
    token, wanted = _given(await request.body())
    address = address_of(request)
    try:
        actor = await run_in_threadpool(context.gate.admit, token, address)
    except (NotAuthenticated, TooManyFailures) as error:
        about = audit.Attempt(Actor(UNKNOWN, Role.VIEWER, address), "sign-in", "")
        await run_in_threadpool(enter_refusal, context, about, error)
        text = str(error) if token else "Give a token: an admin makes one with `wainwright token create`."
        return _form(wanted, text, response_of(error))
    return _signed_in(request, context, actor, wanted)


@router.post("/sign-out")
def sign_out(request: Request, context: InContext) -> Response:
    """End the session, wherever its cookie is, and have the browser forget it."""
    check_origin(request, context)
    with suppress(NotAuthenticated):  # it has ended already
        context.gate.end(context.sessions.check(cookie_of(request), context.clock()))
        context.bulletin.post((), is_more=True)  # to its other pages, that are open
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(cookie_name(request), secure=request.url.scheme == "https", httponly=True, samesite="lax")
    return answer


@router.get("/static/{release}/{name}")
def static(release: str, name: str) -> Response:
    """Give a file; under another release's address what there is now, to be asked for again."""
    if name not in _files():
        raise NotFound(f"No such file: {name}.")
    kept = _FOREVER if release == release_of_pages() else "no-cache"
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(STATIC / name, media_type=media_type, headers={"Cache-Control": kept})


@cache
def _files() -> frozenset[str]:
    return frozenset(path.name for path in STATIC.iterdir())


@router.get("/favicon.ico")
def favicon() -> Response:
    """Give the icon to browsers that ask for the usual one."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


def _signed_in(request: Request, context: Context, actor: Actor, wanted: str) -> Response:
    answer = RedirectResponse(own(wanted, FIRST_PAGE), HTTPStatus.SEE_OTHER)
    if actor.token_id is None and not context.gate.needs_token and context.gate.configured is None:
        return answer  # nobody needs to sign in here
    answer.set_cookie(
        cookie_name(request),
        context.sessions.make(actor.token_id, context.clock()),
        max_age=context.sessions.lifetime_s,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # not strict: a link in a chat has to lead to the page; what changes something needs `csrf`
    )
    return answer


def _given(body: bytes) -> tuple[str, str]:
    """Return the token that a form brings, and where to go with it; "" is none."""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=FIELDS_MAX)
    except ValueError:  # more than our form has
        fields = {}
    return fields.get("token", [""])[0].strip(), fields.get("next", [""])[0]


def _form(wanted: str, error: str = "", told: Response | None = None) -> HTMLResponse:
    shown = TEMPLATES.get_template("sign_in.html").render(wanted=own(wanted, FIRST_PAGE), error=error)
    if told is None:
        return HTMLResponse(shown, headers=HEADERS)
    kept = {name: told.headers[name] for name in ("retry-after",) if name in told.headers}
    return HTMLResponse(shown, told.status_code, HEADERS | kept)
