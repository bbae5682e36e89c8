"""Where artifacts' bytes are: one folder, one file for each artifact, named by its id.

An artifact is examined while it is stored, and is complete, whole and on the disk before its row is written:

1. The bytes go to `ID.part`, locked by its writer, while the reader checks every rule and digest.
2. The file is synced, the caller writes the row, and only then the file becomes `ID.mender`.
3. Whatever goes wrong before the row is written removes the file; a crash leaves `ID.part`, which the next start
   completes when the row is there, and removes when it is not.

So no row is without its bytes, and nothing refused is left behind. This does not write rows, and does not know HTTP.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wainwright_common.artifact import ArtifactReader, Header, ReadableBytes, VerifyKey
from wainwright_common.errors import WainwrightError
from wainwright_controller.config import Artifacts
from wainwright_controller.records import Artifact

CHECK_EVERY_BYTES = 16 * 2**20  # of each upload: so far at most do those of one moment go beyond a limit of the store
BUFFER_BYTES = 2**20
DEFAULTS = Artifacts()
_PART, _WHOLE = ".part", ".mender"


class ArtifactTooLarge(WainwrightError):  # noqa: N818  the name is the sentence: "refused: artifact too large"
    """An artifact has more bytes than this controller takes."""


class StorageFull(WainwrightError):  # noqa: N818  as above
    """There is too little room for an artifact: on the disk, or in what all of them may have."""


class Received(NamedTuple):
    """An artifact that was stored, and the label of the key that verified it; None where no keys are asked for."""

    artifact: Artifact
    verified_by: str | None


class ArtifactStore:
    """A folder of artifacts; safe to share between threads, and between controllers on one machine.

    With `verify_keys` it takes only what one of them signed.
    """

    def __init__(
        self,
        folder: Path,
        limits: Artifacts = DEFAULTS,
        clock: Callable[[], float] = time.time,
        *,
        verify_keys: Sequence[VerifyKey] = (),
    ) -> None:
        self.folder = folder
        self.limits = limits
        self._clock = clock
        self._verify_keys = verify_keys

    @property
    def used_bytes(self) -> int:
        """How much all artifacts have together, those that are just arriving included; of every controller here."""
        with os.scandir(self.folder) as entries:
            return sum(_size(entry) for entry in entries)

    def prepare(self, is_known: Callable[[str], bool]) -> list[str]:
        """Make the folder, and complete or remove what a crash left; returns the names of the files removed.

        `is_known` says whether the artifact of an id has a row. A file that somebody still writes is left alone.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        removed = []
        for part in sorted(self.folder.glob(f"*{_PART}")):
            with part.open("r+b") as file:  # NFS locks only what is open for writing
                if not _lock(file):
                    continue
                if is_known(part.stem):
                    part.replace(part.with_suffix(_WHOLE))
                else:
                    part.unlink()
                    removed.append(part.name)
        for whole in sorted(self.folder.glob(f"*{_WHOLE}")):
            if not is_known(whole.stem):  # its row was deleted, and the file was about to be
                whole.unlink()
                removed.append(whole.name)
        _sync_folder(self.folder)
        return removed

    def path(self, artifact_id: str) -> Path:
        """Return where an artifact's file is, which for a moment after its row was written is still its writer's."""
        whole, part = self.folder / f"{artifact_id}{_WHOLE}", self.folder / f"{artifact_id}{_PART}"
        return part if part.exists() and not whole.exists() else whole

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact's file; downloads that have begun go on. Its row must be gone already."""
        self.path(artifact_id).unlink(missing_ok=True)

    @contextmanager
    def receive(
        self, stream: ReadableBytes, *, description: str = "", expected_bytes: int | None = None
    ) -> Iterator[Received]:
        """Store what `stream` gives, and yield its record; the caller writes the row within the `with`.

        An exception within it, like any that is raised here, leaves nothing behind. Raises ArtifactError by the rules
        of docs/artifacts.md, ArtifactTooLarge and StorageFull; errors of the stream pass through.
        """
        self._check_room(0, expected_bytes or 0)
        artifact_id = str(uuid.uuid4())
        part = self.folder / f"{artifact_id}{_PART}"
        try:
            with part.open("xb", buffering=BUFFER_BYTES) as file:
                _lock(file)
                intake = _Intake(stream, file, self.limits.max_bytes, self._check_room)
                with _disk_full_is_said():
                    header = _examine(intake, self._verify_keys)
                    file.flush()
                    self._check_room(intake.size, 0)  # it is in the folder now, all of it
                    os.fsync(file.fileno())
                record = _record(artifact_id, header, intake, self._clock(), description)
                yield Received(record, header.verified_by)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(part.with_suffix(_WHOLE))
        _sync_folder(self.folder)

    def _check_room(self, stored: int, more: int) -> None:
        """Raise what keeps an artifact, of which `stored` bytes are here, from getting `more`."""
        limits = self.limits
        if stored + more > limits.max_bytes:
            raise ArtifactTooLarge(
                f"The artifact is larger than {limits.max_bytes} bytes, which is what this controller takes:"
                " make it smaller, or raise artifacts.max_bytes."
            )
        free = shutil.disk_usage(self.folder).free
        if free - more < limits.keep_free_bytes:
            raise StorageFull(
                f"The disk of {self.folder} has {free} bytes free, too few for the artifact:"
                " delete releases that nobody needs, or give it a larger disk."
            )
        used = self.used_bytes
        if used + more > limits.total_max_bytes:
            raise StorageFull(
                f"The stored artifacts have {used} of the {limits.total_max_bytes} bytes that they may have, and there"
                " is no room for this one: delete releases that nobody needs, or raise artifacts.total_max_bytes."
            )


class _Intake:
    """Hands bytes from a stream to the reader, and on their way stores, hashes and counts them."""

    def __init__(
        self, stream: ReadableBytes, file: BinaryIO, max_bytes: int, check_room: Callable[[int, int], None]
    ) -> None:
        self._stream = stream
        self._file = file
        self._max_bytes = max_bytes
        self._check_room = check_room
        self._next_check = 0
        self._sha256 = hashlib.sha256()
        self.size = 0

    def read(self, n: int, /) -> bytes:
        data = self._stream.read(n)
        if self.size + len(data) >= self._next_check:
            self._check_room(self.size, len(data))
            self._next_check = min(self.size + CHECK_EVERY_BYTES, self._max_bytes + 1)
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()


def _examine(intake: _Intake, verify_keys: Sequence[VerifyKey]) -> Header:
    """Read an artifact to its end, so that every rule is checked, and return its header."""
    reader = ArtifactReader(intake, verify_keys=verify_keys)
    for file in reader.files():
        while file.read(BUFFER_BYTES):
            pass
    return reader.header


def _record(artifact_id: str, header: Header, intake: _Intake, now: float, description: str) -> Artifact:
    return Artifact(
        id=artifact_id,
        name=header.name,
        size=intake.size,
        sha256=intake.digest,
        payload_type=header.payload_type or "",
        depends=header.all_depends(),
        provides=dict(header.provides),
        signed=header.signed,
        created_at=now,
        description=description,
    )


@contextmanager
def _disk_full_is_said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageFull(
            "The disk became full while the artifact was stored: delete releases, or enlarge it."
        ) from error


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # it was deleted meanwhile
        return 0


def _lock(file: BinaryIO) -> bool:
    """Take a file's lock, which lasts until it is closed; says whether it was free."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
