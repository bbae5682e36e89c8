"""Enrolment: the keys of devices, certificates, tokens of enrolment."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ACCEPTED = sa.text("state = 'accepted'")
_REVOKED = sa.text("revoked_at IS NOT NULL")


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "device_key",
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=True),
        sa.Column("last_asked_at", sa.Float(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "digest"),
    )
    with op.batch_alter_table("device_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_device_key_digest"), ["digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_device_key_state"), ["state"], unique=False)
        for name, column in (("device_key_of_device", "device_id"), ("device_key_accepted", "digest")):
            batch_op.create_index(name, [column], unique=True, sqlite_where=_ACCEPTED, postgresql_where=_ACCEPTED)

    op.create_table(
        "certificate",
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("key_digest", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=16), nullable=False),
        sa.Column("begins_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("issued_at", sa.Float(), nullable=False),
        sa.Column("issued_by", sa.String(length=128), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("session_ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("serial"),
    )
    with op.batch_alter_table("certificate", schema=None) as batch_op:
        batch_op.create_index("certificate_of", ["name", "issued_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_certificate_ends_at"), ["ends_at"], unique=False)
        batch_op.create_index(
            "certificate_revoked", ["ends_at"], unique=False, sqlite_where=_REVOKED, postgresql_where=_REVOKED
        )

    op.create_table(
        "enrolment_token",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("device_id", sa.String(length=128), nullable=True),
        sa.Column("note", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Bring the tables back to the revision before."""
    op.drop_table("enrolment_token")
    op.drop_table("certificate")
    op.drop_table("device_key")
