"""Templates and static files. Everything that a template prints is escaped; what it misses is an error, not a gap.

Pages carry no script and no style of their own, so that the policy can forbid them: what somebody else's name for a
device could smuggle into a page would not run (Content Security Policy level 3).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import QueryParams

from wainwright_common import __version__
from wainwright_controller.api import roles
from wainwright_controller.api.access import cookie_of
from wainwright_controller.api.context import Context
from wainwright_controller.cli.words import count, size, span
from wainwright_controller.people import LOCAL, Actor
from wainwright_controller.web import words

FIRST_PAGE = "/deployments"
OWN_MAX = 16 * 1024  # characters of an address to go back to: envelope.py takes no longer one
STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # with `no-referrer` browsers do not say where a form comes from
    "Cache-Control": "no-store",
}


@cache
def release_of_pages() -> str:
    """Return what changes whenever the program's pages do: it is in the addresses of what browsers may keep."""
    folder = Path(__file__).parent
    files = sorted([*STATIC.iterdir(), *(folder / "templates").iterdir()])
    told = [__version__.encode(), *(path.name.encode() + path.read_bytes() for path in files)]
    return hashlib.sha256(b"\0".join(told)).hexdigest()[:12]


def static_url(name: str) -> str:
    """Return the address of a static file; scripts find each other by relative ones."""
    return f"/static/{release_of_pages()}/{name}"


def row_id(kind: str, name: str) -> str:
    """Return the id of the row of a thing that people named: names have spaces, which an id must not (HTML 3.2.6)."""
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def query(given: Mapping[str, Any], **changed: Any) -> str:  # noqa: ANN401  values as a query has them
    """Return a query with some of its parameters changed, "?" first; what is None, empty or False is left out."""
    merged = {**given, **changed}
    pairs = [
        (name, one)
        for name, value in merged.items()
        for one in (value if isinstance(value, list | tuple) else [value])
        if one not in {None, "", False}
    ]
    return "?" + urlencode(pairs) if pairs else "?"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("wainwright_controller.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "static": static_url,
        "version": __version__,
        "pages": release_of_pages(),
        "query": query,
        "words": words,
    }
    environment.filters |= {
        "size": size,
        "span": span,
        "count": count,
        "segment": lambda text: quote(text, safe=""),
        "json": lambda value: json.dumps(value, ensure_ascii=True),
    }
    return environment


TEMPLATES = _environment()


class Viewer:
    """Who looks at a page, as templates ask for it.

    `is_personal` says whether anybody asked for more than his role: what was rendered then is not for others.
    """

    def __init__(self, actor: Actor, *, can_sign_out: bool) -> None:
        self._name = actor.name
        self.role = actor.role
        self.can_sign_out = can_sign_out
        self.is_personal = False

    @property
    def name(self) -> str:
        """His name."""
        self.is_personal = True
        return self._name

    @property
    def is_local(self) -> bool:
        """Whether he sits at the controller's own machine, where no token is asked for."""
        return self.name == LOCAL

    def may(self, method: str, path: str) -> bool:
        """Say whether his role is enough for a request of the API, by its path below /api/v1."""
        return self.role.includes(roles.least(method, path))

    def lacks(self, method: str, path: str) -> str:
        """Return why he may not, "" if he may."""
        needed = roles.least(method, path)
        return "" if self.role.includes(needed) else f"For {needed}s; you are {words.a(self.role)}."


def viewer_of(request: Request) -> Viewer:
    """Return who looks at a page that asked who it is."""
    return Viewer(request.state.actor, can_sign_out=bool(cookie_of(request)))


def macro(template: str, name: str) -> Callable[..., str]:
    """Return a macro of a template as a function: how regions are rendered outside of their page."""

    def render(*arguments: Any, **named: Any) -> str:  # noqa: ANN401  the macro's
        return str(getattr(_module(template), name)(*arguments, **named))

    return render


@cache
def _module(template: str) -> Any:  # noqa: ANN401  a template's macros are its attributes
    return TEMPLATES.get_template(template).module


def page(request: Request, template: str, **values: Any) -> HTMLResponse:  # noqa: ANN401  the template's own
    """Return a page; templates find the viewer, his CSRF value and where they are."""
    context: Context = request.app.state.context
    shown = TEMPLATES.get_template(template).render(
        viewer=viewer_of(request),
        csrf=context.sessions.csrf(cookie_of(request)),
        path=request.url.path,
        given=given_in(request.query_params),
        **values,
    )
    return HTMLResponse(shown, headers=HEADERS)


def given_in(params: QueryParams) -> dict[str, list[str]]:
    """Return what an address asks for, as `query` takes it."""
    return {name: params.getlist(name) for name in params if name != "view"}


def own(wanted: str, otherwise: str) -> str:
    """Return an address if it is a page of this controller, whatever an address bar was made to say; else the other.

    A second slash, or a backslash, which browsers read as one, would begin the name of another host.
    """
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_own and len(wanted) <= OWN_MAX else otherwise


def error_page(request: Request, told: Response) -> HTMLResponse:
    """Return a problem of the API as a page."""
    problem = json.loads(bytes(told.body))
    shown = TEMPLATES.get_template("error.html").render(
        problem=problem, path=own(request.url.path, FIRST_PAGE), first_page=FIRST_PAGE
    )
    kept = {name: value for name, value in told.headers.items() if name in {"retry-after", "allow"}}
    return HTMLResponse(shown, HTTPStatus(told.status_code), HEADERS | kept)
