"""Attributes for filters, tags, and groups by filters."""

import sqlalchemy as sa
from alembic import op
from msgspec import json

from wainwright_controller.rules.filters.attributes import rows

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROWS_AT_ONCE = 5_000  # written in one statement: the attributes of some 200 devices


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "tag",
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "name"),
    )
    attribute = op.create_table(
        "attribute",
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("name", by_code_point, nullable=False),
        sa.Column("text", by_code_point, nullable=False),
        sa.Column("number", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "name", "text"),
        sqlite_with_rowid=False,
    )
    op.add_column("device_group", sa.Column("filter", sa.Text(), nullable=True))
    fill(op.get_bind(), attribute)
    op.create_index("attribute_text", "attribute", ["name", "text"])
    op.create_index("attribute_number", "attribute", ["name", "number"])


def fill(connection: sa.Connection, attribute: sa.Table) -> None:
    """Write the attributes of the devices that are there, as they are written from now on when they change."""
    columns = ("id", "device_type", "artifact_name", "agent_version", "provides", "attributes")
    device = sa.table("device", *map(sa.column, columns))
    waiting = []
    for row in connection.execute(sa.select(*device.c)).mappings().all():
        known = {name: row[name] for name in columns[1:4] if row[name]}
        known |= {f"provides.{key}": value for key, value in json.decode(row["provides"] or "{}").items()}
        known |= {f"inventory.{key}": value for key, value in json.decode(row["attributes"] or "{}").items()}
        waiting += [dict(zip(attribute.c.keys(), (row["id"], *one), strict=True)) for one in rows(known)]
        if len(waiting) >= ROWS_AT_ONCE:
            connection.execute(attribute.insert(), waiting)
            waiting = []
    if waiting:
        connection.execute(attribute.insert(), waiting)


def downgrade() -> None:
    """Bring the tables back to the revision before."""
    op.execute("DELETE FROM device_group WHERE filter IS NOT NULL")
    op.drop_column("device_group", "filter")
    op.drop_table("attribute")
    op.drop_table("tag")
