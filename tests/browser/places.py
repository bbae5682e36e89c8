"""Every page that there is, with something on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from tests.browser.house import House
from tests.support.serve import Json
from wainwright_controller.simulate import Fleet
from wainwright_controller.web.roles import SHOWS

DATA = {"/live", "/filters", "/filters/names", "/audit.csv"}  # for scripts and for spreadsheets
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>'
LONG, RIGHT_TO_LEFT = "very-long-name-" * 8 + "of-128", "ציפור-\u202egnp.exe\u2066-ירוקה"


def pages() -> list[str]:
    """Return the paths of all pages, as their routes have them."""
    return sorted(path for method, path in SHOWS if method == "GET" and path not in DATA)


def furnished(house: House, fleet: Fleet) -> Mapping[str, str]:
    """Make things of every kind, some with names that do harm to who does not expect them; returns addresses of pages.

    Keys are the paths of `pages()`.
    """
    ids = fleet.ids
    for number, name in enumerate((HOSTILE.replace("/", "|"), LONG, RIGHT_TO_LEFT)):
        house.post("groups", {"name": name, "ids": [ids[number]]})
        house.post("devices/tags", {"ids": [ids[0]], "given": {f"t{number}": _printable(name)}})
    house.post("groups", {"name": "by-filter", "where": f'inventory.fleet = "{fleet.spec.id_prefix}"'})
    with house.fleet(1, failing=1.0) as bad:
        for name in (HOSTILE, LONG, RIGHT_TO_LEFT):
            release = _printable(name)
            house.release(release)
            phases = [{"count": 1}, {"opens": "approval"}]
            made = house.deploy(*ids, *bad.ids, name=name, release=release, phases=phases)
            house.post(f"deployments/{made['id']}/pause", {"reason": name})
            last: Json = made
    places = {
        "{deployment_id}": last["id"],
        "{device_id}": ids[0],
        "/groups/{name}": "/groups/" + quote(HOSTILE.replace("/", "|"), safe=""),
        "/releases/{name}": "/releases/" + quote(HOSTILE, safe=""),
    }
    return {path: _filled(path, places) for path in pages()}


def _printable(name: str) -> str:
    return "".join(one for one in name if one.isprintable())


def _filled(path: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        path = path.replace(name, value)
    assert not re.search(r"[{}]", path), f"what is {path}?"
    return path
