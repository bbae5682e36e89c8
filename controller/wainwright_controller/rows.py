"""Between records and rows: the same names on both sides, JSON text where a value has a shape of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Table, Update, select

from wainwright_controller import tables
from wainwright_controller.records import Artifact, DeviceDeployment, Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")

IN_MAX = 500  # values in one IN (...): SQLite takes 32,766 parameters, but a text that long is slow to prepare


def _table(model: Any) -> Table:  # noqa: ANN401  SQLModel gives `__table__` no type
    table: Table = model.__table__
    return table


DEVICE = _table(tables.DeviceTable)
GROUP = _table(tables.GroupTable)
MEMBER = _table(tables.GroupMemberTable)
TAG = _table(tables.TagTable)
ATTRIBUTE = _table(tables.AttributeTable)
ARTIFACT = _table(tables.ArtifactTable)
DEPLOYMENT = _table(tables.DeploymentTable)
PHASE = _table(tables.PhaseTable)
PART = _table(tables.DeviceDeploymentTable)
TALLY = _table(tables.TallyTable)
EVENT = _table(tables.EventTable)
LOG_LINE = _table(tables.LogLineTable)
SETTING = _table(tables.SettingTable)
ENDED_SESSION = _table(tables.EndedSessionTable)
USER = _table(tables.UserTable)
TOKEN = _table(tables.TokenTable)
AUDIT = _table(tables.AuditTable)
KEY = _table(tables.DeviceKeyTable)
CERTIFICATE = _table(tables.CertificateTable)
ENROLMENT_TOKEN = _table(tables.EnrolmentTokenTable)

_JSON = ("provides", "depends", "limits", "pace", "time_limits", "policy", "seen_codes")
_PART_NAMES = DeviceDeployment.__struct_fields__
_SELECT_PARTS = select(*(PART.c[name] for name in _PART_NAMES)).order_by(PART.c.sequence)


def from_row(record: type[R], row: RowMapping) -> R:
    """Return the record of a row; columns that the record does not have are left out."""
    values: dict[str, Any] = {str(key): value for key, value in row.items()}
    for name in _JSON:
        if name in values:
            values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, record)


def all_parts(connection: Connection, *where: ColumnElement[bool]) -> Iterator[DeviceDeployment]:
    """Yield the device deployments that meet `where`, oldest deployment first.

    As `from_row` would, at half its cost: nothing else is read as often.
    """
    for row in connection.execute(_SELECT_PARTS.where(*where)):
        yield msgspec.convert(dict(zip(_PART_NAMES, row, strict=True)), DeviceDeployment)


class Bulk:
    """A statement that is run for many records at once, with one parameter for each name, in the statement's order.

    SQLAlchemy compiles it, once for each dialect; the driver is given tuples made by `attrgetter`. With `all_parts`
    this took what a progress report costs from 57 to 38 microseconds, measured without a broker on two cores.
    """

    def __init__(self, statement: Update, renamed: Mapping[str, str]) -> None:
        self._statement = statement
        self._renamed = renamed
        self._compiled: dict[str, tuple[str, attrgetter[Any]]] = {}

    def run(self, connection: Connection, records: Sequence[Record]) -> None:
        """Run the statement for every record."""
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            style = "qmark" if dialect.name == "sqlite" else "format"
            make_dialect: Any = type(dialect)
            compiled: Any = self._statement.compile(dialect=make_dialect(paramstyle=style))
            names = [self._renamed.get(name, name) for name in compiled.positiontup]
            self._compiled[dialect.name] = (str(compiled), attrgetter(*names))
        sql, values = self._compiled[dialect.name]
        connection.exec_driver_sql(sql, [values(record) for record in records])


def to_row(record: Record) -> dict[str, Any]:
    """Return the row of a record."""
    values = msgspec.structs.asdict(record)
    for name in _JSON:
        if name in values:
            values[name] = msgspec.json.encode(values[name], order="sorted").decode()
    if isinstance(record, Artifact):
        values["depends_key"] = depends_key(record)
    return values


def depends_key(artifact: Artifact) -> str:
    """Return a digest of an artifact's depends that does not depend on any order: (name, depends) is unique."""
    canonical = {key: sorted(values) for key, values in artifact.depends.items()}
    return hashlib.sha256(msgspec.json.encode(canonical, order="sorted")).hexdigest()


def in_chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield `values` in pieces of at most IN_MAX."""
    for start in range(0, len(values), IN_MAX):
        yield values[start : start + IN_MAX]
