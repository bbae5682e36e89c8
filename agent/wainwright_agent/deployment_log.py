"""The log of each attempt, kept on the device: what was done, what the module said, what went wrong.

    <data_dir>/logs/0007-<deployment>-<attempt>.jsonl     the attempt on the first line, then one JSON object for each
    <data_dir>/logs/0007-<deployment>-<attempt>.sent      how many lines the controller's broker has (log_sender.py)

1. A log goes on after a restart where it stopped. A line that a power cut has torn is cut off.
2. Bounded: the last FILES_MAX attempts, BYTES_MAX and LINES_MAX of each. The last quarter is for what decides: steps,
   warnings and errors; what a module chatters beyond is counted, not kept.
3. A log never fails an update: where it cannot be written, or would take the journal's room, it has a gap.
4. No line has the signature of a link or a password.

It is a handler of Python's logging: everything that the updater's thread logs, and what its own logger says elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from wainwright_agent.masking import mask
from wainwright_agent.space import RESERVE, free
from wainwright_common.messages import Line, Offer
from wainwright_common.texts import encodable

FOLDER = "logs"
FILES_MAX = 5  # attempts, as many as the Mender client keeps
BYTES_MAX = 256 * 1024  # of one attempt
LINES_MAX = 2000  # of one attempt: what the controller keeps
FOR_ALL = 0.75  # of either; beyond, only what decides
TEXT_MAX = 2000  # characters of a line; the protocol allows 4096
PACKAGE = "wainwright_agent"
DECIDING = frozenset({f"{PACKAGE}.{noun}" for noun in ("update", "course", "orders", "waits", "actions")})
"""Loggers that say which steps were taken, and with what outcome."""
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_NAME = re.compile(r"([0-9]{4,})-.+\.jsonl")


class Attempt(msgspec.Struct, frozen=True):
    """The first line of a log."""

    deployment_id: str
    attempt: int


def logs(data_dir: Path) -> list[Path]:
    """Return the logs there are, oldest first."""
    try:
        matches = [(file, _NAME.fullmatch(file.name)) for file in (data_dir / FOLDER).iterdir()]
    except OSError:
        return []
    return [file for _, file in sorted((int(match[1]), file) for file, match in matches if match)]


def number_of(log: Path) -> int:
    """Return the number of a log; they are counted from 1 for as long as the device lives."""
    return int(log.name.partition("-")[0])


def sent_file(log: Path) -> Path:
    """Return the file that says how much of a log was sent."""
    return log.with_suffix(".sent")


class DeploymentLog(logging.Handler):
    """Writes the log of the attempt that was opened last; `attach` it, and `detach` it in the end."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(logging.INFO)
        self._folder = data_dir / FOLDER
        self._data_dir = data_dir
        self._fd: int | None = None
        self._attempt: Attempt | None = None
        self._bytes = 0
        self._lines = 0
        self._left_out = 0
        self._worker: int | None = None

    def attach(self) -> None:
        """Take from now on what is logged; informative lines too, whatever level the service itself writes."""
        logger = logging.getLogger(PACKAGE)
        logger.addHandler(self)
        if logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)

    def detach(self) -> None:
        """Take no more."""
        logging.getLogger(PACKAGE).removeHandler(self)
        self._close()

    def follow_this_thread(self) -> None:
        """Take everything that the calling thread logs: it is the one that carries updates out."""
        self._worker = threading.get_ident()

    def begin(self, offer: Offer) -> None:
        """Open the log of an attempt, the one there is or a new one, and remove the oldest beyond the bound."""
        with self.lock or contextlib.nullcontext():
            self._close()
            try:
                self._open(offer)
            except OSError as error:
                self._fd = None
                logging.getLogger(__name__).warning("This update is carried out without a log: %s", error)

    def end(self, offer: Offer) -> None:
        """Close the log of an attempt; it is complete. The next may have begun already, whose log stays open."""
        with self.lock or contextlib.nullcontext():
            if self._attempt == Attempt(offer.deployment_id, offer.attempt):
                self._close()

    def filter(self, record: logging.LogRecord) -> bool:
        """Take what is said about an update, not what the service does beside it."""
        return self._fd is not None and (record.thread == self._worker or record.name in DECIDING)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, a line for each of its lines."""
        decides = record.levelno >= logging.WARNING or record.name in DECIDING
        at = datetime.fromtimestamp(record.created, UTC)
        for text in mask(record.getMessage()).splitlines():
            self._put(Line(at=at, level=record.levelname.lower(), text=_printable(text)[:TEXT_MAX]), decides=decides)

    def _put(self, line: Line, *, decides: bool) -> None:
        if not self._bytes:
            return  # without its first line nobody could say what the log is of
        data = msgspec.json.encode(line) + b"\n"
        share = 1.0 if decides else FOR_ALL
        if self._bytes + len(data) > BYTES_MAX * share or self._lines + 1 > LINES_MAX * share:
            self._left_out += 1
            return
        if decides:
            self._say_left_out()
        self._write(data)

    def _say_left_out(self) -> None:
        if self._left_out:
            text = f"{self._left_out} lines were left out here: the log of an update has at most {BYTES_MAX} bytes."
            self._left_out = 0
            self._write(msgspec.json.encode(Line(at=datetime.now(UTC), level="warning", text=text)) + b"\n")

    def _write(self, data: bytes) -> None:
        if self._fd is None:
            return
        try:
            if free(self._data_dir) < RESERVE or os.write(self._fd, data) != len(data):
                self._left_out += 1
                os.ftruncate(self._fd, self._bytes)
                return
        except OSError:
            self._left_out += 1
            return
        self._bytes += len(data)
        self._lines += 1

    def _close(self) -> None:
        with self.lock or contextlib.nullcontext():
            if self._fd is None:
                return
            self._say_left_out()
            with contextlib.suppress(OSError):
                os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = None

    def _open(self, offer: Offer) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._attempt = attempt = Attempt(offer.deployment_id, offer.attempt)
        known = logs(self._data_dir)
        ending = _ending(attempt)
        file = next((log for log in reversed(known) if log.name.endswith(ending)), None)
        if file is None:
            number = number_of(known[-1]) + 1 if known else 1
            file = self._folder / f"{number:04d}{ending}"
            for old in known[: max(0, len(known) + 1 - FILES_MAX)]:
                sent_file(old).unlink(missing_ok=True)
                old.unlink(missing_ok=True)
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._bytes, self._lines, self._left_out = 0, 0, 0
        content = os.pread(self._fd, 2 * BYTES_MAX, 0)
        whole = content[: content.rfind(b"\n") + 1]
        os.ftruncate(self._fd, len(whole))
        if whole:
            self._bytes, self._lines = len(whole), whole.count(b"\n") - 1
        else:
            self._write(msgspec.json.encode(attempt) + b"\n")
            self._lines = 0


def _printable(text: str) -> str:
    """Return `text` with a mark in place of what is no text: control characters, and bytes that are not UTF-8."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", encodable(text))


def _ending(attempt: Attempt) -> str:
    """Return the end of a log's name; an id that is no good name for a file is replaced by its digest."""
    name = attempt.deployment_id
    if not _PLAIN_ID.fullmatch(name):
        name = sha256(name.encode()).hexdigest()[:32]
    return f"-{name}-{attempt.attempt}.jsonl"
