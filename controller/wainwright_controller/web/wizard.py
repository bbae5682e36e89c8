"""Making a deployment in five steps, the last of which shows what it would do before anything is done."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pydantic
from fastapi import Body, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from wainwright_common.codes import Code
from wainwright_common.errors import WainwrightError
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.deployments import plan_deployment
from wainwright_controller.api.devices_listed import DeviceFilters, listed
from wainwright_controller.api.models import OrderIn
from wainwright_controller.api.routing import FLEET_BODY
from wainwright_controller.cli.conditions import unlimited
from wainwright_controller.cli.deployment_show import conditions
from wainwright_controller.cli.narration import condition
from wainwright_controller.operations import NotFound
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import ARTIFACT, GROUP
from wainwright_controller.rules.filters import BadFilter
from wainwright_controller.rules.gates import BadLimit
from wainwright_controller.rules.phases import BadPlan
from wainwright_controller.web import routing
from wainwright_controller.web.order import OPTIONS, BadField, Fields, command_of, of_phases, ordered
from wainwright_controller.web.rendering import HEADERS, macro, page

router = routing.pages()

STEPS = {
    "release": "Release",
    "targets": "Targets",
    "parameters": "Parameters",
    "strategy": "Strategy",
    "review": "Review",
}
RELEASES_MAX = 200  # offered at first, the newest; typing asks for more
GROUPS_MAX = 1000
LEFT_SHOWN = 20  # devices that would not get it, with the reason; the counts are of all
FIELD_MAX = 1_000_000  # characters: the ids of a fleet, pasted

_review, _mistake = macro("wizard_review.html", "review"), macro("wizard_review.html", "mistake")


@router.get("/deployments/new")
def ask(request: Request, context: InContext) -> Response:
    """Show the wizard, with what the address says already filled in."""
    newest = select(ARTIFACT.c.name).distinct().order_by(ARTIFACT.c.name.desc()).limit(RELEASES_MAX)
    by_name = select(GROUP.c.name, GROUP.c.filter).order_by(GROUP.c.name).limit(GROUPS_MAX)
    with context.store.read() as connection:
        releases = list(connection.execute(newest).scalars())
        groups = [(row.name, row.filter) for row in connection.execute(by_name)]
    params = request.query_params
    return page(
        request,
        "wizard.html",
        steps=STEPS,
        options=OPTIONS,
        releases=releases,
        groups=groups,
        codes=[code.value for code in Code],
        filled={
            "release": params.get("release", ""),
            "to": params.get("group", ""),
            "device": "\n".join(params.getlist("device")),
            "where": params.get("where", ""),
        },
    )


@router.post("/deployments/new/plan", max_body_size=FLEET_BODY)
def plan(
    fields: Annotated[dict[str, Annotated[str, pydantic.Field(max_length=FIELD_MAX)]], Body()], context: InContext
) -> Response:
    """Say what the fields would do: as HTML, with the order for the API and the command that is the same.

    What is wrong is said in the same way, and with the field and the step that it is about.
    """
    try:
        order = ordered(fields, lambda given: _device_count(context, given))
        found = plan_deployment(OrderIn.model_validate(order), context)
    except pydantic.ValidationError as error:
        return _wrong(_invalid(error, fields))
    except BadField as error:
        return _wrong(error)
    except WainwrightError as error:  # of the rules, the filter, the target
        return _wrong(BadField(str(error), _blamed(error, fields)))
    phases = [(phase, condition(phase.model_dump(mode="json"))) for phase in found.phases]
    shown = _review(
        found,
        phases,
        found.left[:LEFT_SHOWN],
        list(conditions(order)),
        unlimited(order["phases"], order.get("limits", [])),
        command_of(fields),
        json.dumps(order, ensure_ascii=True),
    )
    return HTMLResponse(shown, headers=HEADERS)


def _wrong(error: BadField) -> Response:
    return HTMLResponse(_mistake(str(error), error.field, error.step), headers=HEADERS)


def _device_count(context: Context, given: dict[str, Any]) -> int:
    """Return how many devices the options mean, as the command line counts them."""
    if given["devices"]:
        return len(given["devices"])
    if given["max_devices"] is not None:
        return int(given["max_devices"])
    chosen = DeviceFilters([DeviceState.ACCEPTED], group=given["group"], where=given["where"])
    with context.store.read() as connection:
        return max(listed(connection, chosen, 1, None).total or 0, 1)


def _invalid(error: pydantic.ValidationError, fields: Fields) -> BadField:
    """Return the first thing that the API does not take, by its own name."""
    first = error.errors()[0]
    places = [_FIELDS.get(str(place), str(place).replace("_", "-")) for place in first["loc"]]
    known = [place for place in places if place in OPTIONS or place == "release"]
    field = known[-1] if known else of_phases(fields) if "phases" in places else ""
    return BadField(f"--{field}: {first['msg']}." if field in OPTIONS else f"{first['msg']}.", field)


_MISSING = {"release": "release", "group": "to", "device": "device"}
_FIELDS = {
    "group": "to",
    "devices": "device",
    "all_devices": "all",
    "limits": "max-failures",
    "downloading_s": "downloading-timeout",
    "installing_s": "installing-timeout",
    "rebooting_s": "rebooting-timeout",
    "attempt_s": "attempt-timeout",
    "in_progress_timeout_s": "in-progress-timeout",
    "per_minute": "rate",
    "factor": "ramp",
    "bytes_per_second": "bandwidth",
    "windows": "window",
}
"""The names of the API that are not those of the options."""


def _blamed(error: WainwrightError, fields: Fields) -> str:
    """Return the field that an error of the operations is about."""
    if isinstance(error, BadFilter):
        return "where"
    if isinstance(error, BadLimit):
        return "max-failures"
    if isinstance(error, BadPlan):
        return of_phases(fields)
    if isinstance(error, NotFound):
        return _MISSING.get(error.noun, "")
    return ""
