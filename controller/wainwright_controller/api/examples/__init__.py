"""Examples for the OpenAPI document, by the name of the type: one for each that is taken or given.

They tell one story: panel-2 goes to a plant's presses. A test holds that each is what its type takes, and complete.
"""

from __future__ import annotations

from collections.abc import Mapping

from wainwright_controller.api.examples.enrolment import ENROLMENT
from wainwright_controller.api.examples.fleet import FLEET
from wainwright_controller.api.examples.machines import MACHINES
from wainwright_controller.api.examples.people import PEOPLE
from wainwright_controller.api.examples.rollouts import ROLLOUTS

Json = dict[str, object]

EXAMPLES: Mapping[str, Json] = {**FLEET, **ENROLMENT, **ROLLOUTS, **PEOPLE, **MACHINES}
_PAGE = "Page_"


def example_of(schema: str) -> Json:
    """Return the example of a type by the name of its schema; a page has one item. Raises KeyError without one."""
    if schema.startswith(_PAGE):
        return {"items": [EXAMPLES[schema.removeprefix(_PAGE).removesuffix("_")]], "total": 1}
    return EXAMPLES[schema]
