"""The store's tables. Storage only: rules read records.py, and the wire has messages.py.

Times are seconds since the epoch (UTC). Values with a shape of their own (lists, maps) are JSON text. Every status
change writes `device_deployment`, `tally` and `event` in one transaction: ledger.py is the only writer of those three.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

_BIG = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only for its own INTEGER
_BY_CODE_POINT = Text().with_variant(Text(collation="C"), "postgresql")  # as SQLite and Python order texts


class DeviceTable(SQLModel, table=True):
    """One row a device, as last heard of."""

    __tablename__ = "device"
    __table_args__ = (Index("device_running", "artifact_name", "state"),)  # how many run a release: this index alone
    id: str = Field(primary_key=True, max_length=128)
    state: str = Field(index=True, max_length=16)
    created_at: float
    last_seen_at: float
    online: bool
    online_since: float | None = None
    device_type: str = Field(max_length=256)
    artifact_name: str = Field(max_length=256)
    provides: str = Field(sa_type=Text)
    boot_id: str = Field(max_length=64)
    agent_version: str = Field(max_length=64)
    inventory_digest: str = Field(max_length=64)
    attributes: str = Field(sa_type=Text)
    last_check_in_at: float | None = None
    last_why: str = Field(default="", max_length=32)


class GroupTable(SQLModel, table=True):
    """A group: a dynamic one has a filter, of which this is the canonical text."""

    __tablename__ = "device_group"
    name: str = Field(primary_key=True, max_length=128)
    created_at: float
    filter: str | None = Field(default=None, sa_type=Text)


class GroupMemberTable(SQLModel, table=True):
    """A device's static group: at most one, which the key says."""

    __tablename__ = "group_member"
    device_id: str = Field(primary_key=True, max_length=128)
    group_name: str = Field(index=True, foreign_key="device_group.name", max_length=128)


class TagTable(SQLModel, table=True):
    """A tag of a device."""

    __tablename__ = "tag"
    device_id: str = Field(primary_key=True, foreign_key="device.id", ondelete="CASCADE", max_length=128)
    name: str = Field(primary_key=True, max_length=64)
    value: str = Field(max_length=255)


class AttributeTable(SQLModel, table=True):
    """What filters see: one row for each element of each attribute, by its full name; follows from other tables.

    A text has at most 256 characters, so that a row of an index stays below PostgreSQL's limit of 2,704 bytes.
    """

    __tablename__ = "attribute"
    __table_args__ = (
        Index("attribute_text", "name", "text"),
        Index("attribute_number", "name", "number"),
        {"sqlite_with_rowid": False},  # every index then has the device's id
    )
    device_id: str = Field(primary_key=True, foreign_key="device.id", ondelete="CASCADE", max_length=128)
    name: str = Field(sa_column=Column(_BY_CODE_POINT, primary_key=True))
    text: str = Field(sa_column=Column(_BY_CODE_POINT, primary_key=True))
    number: float | None = None


class ArtifactTable(SQLModel, table=True):
    """One stored file. `depends_key` is the canonical text of `depends`: (name, depends) is unique."""

    __tablename__ = "artifact"
    __table_args__ = (Index("artifact_name_depends", "name", "depends_key", unique=True),)
    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(index=True, max_length=256)
    size: int = Field(sa_type=BigInteger)
    sha256: str = Field(max_length=64)
    payload_type: str = Field(max_length=256)
    depends: str = Field(sa_type=Text)
    depends_key: str = Field(max_length=64)
    provides: str = Field(sa_type=Text)
    signed: bool
    created_at: float
    description: str = Field(default="", max_length=1024)


class DeploymentTable(SQLModel, table=True):
    """A deployment. `sequence` is the order in which deployments were made."""

    __tablename__ = "deployment"
    sequence: int | None = Field(default=None, sa_column=Column(_BIG, primary_key=True, autoincrement=True))
    id: str = Field(unique=True, index=True, max_length=64)
    name: str = Field(max_length=256)
    artifact_name: str = Field(index=True, max_length=256)
    target: str = Field(sa_type=Text)
    strategy: str = Field(max_length=16)
    retries: int
    in_progress_timeout_s: float
    force: bool
    device_count: int
    created_at: float
    created_by: str = Field(max_length=128)
    kind: str = Field(max_length=16)
    filter: str | None = Field(default=None, sa_type=Text)
    max_devices: int | None = None
    closed_at: float | None = None
    limits: str = Field(sa_type=Text)
    pace: str = Field(sa_type=Text)
    time_limits: str = Field(sa_type=Text)
    policy: str = Field(sa_type=Text)
    status: str = Field(index=True, max_length=16)
    hold: str | None = Field(default=None, max_length=32)
    hold_reason: str = Field(max_length=1000)
    outcome: str | None = Field(default=None, max_length=16)
    started_at: float | None = None
    finished_at: float | None = None
    approved_by: str | None = Field(default=None, max_length=128)
    tokens: float
    tokens_at: float
    offers: int
    regressed: int
    resumed_at: float | None = None
    seen_failures: int
    seen_tried: int
    seen_codes: str = Field(sa_type=Text)
    rolls_back: str | None = Field(default=None, index=True, max_length=64)
    rollback_id: str | None = Field(default=None, max_length=64)
    rollback_ended_at: float | None = None
    retry_of: str | None = Field(default=None, max_length=64)


class PhaseTable(SQLModel, table=True):
    """A phase of a deployment."""

    __tablename__ = "phase"
    deployment_id: str = Field(primary_key=True, foreign_key="deployment.id", ondelete="CASCADE", max_length=64)
    number: int = Field(primary_key=True)
    size: int
    capacity: int | None = None
    opens: str = Field(max_length=16)
    opens_at: float | None = None
    delay_s: float
    soak_s: float
    opened_at: float | None = None
    done_at: float | None = None
    ailment: str = Field(default="", max_length=128)


class DeviceDeploymentTable(SQLModel, table=True):
    """One device's part in one deployment."""

    __tablename__ = "device_deployment"
    __table_args__ = (
        # The selection's question, "the oldest unfinished part of this device", reads this index alone.
        Index(
            "device_deployment_open",
            "device_id",
            "sequence",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        # What the clock brings: time limits that pass and retries whose time has come.
        Index("device_deployment_deadline", "deadline_at", sqlite_where=text("deadline_at IS NOT NULL")),
        Index("device_deployment_retry", "next_attempt_at", sqlite_where=text("next_attempt_at IS NOT NULL")),
        Index("device_deployment_phase", "deployment_id", "phase", "status"),
        # A device's history, and where it succeeded before it fell back.
        Index("device_deployment_device", "device_id", "sequence"),
        # Those of one deployment that wait for another attempt, among a hundred thousand that do not.
        Index(
            "device_deployment_waiting",
            "deployment_id",
            sqlite_where=text("next_attempt_at IS NOT NULL"),
            postgresql_where=text("next_attempt_at IS NOT NULL"),
        ),
        # The curve of a deployment over time reads this index alone.
        Index(
            "device_deployment_finished",
            "deployment_id",
            "finished_at",
            "status",
            sqlite_where=text("finished_at IS NOT NULL"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        # How many devices are under way, for a limit on them.
        Index(
            "device_deployment_under_way",
            "deployment_id",
            sqlite_where=text("offered AND finished_at IS NULL"),
            postgresql_where=text("offered AND finished_at IS NULL"),
        ),
    )
    deployment_id: str = Field(primary_key=True, foreign_key="deployment.id", ondelete="CASCADE", max_length=64)
    device_id: str = Field(primary_key=True, max_length=128)
    sequence: int = Field(sa_type=BigInteger)
    phase: int
    status: str = Field(max_length=20)
    attempt: int
    offered: bool
    last_seq: int = Field(sa_type=BigInteger)
    seen: int = Field(sa_type=BigInteger)
    artifact_id: str | None = Field(default=None, max_length=64)
    former_name: str | None = Field(default=None, max_length=256)
    restore_name: str | None = Field(default=None, max_length=256)
    substate: str = Field(max_length=200)
    progress_done: int | None = Field(default=None, sa_type=BigInteger)
    progress_total: int | None = Field(default=None, sa_type=BigInteger)
    error_code: str | None = Field(default=None, max_length=64)
    error_text: str | None = Field(default=None, max_length=2000)
    inconsistent: bool
    created_at: float
    started_at: float | None = None
    offered_at: float | None = None
    status_at: float | None = None
    updated_at: float
    finished_at: float | None = None
    next_attempt_at: float | None = None
    deadline_at: float | None = None
    regressed_at: float | None = None


class TallyTable(SQLModel, table=True):
    """How many device deployments stand where; changed in the transaction that changes them."""

    __tablename__ = "tally"
    deployment_id: str = Field(primary_key=True, foreign_key="deployment.id", ondelete="CASCADE", max_length=64)
    phase: int = Field(primary_key=True)
    status: str = Field(primary_key=True, max_length=20)
    n: int


class EventTable(SQLModel, table=True):
    """A line of a timeline; `id` is the order, and what a live listener resumes from."""

    __tablename__ = "event"
    __table_args__ = (
        Index("event_of_deployment", "deployment_id", "id"),
        Index("event_of_device", "device_id", "id"),
    )
    id: int | None = Field(default=None, sa_column=Column(_BIG, primary_key=True, autoincrement=True))
    at: float
    kind: str = Field(max_length=32)
    text: str = Field(sa_type=Text)
    actor: str = Field(max_length=128)
    deployment_id: str | None = Field(default=None, max_length=64)
    device_id: str | None = Field(default=None, max_length=128)


class LogLineTable(SQLModel, table=True):
    """One line of what a device logged in one attempt."""

    __tablename__ = "log_line"
    deployment_id: str = Field(primary_key=True, max_length=64)
    device_id: str = Field(primary_key=True, max_length=128)
    attempt: int = Field(primary_key=True)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    at: float
    level: str = Field(max_length=16)
    text: str = Field(sa_type=Text)


class SettingTable(SQLModel, table=True):
    """What the controller itself must remember, such as the key that signs links."""

    __tablename__ = "setting"
    key: str = Field(primary_key=True, max_length=64)
    value: str = Field(sa_type=Text)


class UserTable(SQLModel, table=True):
    """A person. Rows stay for good: a name in the audit log means one person."""

    __tablename__ = "person"  # "user" is a reserved word of PostgreSQL
    name: str = Field(primary_key=True, max_length=64)
    role: str = Field(max_length=16)
    created_at: float
    created_by: str = Field(max_length=128)
    revoked_at: float | None = None


class TokenTable(SQLModel, table=True):
    """A token; `digest` is all that is kept of its secret, `last_used_at` is right to some minutes."""

    __tablename__ = "token"
    id: str = Field(primary_key=True, max_length=16)
    user: str = Field(index=True, foreign_key="person.name", max_length=64)
    digest: str = Field(max_length=64)
    note: str = Field(default="", max_length=256)
    created_at: float
    created_by: str = Field(max_length=128)
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None


class EndedSessionTable(SQLModel, table=True):
    """A session whose owner signed out before it ended by itself, at `expires`; its id is its signature."""

    __tablename__ = "ended_session"
    id: str = Field(primary_key=True, max_length=64)
    expires: float


class AuditTable(SQLModel, table=True):
    """An entry of the audit log, chained to the one before: audit.py is its only writer, and nobody changes a row."""

    __tablename__ = "audit"
    number: int = Field(sa_column=Column(_BIG, primary_key=True, autoincrement=False))
    at: float = Field(index=True)
    actor: str = Field(index=True, max_length=128)
    role: str = Field(max_length=16)
    address: str = Field(max_length=64)
    action: str = Field(max_length=64)
    object: str = Field(sa_type=Text)
    before: str = Field(sa_type=Text)
    after: str = Field(sa_type=Text)
    verdict: str = Field(max_length=8)
    code: str = Field(max_length=64)
    hash: str = Field(max_length=64)


class DeviceKeyTable(SQLModel, table=True):
    """A public key of a device; rows stay when their device goes, so that a revoked key is refused for good."""

    __tablename__ = "device_key"
    __table_args__ = (
        # At most one accepted key for a device, and one device for an accepted key, whoever writes.
        Index(
            "device_key_of_device",
            "device_id",
            unique=True,
            sqlite_where=text("state = 'accepted'"),
            postgresql_where=text("state = 'accepted'"),
        ),
        Index(
            "device_key_accepted",
            "digest",
            unique=True,
            sqlite_where=text("state = 'accepted'"),
            postgresql_where=text("state = 'accepted'"),
        ),
    )
    device_id: str = Field(primary_key=True, max_length=128)
    digest: str = Field(primary_key=True, index=True, max_length=64)
    state: str = Field(index=True, max_length=16)
    asked_at: float | None = None
    last_asked_at: float | None = None
    address: str = Field(max_length=64)
    decided_at: float | None = None
    decided_by: str = Field(max_length=128)


class CertificateTable(SQLModel, table=True):
    """A certificate that was issued; removed some time after it has expired, if nothing needs it (`forget_old`)."""

    __tablename__ = "certificate"
    __table_args__ = (
        Index("certificate_of", "name", "issued_at"),
        Index(
            "certificate_revoked",
            "ends_at",
            sqlite_where=text("revoked_at IS NOT NULL"),
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
    )
    serial: str = Field(primary_key=True, max_length=40)
    kind: str = Field(max_length=16)
    name: str = Field(max_length=128)
    key_digest: str = Field(max_length=64)
    issuer: str = Field(max_length=16)
    begins_at: float
    ends_at: float = Field(index=True)
    issued_at: float
    issued_by: str = Field(max_length=128)
    pem: str = Field(sa_type=Text)
    revoked_at: float | None = None
    reason: str = Field(max_length=32)
    session_ended_at: float | None = None


class EnrolmentTokenTable(SQLModel, table=True):
    """A token of enrolment; `digest` is all that is kept of its secret."""

    __tablename__ = "enrolment_token"
    id: str = Field(primary_key=True, max_length=16)
    digest: str = Field(max_length=64)
    budget: int
    used: int
    expires_at: float
    device_id: str | None = Field(default=None, max_length=128)
    note: str = Field(max_length=256)
    created_at: float
    created_by: str = Field(max_length=128)
    revoked_at: float | None = None
