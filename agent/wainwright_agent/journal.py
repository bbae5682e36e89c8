"""The agent's memory: one small file that survives power cuts, and says what runs, what is tried, and what to tell.

A change is written to a new file, synced, renamed and the folder synced, and only then visible; when any of it fails,
nothing has changed. The file carries a checksum, and the generation before it is kept beside it, for the day on which
the medium lies.

    <data_dir>/journal.json       the state              <data_dir>/journal.json.old   the one before
    <data_dir>/lock               held while an agent runs        schemas.py has the journals of other versions
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self

import msgspec

from wainwright_agent import medium, schemas
from wainwright_agent.states import UpdateState
from wainwright_agent.synced import sync_folder, write_synced
from wainwright_common import data_folder
from wainwright_common.errors import WainwrightError
from wainwright_common.messages import Offer, Reason, Report, Time
from wainwright_common.statuses import DeviceStatus

SCHEMA = 1
FILE = "journal.json"
PREVIOUS = "journal.json.old"
NEW = "journal.json.new"
CORRUPT = "journal.json.corrupt"
LOCK = "lock"

SEQ_BLOCK = 1000  # report numbers reserved by one write: at one progress report a second, a write every 16 minutes
DONE_MAX = 32  # attempts that are known to have ended: most of a year of weekly releases, in 3 KB
OUTBOX_MAX = 512  # reports; an update makes at most six, and the next needs an answer of the controller

log = logging.getLogger(__name__)


class JournalError(WainwrightError):
    """The journal cannot be opened, read or written; nothing has changed."""


class Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything in the journal."""


class Waiting(Stored, frozen=True, kw_only=True):
    """A state script has asked to be run again later."""

    script: str
    waited_s: float
    """Since it asked for the first time, not counting the time in which no agent ran."""


class ByHand(Stored, frozen=True, kw_only=True):
    """A technician has asked for the update; see by_hand.py."""

    stop_before: tuple[UpdateState, ...] = ()
    released: UpdateState | None = None
    """The last held state that was told to go on."""


class Update(Stored, frozen=True, kw_only=True):
    """The update that is being carried out."""

    offer: Offer
    state: UpdateState
    status: DeviceStatus
    """The last status that was reported."""
    boot_id: str
    """The boot in which `state` was stored."""
    stores: int = 0
    """How often a state was stored; bounded, so that going in circles ends."""
    reserved_seq: int = 1
    """Reports with this number and above have certainly not been used."""
    aborted: bool = False
    payload_type: str | None = None
    new_provides: dict[str, str] | None = None
    """What the device provides once this is committed; known after the download."""
    needs_reboot: str | None = None
    """The module's answer to NeedsArtifactReboot; None until it is known."""
    supports_rollback: bool | None = None
    failure: Reason | None = None
    inconsistent: bool = False
    rolled_back: bool = False
    committed: bool = False
    waiting: Waiting | None = None
    by_hand: ByHand | None = None


class LastUpdate(Stored, frozen=True, kw_only=True):
    """How the update before ended."""

    deployment_id: str
    attempt: int
    release: str
    outcome: DeviceStatus
    at: Time
    report: Report
    """The final report, to be repeated if the attempt is offered again."""
    error: Reason | None = None
    inconsistent: bool = False
    rolled_back: bool = False


class Done(Stored, frozen=True, kw_only=True):
    """An attempt of a deployment that has ended here, however it did."""

    deployment_id: str
    attempt: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the agent remembers. Defaults are written too: a later agent may have others."""

    schema: int = SCHEMA
    provides: dict[str, str] = msgspec.field(default_factory=lambda: {"artifact_name": "unknown"})
    update: Update | None = None
    outbox: tuple[Report, ...] = ()
    """Reports that change the outcome and are not acknowledged yet, oldest first."""
    last: LastUpdate | None = None
    done: tuple[Done, ...] = ()
    """The attempts that have ended, the newest last: their offers are old ones, whoever sends them again."""


class _File(msgspec.Struct):
    sha256: str
    state: msgspec.Raw


class _Schema(msgspec.Struct):
    schema: int


class _NewerError(Exception):
    def __init__(self, schema: int) -> None:
        super().__init__(f"schema {schema}")
        self.schema = schema


class Journal:
    """The one writer of the journal; thread-safe. `open` makes one, `read` only looks."""

    def __init__(
        self, data_dir: Path, lock_fd: int, state: State, patience: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._dir = data_dir
        self._lock_fd = lock_fd
        self._state = state
        self._patience = patience
        self._mutex = threading.Lock()

    @classmethod
    def open(cls, data_dir: Path, patience: Callable[[], AbstractContextManager[None]] = nullcontext) -> Journal:
        """Take the journal of a data folder for this process; makes the folder (0700).

        A change is made within a context of `patience`, for a medium that is busy takes its time.
        Raises JournalError when another agent has it, when it is not ours alone (data_folder.py), or
        when it cannot be opened or is of a newer agent.
        """
        try:
            data_folder.prepare(data_dir)
            lock_fd = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except data_folder.Untrusted as error:
            raise JournalError(str(error)) from error
        except OSError as error:
            raise JournalError(
                f"{data_dir}: the data folder cannot be used: {error.strerror}. {medium.remedy(error)}"
            ) from error
        try:
            _take(lock_fd, data_dir)
            state = _read(data_dir, is_owner=True)
            _follow_schema(data_dir, state)
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(data_dir, lock_fd, msgspec.structs.replace(state, schema=SCHEMA), patience)

    @classmethod
    def read(cls, data_dir: Path) -> State:
        """Return the state on disk, without a lock, for a look while no agent runs; raises JournalError."""
        return _read(data_dir, is_owner=False)

    @property
    def state(self) -> State:
        """The state as it is on disk."""
        return self._state

    def change(self, f: Callable[[State], State]) -> State:
        """Replace the state by `f(state)`, on disk and then here, and return it.

        Raises JournalError when it cannot be written: then nothing has changed. What `f` raises passes through.
        """
        with self._patience(), self._mutex:
            after = f(self._state)
            if after != self._state:
                try:
                    _write(self._dir, after)
                except OSError as error:
                    with contextlib.suppress(OSError):
                        (self._dir / NEW).unlink(missing_ok=True)
                    raise JournalError(
                        f"{self._dir / FILE}: cannot be written: {error.strerror or error}. {medium.remedy(error)}"
                    ) from error
                if self._state.update is not None and after.update is None:
                    _forget_kept(self._dir)
                self._state = after
            return after

    def close(self) -> None:
        """Let another process open the journal."""
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take(lock_fd: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalError(
            f"{data_dir}: another agent is using this data folder. Stop it first, or configure another data_dir."
        ) from None


def _read(data_dir: Path, *, is_owner: bool) -> State:
    """Return the newest state that is whole; an empty one when there is none."""
    problems = []
    for name in (FILE, PREVIOUS):
        file = data_dir / name
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in medium.DAMAGE:
                raise JournalError(f"{file}: cannot be read: {error.strerror}. {medium.remedy(error)}") from error
            problems.append(f"{file}: {error.strerror}")
            _set_aside(file, is_owner=is_owner)
            continue
        try:
            state = _decode(content)
        except _NewerError as newer:
            return _read_kept(data_dir, newer.schema, is_owner=is_owner)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, ValueError) as error:
            problems.append(f"{file}: {error}")
            _set_aside(file, is_owner=is_owner)
            continue
        if name == FILE:
            return state
        # It may be gone without a problem now: an agent that found it damaged may have ended before its first write.
        why = "; ".join(problems) or f"{data_dir / FILE}: is not there"
        log.error("The journal was damaged (%s); going on with the generation before it.", why)
        return _skip_numbers(state)
    if problems:
        log.error("No whole journal is left (%s); starting anew: what runs here is unknown.", "; ".join(problems))
    return State()


def _set_aside(file: Path, *, is_owner: bool) -> None:
    """Move a damaged generation out of the way of the next one, which would take the whole one's place else."""
    if not is_owner:
        return
    try:
        file.replace(file.with_name(CORRUPT))
    except OSError as error:
        text = f"{file}: is damaged, and cannot be moved: {error.strerror}. {medium.remedy(error)}"
        raise JournalError(text) from error


def _decode(content: bytes) -> State:
    """Return the state in a journal file; raises ValueError or msgspec's errors when it is damaged, or _NewerError."""
    outer = msgspec.json.decode(content, type=_File)
    if hashlib.sha256(bytes(outer.state)).hexdigest() != outer.sha256:
        raise ValueError("the checksum is wrong")
    schema = msgspec.json.decode(outer.state, type=_Schema).schema
    if schema > SCHEMA:
        raise _NewerError(schema)
    return msgspec.json.decode(outer.state, type=State)


def _read_kept(data_dir: Path, newer: int, *, is_owner: bool) -> State:
    """Return the state that a newer agent has found here, where it has kept it; raises JournalError."""
    file = schemas.kept(data_dir / FILE, SCHEMA)
    try:
        state = _skip_numbers(_decode(file.read_bytes()))
        if is_owner:
            _write(data_dir, state)
    except (OSError, ValueError, _NewerError, msgspec.DecodeError) as error:
        raise JournalError(
            f"The journal in {data_dir} is of a newer agent (schema {newer}, not {SCHEMA}), and none of this one's was "
            f"kept ({error}). Install that agent again."
        ) from error
    log.warning("The journal is of a newer agent (schema %d), whose root was left; going on with our last.", newer)
    return state


def _follow_schema(data_dir: Path, state: State) -> None:
    """Keep what an older agent would need, while it may come back; raises JournalError."""
    try:
        if state.update is None:
            schemas.forget(data_dir / FILE)
        elif state.schema < SCHEMA:
            current = data_dir / FILE
            schemas.keep(current if current.exists() else data_dir / PREVIOUS, current, state.schema)
            sync_folder(data_dir)
    except OSError as error:
        raise JournalError(f"{data_dir}: the older journal cannot be kept: {error.strerror or error}.") from error


def _forget_kept(data_dir: Path) -> None:
    try:
        schemas.forget(data_dir / FILE)
    except OSError as error:
        log.warning("What was kept for an older agent is still there, and goes at the next start: %s", error)


def _skip_numbers(state: State) -> State:
    """Leave out the report numbers that the lost generation may have reserved and used."""
    if state.update is None:
        return state
    skipped = msgspec.structs.replace(state.update, reserved_seq=state.update.reserved_seq + 2 * SEQ_BLOCK)
    return msgspec.structs.replace(state, update=skipped)


def _write(data_dir: Path, state: State) -> None:
    raw = msgspec.json.encode(state)
    content = msgspec.json.encode(_File(sha256=hashlib.sha256(raw).hexdigest(), state=msgspec.Raw(raw)))
    new, current, previous = data_dir / NEW, data_dir / FILE, data_dir / PREVIOUS
    write_synced(new, content)
    # A hard link and a rename, so that at every moment either the old or the new generation has its final name.
    has_previous = current.exists()
    if has_previous:
        spare = data_dir / (PREVIOUS + ".new")
        spare.unlink(missing_ok=True)
        os.link(current, spare)
        spare.replace(previous)
    new.replace(current)
    try:
        sync_folder(data_dir)
    except OSError:
        # The caller goes on with the old state, and may even tell that the new one was refused: so a restart must find
        # the old one. After a power cut right now either may be there; both are whole.
        with contextlib.suppress(OSError):
            if has_previous:
                previous.replace(current)
            else:
                current.unlink()
        raise
