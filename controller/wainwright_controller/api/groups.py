"""/api/v1/groups: devices with a name, by a list (static) or by a filter (dynamic)."""

from __future__ import annotations

from http import HTTPStatus

from sqlalchemy import Connection, RowMapping, func, select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import Changed, FilterIn, GroupIn, GroupKind, GroupOut, IdsIn, Page, known_moment
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, Search, cut, key_of
from wainwright_controller.api.problems import BadRequest
from wainwright_controller.attribute_store import members_of
from wainwright_controller.operations import NotFound
from wainwright_controller.rows import DEVICE, GROUP
from wainwright_controller.rules.filters import parse

router = routing.router("groups", "/groups")


@router.get("")
def list_groups(context: InContext, q: Search = None, limit: Limit = LIMIT, cursor: Cursor = None) -> Page[GroupOut]:
    """List groups by name; `GET /devices?group=` lists the members of one."""
    with context.store.read() as connection:
        return listed(connection, q, limit, cursor)


def listed(connection: Connection, q: str | None, limit: int, cursor: str | None) -> Page[GroupOut]:
    """Return a piece of the list of groups."""
    query = select(GROUP).order_by(GROUP.c.name).limit(limit + 1)
    if q:
        query = query.where(GROUP.c.name.icontains(q, autoescape=True))
    if cursor is not None:
        query = query.where(GROUP.c.name > key_of(cursor, tuple[str])[0])
    rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["name"],))
    return Page(items=[_group_out(connection, row) for row in rows], next=following)


@router.post("", status_code=HTTPStatus.CREATED, max_body_size=routing.FLEET_BODY)
def create_group(body: GroupIn, context: InContext, actor: InActor) -> GroupOut:
    """Make a group: of devices, of which one that is in another static group moves over, or by a filter."""
    if body.where is not None and body.ids:
        raise BadRequest("A group is a list or a filter: give `ids` or `where`.")
    where = parse(body.where) if body.where is not None else None
    context.operations.create_group(body.name, body.ids, actor.name, where)
    return _read(context, body.name)


@router.get("/{name}")
def show_group(name: str, context: InContext) -> GroupOut:
    """Show a group."""
    return _read(context, name)


@router.put("/{name}/filter")
def change_group(name: str, body: FilterIn, context: InContext, actor: InActor) -> GroupOut:
    """Give a dynamic group another filter; what follows from it follows at the devices' next check-ins."""
    context.operations.change_group(name, parse(body.where), actor.name)
    return _read(context, name)


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def delete_group(name: str, context: InContext, actor: InActor) -> None:
    """Delete a group; its devices stay, and running deployments keep them."""
    context.operations.delete_group(name, actor.name)


@router.post("/{name}/add", max_body_size=routing.FLEET_BODY)
def add_to_group(name: str, body: IdsIn, context: InContext, actor: InActor) -> Changed:
    """Add devices to a static group; one that is in another group moves over."""
    context.operations.add_to_group(name, body.ids, actor.name)
    return Changed(changed=body.ids)


@router.post("/{name}/remove", max_body_size=routing.FLEET_BODY)
def remove_from_group(name: str, body: IdsIn, context: InContext, actor: InActor) -> Changed:
    """Take devices out of a static group; running deployments keep them."""
    context.operations.remove_from_group(name, body.ids, actor.name)
    return Changed(changed=body.ids)


def _read(context: Context, name: str) -> GroupOut:
    with context.store.read() as connection:
        return shown(connection, name)


def shown(connection: Connection, name: str) -> GroupOut:
    """Return the view of a group; raises NotFound."""
    row = connection.execute(select(GROUP).where(GROUP.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"No such group: {name}. `wainwright group list` shows all.")
    return _group_out(connection, row)


def _group_out(connection: Connection, row: RowMapping) -> GroupOut:
    members = select(func.count()).select_from(DEVICE).where(members_of(connection, row["name"]))
    return GroupOut(
        name=row["name"],
        kind=GroupKind.STATIC if row["filter"] is None else GroupKind.DYNAMIC,
        where=row["filter"],
        device_count=connection.execute(members).scalar_one(),
        created_at=known_moment(row["created_at"]),
    )
