"""Keys, certificates, tokens of enrolment and the authority, as the API takes and gives them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from wainwright_controller.api.models.base import IDS_MAX, Ids, Moment, Taken
from wainwright_controller.records import CertificateKind, KeyState

BUDGET_MAX = 1_000_000  # devices: beyond any fleet that one store holds
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
KeyStart = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{4,64}$"),
    Field(description="A key's digest, or the beginning of one, of 4 digits at least."),
]


class Reason(StrEnum):
    """Why a certificate is revoked, as its revocation list says."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key-compromise"
    SUPERSEDED = "superseded"


class KeyOut(BaseModel):
    """A public key that asks for a device's name, or was given it; `digest` is its SHA-256 (SubjectPublicKeyInfo)."""

    device: str
    digest: str
    state: KeyState
    asked_at: datetime | None = None
    last_asked_at: datetime | None = Field(None, description="Right to a minute.")
    address: str | None = Field(None, description="Where it asked from.")
    decided_at: datetime | None = None
    decided_by: str | None = Field(None, description="A user, `token ID`, `configuration`, or `device` in a renewal.")


class PreauthorizeIn(Taken):
    """Devices to accept before they are heard of; `keys` are digests of their keys, by device."""

    ids: Ids = Field(default_factory=list)
    keys: dict[str, Digest] = Field(default_factory=dict, max_length=IDS_MAX)


class KeyIn(Taken):
    """Which key."""

    key: KeyStart


class RevokeIn(Taken):
    """Which key of a device, or all; and why."""

    key: KeyStart | None = None
    reason: Reason = Reason.KEY_COMPROMISE


class RevokeCertificateIn(Taken):
    """Why."""

    reason: Reason = Reason.UNSPECIFIED


class Revoked(BaseModel):
    """The numbers of the certificates that were revoked."""

    serials: list[str]


class CertificateOut(BaseModel):
    """A certificate; `session_ended_at` is when whoever was connected with it had been disconnected."""

    serial: str
    kind: CertificateKind
    name: str
    key: str = Field(description="Digest of its key.")
    issuer: str = Field(description="Id of the issuing authority.")
    begins_at: datetime
    ends_at: datetime
    issued_at: datetime
    issued_by: str
    revoked_at: datetime | None = None
    reason: str | None = None
    session_ended_at: datetime | None = None
    pem: str


class EnrolmentTokenIn(Taken):
    """A token to be made: for so many devices, until then; with `device`, for that one alone."""

    expires_at: Moment
    budget: int = Field(1, ge=1, le=BUDGET_MAX)
    device: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    note: Annotated[str, StringConstraints(max_length=256)] = ""


class EnrolmentTokenOut(BaseModel):
    """A token of enrolment, without its secret; it begins with `wwe_ID_`. It was used `used` of `budget` times."""

    id: str
    budget: int
    used: int
    expires_at: datetime
    device: str | None = None
    note: str | None = None
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None


class EnrolmentTokenMade(EnrolmentTokenOut):
    """A token that was made just now, with its text."""

    token: str


class IssuerOut(BaseModel):
    """An issuing authority; `signs_now` says which one signs."""

    id: str
    subject: str
    fingerprint: str
    begins_at: datetime
    ends_at: datetime
    signs_now: bool
    certificates: int = Field(description="Of those that it signed, how many are valid.")
    pem: str


class AuthorityOut(BaseModel):
    """The controller's authority. `fingerprint` is the SHA-256 of the root's certificate, for devices to know it by."""

    subject: str
    fingerprint: str
    begins_at: datetime
    ends_at: datetime
    has_root_key: bool = Field(description="Whether the root's key is on the controller, or kept elsewhere.")
    issuers: list[IssuerOut]
    crl_written_at: datetime | None = None
    crl_ends_at: datetime | None = None
    revoked: int = Field(description="Certificates that were revoked and have not expired.")
    pem: str


class RequestOut(BaseModel):
    """A request for the next issuing authority, to be signed where the root's key is."""

    request: str


class RotateIn(Taken):
    """How: by the root's key on the controller, or by the `certificate` that answers a request."""

    certificate: Annotated[str, StringConstraints(max_length=16_384)] | None = None


class RetireIn(Taken):
    """Which former issuing authority is not to be trusted any more."""

    issuer: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
