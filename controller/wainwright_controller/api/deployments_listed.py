"""Which deployments a list has, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import ColumnElement, RowMapping, Select, and_, case, func, literal, or_, select, tuple_

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.api.models.base import Moment
from wainwright_controller.api.paging import Key, Search, key_of
from wainwright_controller.api.problems import BadRequest
from wainwright_controller.records import Strategy
from wainwright_controller.rows import DEPLOYMENT, EVENT

ROUNDING_S = 5e-7  # the API shows times in microseconds, rounded: a time that it showed means the row that it is of


class DeploymentSort(StrEnum):
    """The order of a list of deployments: `-` is downwards."""

    CREATED = "created"
    CREATED_LAST = "-created"
    UPDATED = "updated"
    UPDATED_LAST = "-updated"
    NAME = "name"
    NAME_LAST = "-name"
    STATUS = "status"
    STATUS_LAST = "-status"

    @property
    def key(self) -> str:
        """What is compared."""
        return self.value.removeprefix("-")

    @property
    def is_downward(self) -> bool:
        """Whether the largest comes first."""
        return self.value.startswith("-")


# The newest line of a timeline tells which of two deployments changed last, also within one moment.
_LAST_LINE = select(func.max(EVENT.c.id)).where(EVENT.c.deployment_id == DEPLOYMENT.c.id).scalar_subquery()
_KEYS: dict[str, ColumnElement[Any]] = {
    "created": DEPLOYMENT.c.sequence,
    "updated": func.coalesce(_LAST_LINE, 0),
    "name": DEPLOYMENT.c.name,
    "status": case({status: place for place, status in enumerate(DeploymentStatus)}, value=DEPLOYMENT.c.status),
}


@dataclass
class DeploymentFilters:
    """The parameters that choose deployments; what is not given restricts nothing."""

    status: Annotated[list[DeploymentStatus] | None, Query(description="Repeatable.")] = None
    strategy: Annotated[list[Strategy] | None, Query(description="Repeatable.")] = None
    q: Search = None
    name: Annotated[str | None, Query(description="Exactly this name.")] = None
    release: Annotated[str | None, Query(description="Exactly this release.")] = None
    creator: Annotated[str | None, Query(description="Made by exactly this person.")] = None
    since: Annotated[Moment | None, Query(description="Made at this time or later.")] = None
    until: Annotated[Moment | None, Query(description="Made before this time.")] = None

    def condition(self) -> ColumnElement[bool]:
        """Return what a deployment must meet; `q` looks into names and releases."""
        matching: list[ColumnElement[bool]] = []
        if self.status:
            matching.append(DEPLOYMENT.c.status.in_(self.status))
        if self.strategy:
            matching.append(DEPLOYMENT.c.strategy.in_(self.strategy))
        if self.q:
            fields = (DEPLOYMENT.c.name, DEPLOYMENT.c.artifact_name)
            matching.append(or_(*(field.icontains(self.q, autoescape=True) for field in fields)))
        exact = (
            (DEPLOYMENT.c.name, self.name),
            (DEPLOYMENT.c.artifact_name, self.release),
            (DEPLOYMENT.c.created_by, self.creator),
        )
        matching += [column == value for column, value in exact if value is not None]
        if self.since is not None:
            matching.append(DEPLOYMENT.c.created_at >= self.since.timestamp() - ROUNDING_S)
        if self.until is not None:
            matching.append(DEPLOYMENT.c.created_at < self.until.timestamp() - ROUNDING_S)
        return and_(True, *matching)  # noqa: FBT003  SQL's TRUE


def key_column(sort: DeploymentSort) -> ColumnElement[Any]:
    """Return what a list is ordered by; deployments that are equal in it follow in the order of their making."""
    return _KEYS[sort.key]


def in_order(query: Select[Any], sort: DeploymentSort, after: str | None) -> Select[Any]:
    """Return a query with its rows in order, from the one behind a cursor on; raises BadRequest for a foreign one."""
    keys = (key_column(sort), DEPLOYMENT.c.sequence)
    query = query.order_by(*(key.desc() if sort.is_downward else key.asc() for key in keys))
    if after is None:
        return query
    of, value, sequence = key_of(after, tuple[str, int | str, int])
    if of != sort or isinstance(value, str) is not (sort.key == "name"):
        raise BadRequest("This cursor is of a list in another order: begin again without one.")
    place = tuple_(literal(value), literal(sequence))
    return query.where(tuple_(*keys) < place if sort.is_downward else tuple_(*keys) > place)


def place_of(row: RowMapping, sort: DeploymentSort) -> Key:
    """Return the place of a row in a list, for its cursor."""
    return (str(sort), row["sort_key"], row["sequence"])
