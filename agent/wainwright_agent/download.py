"""The daemon's side of a download: runs the child that fetches, verifies and hands over, and hears what it says.

The child (fetch.py) is a process of its own, because the libraries for HTTP and signatures would not leave the daemon's
memory again. It gets one Job on its standard input, and says lines of JSON on its standard output; its standard error
goes to the log. It dies with the daemon. Before the job it may get a Look, when it was started ahead (spare.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from wainwright_agent.failure import LinkUseless, UpdateError
from wainwright_agent.groups import KILL_GRACE_S, end_leftovers
from wainwright_agent.processes import Lines, Process, Surroundings, TimedOut
from wainwright_agent.spare import PROGRAM
from wainwright_agent.trust import Trust
from wainwright_common.codes import Code
from wainwright_common.messages import Artifact, Progress, Reason
from wainwright_common.prepared import prepare

# What the child may do silently: wait for the module as long as a call may last, end it, and be slow.
SILENCE_MARGIN_S = 300.0
LINE_MAX = 4 * 1024 * 1024  # bytes; the longest line has the provides of a device, at most 256 of 4 KiB

log = logging.getLogger(__name__)


class Look(msgspec.Struct, frozen=True, kw_only=True, tag="look"):
    """A question: what can be installed from here."""

    source: str
    """A link, or the path of a file; percent-encoded, for paths are bytes."""
    trust: Trust | None = None
    parent: int


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a technician's file is: all that the agent must be told of it."""

    uri: str
    name: str
    size: int
    """Bytes."""
    version: str
    """Changes with the file: its time, or what the server says of it."""


class Unusable(msgspec.Struct, frozen=True, kw_only=True):
    """Why a technician's file cannot be installed."""

    text: str
    is_refused: bool
    """It could be read, and is not an artifact."""


class Job(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """Everything that the child needs to know; paths as text, since it travels as JSON."""

    artifact: Artifact
    data_dir: str
    records: str
    device_type: str
    provides: dict[str, str]
    modules: tuple[str, ...]
    verify_keys: tuple[str, ...]
    module_timeout_s: float
    grace_s: float
    progress_interval_s: float
    boot_id: str
    bytes_per_second: int | None = None
    """The most that may come over the link."""
    trust: Trust | None = None
    by_hand: bool = False
    """A technician has named the file: it may be one of this device, and nobody knows its digest."""
    parent: int
    """The daemon's process id: the child ends when it is no longer its parent."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What a download has found out. The payload is in the module's hands, or in the work tree."""

    payload_type: str | None
    provides: dict[str, str]
    """What the device provides once the artifact is committed."""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the child; exactly one key is set."""

    progress: Progress | None = None
    fetched: Fetched | None = None
    error: Reason | None = None
    link_useless: str | None = None
    """What the server said to the link, or why nobody answers there."""
    looked: Looked | None = None
    unusable: Unusable | None = None


prepare(Said)  # the update's thread decodes it


def job_process_id() -> int:
    """Return the process id that a Job names as the parent."""
    return os.getpid()


def download(
    job: Job,
    surroundings: Surroundings,
    on_progress: Callable[[Progress], None],
    started: subprocess.Popen[bytes] | None = None,
) -> Fetched:
    """Run the child, one that was `started` ahead if there is one, to its end and return what it found.

    Raises UpdateError with the child's reason, LinkUseless, and Interrupted; nothing of child or module runs then.
    """
    hearing = _Hearing(on_progress)
    errors = Lines(lambda line: log.info("download: %s", line))
    # The child needs the grace for its module, so it gets more itself.
    around = Surroundings(
        surroundings.records, surroundings.interrupted, surroundings.wake, surroundings.grace_s + KILL_GRACE_S / 2
    )
    try:
        with Process(
            PROGRAM,
            around,
            cwd=Path(job.data_dir),
            stdin=msgspec.json.encode(job),
            on_output=hearing.feed,
            on_errors=errors.feed,
            started=started,
        ) as process:
            status = _wait(process, hearing, job.module_timeout_s + SILENCE_MARGIN_S)
    except TimedOut:
        raise UpdateError(Code.TIMEOUT, "The download stood still for too long and was ended.") from None
    except OSError as error:
        raise UpdateError(Code.DOWNLOAD_FAILED, f"The download could not be started: {error}.") from error
    finally:
        end_leftovers(surroundings.records, surroundings.grace_s)  # the module of a child that was killed
    errors.end()
    return hearing.result(status, errors.tail)


def _wait(process: Process, hearing: _Hearing, silence_s: float) -> int:
    """Wait for the child's end; raises TimedOut when it is silent for too long."""
    while not process.exited:
        process.step(hearing.last_at + silence_s)
    return process.wait(time.monotonic() + silence_s)


class _Hearing:
    """What the child has said."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self.last_at = time.monotonic()
        self._on_progress = on_progress
        self._rest = b""
        self._decoder = msgspec.json.Decoder(Said)
        self._end: Said | None = None

    def feed(self, data: bytes) -> None:
        self.last_at = time.monotonic()
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            self._rest = b""
        for line in whole:
            with contextlib.suppress(msgspec.DecodeError):  # a library that prints; the end of the child decides
                self._heed(self._decoder.decode(line))

    def _heed(self, said: Said) -> None:
        if said.progress is not None:
            self._on_progress(said.progress)
        else:
            self._end = said

    def result(self, status: int, last_words: str) -> Fetched:
        if self._end is not None and self._end.link_useless is not None:
            raise LinkUseless(self._end.link_useless)
        if self._end is not None and self._end.error is not None:
            raise UpdateError(Code(self._end.error.code), self._end.error.text)
        if status != 0 or self._end is None or self._end.fetched is None:
            text = f"The download ended with status {status} and no result. Its last words: {last_words or 'none'}."
            raise UpdateError(Code.DOWNLOAD_FAILED, text)
        return self._end.fetched
