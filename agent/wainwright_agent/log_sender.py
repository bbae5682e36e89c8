"""Sends the logs of deployments, of those that succeeded too: in pieces, at a measured pace, from where it stopped.

A piece counts as sent when the broker has acknowledged it; that is kept beside the log, so that neither a restart nor a
lost connection sends much twice. Twice does no harm: a line is known by its number. What is sent was synced before, so
that no other line ever gets its number.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from wainwright_agent.by_hand import is_by_hand
from wainwright_agent.deployment_log import BYTES_MAX, Attempt, logs, sent_file
from wainwright_common.messages import Line, LogLines

LINES_MAX = 100  # of one piece
BYTES_MAX_OF_PIECE = 64 * 1024  # of one piece, a quarter of what a message may have
PACE_S = 1.0  # between two pieces: at most 64 KiB/s, and a log of 256 KiB takes 20 s
ACK_S = 30.0  # without the broker's acknowledgement a piece is sent again
LOOK_S = 5.0  # between two looks for new lines while an update runs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger(__name__)


class Delivery(Protocol):
    """A message on its way."""

    def is_published(self) -> bool:
        """Say whether the broker has it."""
        ...


class Piece(NamedTuple):
    """The next lines of a log."""

    file: Path
    message: LogLines

    @property
    def end(self) -> int:
        """The number of the line after its last."""
        return self.message.first + len(self.message.lines)


class LogSender:
    """The plan of sending; called by the service's loop only. Times are monotonic seconds."""

    def __init__(self, data_dir: Path, send: Callable[[LogLines], Delivery | None]) -> None:
        self._data_dir = data_dir
        self._send = send
        self._at = 0.0
        """When to look next; infinity when there is nothing to send until `notice`."""
        self._piece: Piece | None = None
        self._delivery: Delivery | None = None
        self._sent_at = 0.0

    def notice(self, now: float) -> None:
        """Look soon: the update has gone on, or the link is up."""
        self._at = min(self._at, now)

    def link_down(self) -> None:
        """Forget what is on its way: it may be lost."""
        self._piece = self._delivery = None

    @property
    def due_at(self) -> float:
        """When to call `step`, if the link is up."""
        return self._at

    def step(self, now: float, *, more_to_come: bool) -> None:
        """Take note of what has arrived, and send the next piece."""
        if self._piece is not None and self._delivery is not None:
            if _is_published(self._delivery):
                _note(self._piece)
            elif now - self._sent_at < ACK_S:
                self._at = now + PACE_S
                return
            self._piece = self._delivery = None
        piece = next_piece(self._data_dir)
        if piece is None:
            self._at = now + LOOK_S if more_to_come else math.inf
            return
        self._at = now + PACE_S
        self._delivery = self._send(piece.message)
        self._piece, self._sent_at = piece, now


def next_piece(data_dir: Path) -> Piece | None:
    """Return the first lines that are not marked as sent, of the oldest log that has any; synced."""
    for file in logs(data_dir):
        sent = _sent(file)
        try:
            with file.open("rb") as stream:
                content = stream.read(2 * BYTES_MAX)
                if content.count(b"\n") - 1 <= sent:
                    continue
                os.fdatasync(stream.fileno())
        except OSError as error:
            log.warning("%s: cannot be sent: %s.", file, error)
            continue
        if piece := _piece(file, content, sent):
            return piece
    return None


def _piece(file: Path, content: bytes, sent: int) -> Piece | None:
    head, *rest = content[: content.rfind(b"\n")].split(b"\n")
    try:
        attempt = msgspec.json.decode(head, type=Attempt)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # damaged: nobody can say what it is about
    if is_by_hand(attempt.deployment_id):
        return None  # for the technician alone
    lines: list[Line] = []
    size = 0
    for raw in rest[sent : sent + LINES_MAX]:
        size += len(raw)
        if size > BYTES_MAX_OF_PIECE:
            break
        lines.append(_line(raw))
    message = LogLines(deployment_id=attempt.deployment_id, attempt=attempt.attempt, first=sent, lines=lines)
    return Piece(file, message)


def _line(raw: bytes) -> Line:
    """Return a line; one that the medium has damaged is told as such, so that those behind it keep their numbers."""
    try:
        return msgspec.json.decode(raw, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Line(at=_EPOCH, level="error", text="This line of the log is damaged.")


def _sent(file: Path) -> int:
    try:
        return int(sent_file(file).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _note(piece: Piece) -> None:
    """Keep how far a log was sent. Not synced: after a power cut a few pieces are sent twice."""
    try:
        new = sent_file(piece.file).with_suffix(".sent.new")
        new.touch(mode=0o600)
        new.write_text(f"{piece.end}\n", encoding="ascii")
        new.replace(sent_file(piece.file))
    except OSError as error:
        log.warning("%s: cannot be written: %s; lines of this log will be sent again.", sent_file(piece.file), error)


def _is_published(delivery: Delivery) -> bool:
    try:
        return delivery.is_published()
    except (RuntimeError, ValueError):  # the library's way to say that it was never sent
        return False
