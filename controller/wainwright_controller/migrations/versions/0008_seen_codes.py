"""What a resume has acknowledged of failures by error code is a number, as it is of all failures."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# What had failed by the resume, as it was told until now: by the clock.
_FAILED = sa.text(
    "SELECT error_code, count(*) FROM device_deployment WHERE deployment_id = :id AND status = 'failure'"
    " AND error_code IS NOT NULL AND finished_at <= :resumed_at GROUP BY error_code"
)
_REGRESSED = sa.text(
    "SELECT 'regressed', count(*) FROM device_deployment WHERE deployment_id = :id AND regressed_at <= :resumed_at"
)
_RESUMED = sa.text("SELECT id, resumed_at FROM deployment WHERE resumed_at IS NOT NULL AND limits != '[]'")
_SET = sa.text("UPDATE deployment SET seen_codes = :codes WHERE id = :id")


def upgrade() -> None:
    """Bring the tables of the revision before to this one."""
    op.add_column("deployment", sa.Column("seen_codes", sa.Text(), nullable=False, server_default="{}"))
    connection = op.get_bind()
    for deployment_id, resumed_at in connection.execute(_RESUMED).all():
        key = {"id": deployment_id, "resumed_at": resumed_at}
        counts = [*connection.execute(_FAILED, key), *connection.execute(_REGRESSED, key)]
        codes = {code: number for code, number in counts if number}
        connection.execute(_SET, {"id": deployment_id, "codes": json.dumps(codes, sort_keys=True)})


def downgrade() -> None:
    """Bring the tables back to the revision before."""
    op.drop_column("deployment", "seen_codes")  # no batch, which makes the table anew: its parts would go with the old
