"""What the device has to show who it is, on its disk: a folder of the data folder that is the agent's alone.

    key.pem         the device's key; made before anything is asked, and never sent anywhere
    next-key.pem    a key that is to take its place, until its certificate has come
    device.pem      key, certificate and the authorities between it and the root: what is shown to the broker
    ca.pem          the root of the authority that signed it: what is believed of the broker
    record.json     what is known of all that without reading certificates, and how the last attempt ended

`device.pem` is one file so that a new key and its certificate take the place of the former ones in one step: whatever
happens in between, the device has a certificate and the key of it. Each file is replaced as a whole.

Nothing here needs a library for certificates: the idle agent reads the record alone.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from wainwright_agent.synced import sync_folder, write_synced
from wainwright_common.errors import WainwrightError

FOLDER = "enrolment"
FOLDER_MODE = 0o700
FILE_MODE = 0o600


class CredentialsError(WainwrightError):
    """A file of the folder cannot be read or written."""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that the device has; `renew_at` is when it is to ask for the next one."""

    device_id: str
    serial: str
    key: str
    """SHA-256 of the public key (SubjectPublicKeyInfo), as hexadecimal digits."""
    begins_at: datetime
    ends_at: datetime
    renew_at: datetime


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """How the last attempt ended that brought no certificate; `code` is waiting, refused, or failed."""

    code: str
    text: str
    at: datetime
    key: str = ""
    reason: str = ""
    """Of a refusal: the controller's word for it."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What record.json has."""

    holding: Holding | None = None
    trouble: Trouble | None = None


class Credentials:
    """The files of one device's folder."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER
        self.key = self.folder / "key.pem"
        self.next_key = self.folder / "next-key.pem"
        self.device = self.folder / "device.pem"
        self.ca = self.folder / "ca.pem"
        self.record_file = self.folder / "record.json"

    def prepare(self) -> None:
        """Make the folder; raises CredentialsError."""
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
        except OSError as error:
            raise CredentialsError(f"Cannot make {self.folder}: {error.strerror}.") from error

    def record(self) -> Record:
        """Return the record; an empty one if there is none that can be read: then a certificate is asked for."""
        try:
            return msgspec.json.decode(self.record_file.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return Record()

    def holding(self, device_id: str) -> Holding | None:
        """Return the certificate of a device, if it is there."""
        holding = self.record().holding
        return holding if holding is not None and holding.device_id == device_id and self.device.exists() else None

    def write_record(self, record: Record) -> None:
        """Store the record; raises CredentialsError."""
        self.write(self.record_file, msgspec.json.encode(record))

    def write(self, file: Path, content: bytes) -> None:
        """Replace a file as a whole, on the medium when this returns; raises CredentialsError."""
        try:
            made = file.with_name(f".{file.name}.new")  # one writer at a time: enrol.py
            made.unlink(missing_ok=True)
            write_synced(made, content, FILE_MODE)
            made.replace(file)
            sync_folder(self.folder)
        except OSError as error:
            raise CredentialsError(f"Cannot write {file}: {error.strerror}.") from error

    def settle_key(self) -> None:
        """Make the next key the key, after `device.pem` has it; raises CredentialsError."""
        try:
            self.next_key.replace(self.key)
            sync_folder(self.folder)
        except OSError as error:
            raise CredentialsError(f"Cannot rename {self.next_key}: {error.strerror}.") from error
