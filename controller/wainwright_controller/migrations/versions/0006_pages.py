"""Indexes by which pages stay quick: when devices finished, which wait to try again, how many run a release."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WAITING = sa.text("next_attempt_at IS NOT NULL")
_FINISHED = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    """Bring the tables of the revision before to this one."""
    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_device_artifact_name"))
        batch_op.create_index("device_running", ["artifact_name", "state"], unique=False)
    with op.batch_alter_table("device_deployment", schema=None) as batch_op:
        batch_op.create_index(
            "device_deployment_waiting",
            ["deployment_id"],
            unique=False,
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        )
        batch_op.create_index(
            "device_deployment_finished",
            ["deployment_id", "finished_at", "status"],
            unique=False,
            sqlite_where=_FINISHED,
            postgresql_where=_FINISHED,
        )


def downgrade() -> None:
    """Bring the tables back to the revision before."""
    with op.batch_alter_table("device_deployment", schema=None) as batch_op:
        batch_op.drop_index("device_deployment_finished")
        batch_op.drop_index("device_deployment_waiting")
    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.drop_index("device_running")
        batch_op.create_index(batch_op.f("ix_device_artifact_name"), ["artifact_name"], unique=False)
