"""/api/v1/groups: static groups, lists of devices with a name."""

from __future__ import annotations

from http import HTTPStatus

from sqlalchemy import RowMapping, func, select

from wainwright_controller.api import routing
from wainwright_controller.api.context import OPERATOR, Context, InContext
from wainwright_controller.api.models import Changed, GroupIn, GroupOut, IdsIn, Page, known_moment
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, Search, cut, key_of
from wainwright_controller.operations import NotFound
from wainwright_controller.rows import GROUP, MEMBER

router = routing.router("groups", "/groups")

_COUNTED = (
    select(GROUP.c.name, GROUP.c.created_at, func.count(MEMBER.c.device_id).label("device_count"))
    .join(MEMBER, MEMBER.c.group_name == GROUP.c.name, isouter=True)
    .group_by(GROUP.c.name, GROUP.c.created_at)
)


@router.get("")
def list_groups(context: InContext, q: Search = None, limit: Limit = LIMIT, cursor: Cursor = None) -> Page[GroupOut]:
    """List groups by name; `GET /devices?group=` lists the members of one."""
    query = _COUNTED.order_by(GROUP.c.name).limit(limit + 1)
    if q:
        query = query.where(GROUP.c.name.icontains(q, autoescape=True))
    if cursor is not None:
        query = query.where(GROUP.c.name > key_of(cursor, tuple[str])[0])
    with context.store.read() as connection:
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["name"],))
    return Page(items=[_group_out(row) for row in rows], next=following)


@router.post("", status_code=HTTPStatus.CREATED)
def create_group(body: GroupIn, context: InContext) -> GroupOut:
    """Make a group; a device that is in another moves over."""
    context.operations.create_group(body.name, body.ids, OPERATOR)
    return _read(context, body.name)


@router.get("/{name}")
def show_group(name: str, context: InContext) -> GroupOut:
    """Show a group."""
    return _read(context, name)


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def delete_group(name: str, context: InContext) -> None:
    """Delete a group; its devices stay, and running deployments keep them."""
    context.operations.delete_group(name, OPERATOR)


@router.post("/{name}/add")
def add_to_group(name: str, body: IdsIn, context: InContext) -> Changed:
    """Add devices; one that is in another group moves over."""
    context.operations.add_to_group(name, body.ids, OPERATOR)
    return Changed(changed=body.ids)


@router.post("/{name}/remove")
def remove_from_group(name: str, body: IdsIn, context: InContext) -> Changed:
    """Take devices out; running deployments keep them."""
    context.operations.remove_from_group(name, body.ids, OPERATOR)
    return Changed(changed=body.ids)


def _read(context: Context, name: str) -> GroupOut:
    with context.store.read() as connection:
        row = connection.execute(_COUNTED.where(GROUP.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"No such group: {name}. `wainwright group list` shows all.")
    return _group_out(row)


def _group_out(row: RowMapping) -> GroupOut:
    return GroupOut(name=row["name"], device_count=row["device_count"], created_at=known_moment(row["created_at"]))
