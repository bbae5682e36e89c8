"""Dynamic deployments, limits, pace, time limits, policies, rollbacks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXTS = {"limits": "[]", "pace": "{}", "time_limits": "{}", "policy": "{}"}


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    with op.batch_alter_table("deployment") as table:
        table.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="static"))
        table.add_column(sa.Column("filter", sa.Text(), nullable=True))
        table.add_column(sa.Column("max_devices", sa.Integer(), nullable=True))
        table.add_column(sa.Column("closed_at", sa.Float(), nullable=True))
        for name, value in _TEXTS.items():
            table.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=value))
        table.add_column(sa.Column("hold_reason", sa.String(length=1000), nullable=False, server_default=""))
        table.add_column(sa.Column("approved_by", sa.String(length=128), nullable=True))
        table.add_column(sa.Column("tokens", sa.Float(), nullable=False, server_default="1"))
        for name in ("tokens_at", "offers", "regressed", "seen_failures", "seen_tried"):
            kind = sa.Float() if name == "tokens_at" else sa.Integer()
            table.add_column(sa.Column(name, kind, nullable=False, server_default="0"))
        for name in ("resumed_at", "rollback_ended_at"):
            table.add_column(sa.Column(name, sa.Float(), nullable=True))
        for name in ("rolls_back", "rollback_id", "retry_of"):
            table.add_column(sa.Column(name, sa.String(length=64), nullable=True))
        table.create_index(table.f("ix_deployment_rolls_back"), ["rolls_back"], unique=False)
    with op.batch_alter_table("phase") as table:
        table.add_column(sa.Column("capacity", sa.Integer(), nullable=True))
        table.add_column(sa.Column("ailment", sa.String(length=128), nullable=False, server_default=""))
    with op.batch_alter_table("device_deployment") as table:
        table.add_column(sa.Column("restore_name", sa.String(length=256), nullable=True))
        for name in ("offered_at", "status_at", "regressed_at"):
            table.add_column(sa.Column(name, sa.Float(), nullable=True))
        table.create_index("device_deployment_device", ["device_id", "sequence"], unique=False)
    under_way = sa.text("offered AND finished_at IS NULL")
    op.create_index(
        "device_deployment_under_way",
        "device_deployment",
        ["deployment_id"],
        sqlite_where=under_way,
        postgresql_where=under_way,
    )


def downgrade() -> None:
    """Bring the tables back to the revision before; dynamic deployments and rollbacks become plain ones."""
    op.drop_index("device_deployment_under_way", "device_deployment")
    with op.batch_alter_table("device_deployment") as table:
        table.drop_index("device_deployment_device")
        for name in ("restore_name", "offered_at", "status_at", "regressed_at"):
            table.drop_column(name)
    with op.batch_alter_table("phase") as table:
        table.drop_column("capacity")
        table.drop_column("ailment")
    with op.batch_alter_table("deployment") as table:
        table.drop_index(table.f("ix_deployment_rolls_back"))
        for name in (
            *("kind", "filter", "max_devices", "closed_at", *_TEXTS, "hold_reason", "approved_by", "tokens"),
            *("tokens_at", "offers", "regressed", "seen_failures", "seen_tried", "resumed_at", "rollback_ended_at"),
            *("rolls_back", "rollback_id", "retry_of"),
        ):
            table.drop_column(name)
