"""Which role each page needs at least: that of the route of the API whose data it shows. The rest is for admins.

A test compares the table with the routes, so that a page that is forgotten fails it.
"""

from __future__ import annotations

from collections.abc import Mapping

from wainwright_controller.api import roles
from wainwright_controller.people import Role

# fmt: off
SHOWS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("GET",  "/deployments"):                 ("GET",  "/deployments"),
    ("GET",  "/deployments/new"):             ("POST", "/deployments"),
    ("POST", "/deployments/new/plan"):        ("POST", "/deployments/plan"),
    ("GET",  "/deployments/{deployment_id}"): ("GET",  "/deployments/{deployment_id}"),
    ("GET",  "/devices"):                     ("GET",  "/devices"),
    ("GET",  "/devices/{device_id}"):         ("GET",  "/devices/{device_id}"),
    ("GET",  "/filters"):                     ("GET",  "/filters"),
    ("GET",  "/filters/names"):               ("GET",  "/filters"),
    ("GET",  "/groups"):                      ("GET",  "/groups"),
    ("GET",  "/groups/{name}"):               ("GET",  "/groups/{name}"),
    ("GET",  "/releases"):                    ("GET",  "/releases"),
    ("GET",  "/releases/{name}"):             ("GET",  "/releases/{name}"),
    ("GET",  "/audit"):                       ("GET",  "/audit"),
    ("GET",  "/audit.csv"):                   ("GET",  "/audit"),
    ("GET",  "/live"):                        ("GET",  "/events"),
}

# The page that a stream follows, by the name of what it looks at: /live asks for the page's role besides its own.
VIEWS: Mapping[str, tuple[str, str]] = {
    "deployments": ("GET", "/deployments"),
    "deployment":  ("GET", "/deployments/{deployment_id}"),
    "devices":     ("GET", "/devices"),
    "device":      ("GET", "/devices/{device_id}"),
    "groups":      ("GET", "/groups"),
    "group":       ("GET", "/groups/{name}"),
    "audit":       ("GET", "/audit"),
    "releases":    ("GET", "/releases"),
    "release":     ("GET", "/releases/{name}"),
}

# What asks for nobody, and why.
OPEN: Mapping[tuple[str, str], str] = {
    ("GET",  "/"):               "leads to the first page",
    ("GET",  "/sign-in"):        "whoever has not signed in must find where",
    ("POST", "/sign-in"):        "as above; the token is what is asked for",
    ("POST", "/sign-out"):       "ends what the browser has, whatever that is",
    ("GET",  "/static/{release}/{name}"): "styles and scripts are in every copy of the program",
    ("GET",  "/favicon.ico"):    "browsers ask for it unasked",
}
# fmt: on


def least_of_view(view: str) -> Role:
    """Return the role that a page's stream needs at least; what is not in the table is for admins."""
    return least(*VIEWS[view]) if view in VIEWS else Role.ADMIN


def least(method: str, path: str) -> Role:
    """Return the role that a page needs at least; `path` is its route's."""
    shown = SHOWS.get((method, path))
    return roles.least(*shown) if shown is not None else Role.ADMIN
