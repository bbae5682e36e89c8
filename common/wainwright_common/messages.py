"""Every message of the protocol as a typed, validated, size-limited value.

`encode` and `decode` are inverses; `decode` takes the kind of topic that a payload came on, because the topic says
which message it is. An optional key is absent (`UNSET` here) or has a value: no key is ever null. Unknown keys are
ignored, so that old and new sides mix.
The bounds of single fields keep a hostile device from filling the store within the bound of the whole payload.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wainwright_common.errors import BadMessage
from wainwright_common.statuses import DeviceStatus
from wainwright_common.texts import clipped, printable
from wainwright_common.topics import Kind

PAYLOAD_MAX = 256 * 1024  # bytes; far below MQTT's 256 MB, so that 1,000 queued messages fit into memory
SEQ_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps exactly (RFC 8259 section 6)

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=2000)]
Value = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Ordinal = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
Seconds = Annotated[int, Meta(ge=0, le=10**9)]
Time = Annotated[datetime, Meta(tz=True)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Provides = Annotated[dict[Name, Value], Meta(max_length=512)]
Number = int | float
Attribute = Value | Number | Annotated[list[Value], Meta(max_length=256)]
Attributes = Annotated[dict[Name, Attribute], Meta(max_length=512)]


def _check_year(time: datetime) -> None:
    """Raise ValueError, which decoding reports as an invalid message, for a time at the ends of the calendar."""
    if time.year not in YEARS:
        raise ValueError(f"the year {time.year} is not one of {YEARS.start} to {YEARS.stop - 1}")


def _check_end(time: datetime) -> None:
    """Raise ValueError for a time that has none in UTC. The last moment of the calendar means never (by_hand.NEVER)."""
    try:
        time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is before or after all that calendars can say") from error


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages and of their parts."""


class Reason(Message, frozen=True, kw_only=True):
    """A stable code and a sentence for a person."""

    code: Id
    text: Text


class Presence(Message, frozen=True, kw_only=True):
    """Whether a device's agent is connected; retained, and the last will."""

    online: bool
    since: Time
    agent_version: Id

    def __post_init__(self) -> None:
        """Refuse a time that cannot be converted."""
        _check_year(self.since)


class Inventory(Message, frozen=True, kw_only=True):
    """All attributes that a device reports; replaces what was reported before."""

    digest: Digest
    attributes: Attributes


class CheckInReason(StrEnum):
    """Why a device asks now."""

    START = "start"
    TIMER = "timer"
    COMMAND = "command"
    LOCAL = "local"
    FINISHED = "finished"


class Running(Message, frozen=True, kw_only=True):
    """The update that a device is in the middle of."""

    deployment_id: Id
    attempt: Ordinal
    status: DeviceStatus


class CheckIn(Message, frozen=True, kw_only=True):
    """A device asks what to do. `provides` always has `artifact_name`; `by_hand` is about how that came there."""

    id: Id
    reason: CheckInReason
    device_type: Name
    provides: Provides
    boot_id: Id
    agent_version: Id
    inventory_digest: Digest
    running: Running | UnsetType = UNSET
    by_hand: bool | UnsetType = UNSET


class Action(StrEnum):
    """What an offer asks for: a new release, or the one that ran before."""

    INSTALL = "install"
    RESTORE = "restore"


class Artifact(Message, frozen=True, kw_only=True):
    """The file to install; `uri` is valid until `expires` and needs no other credentials."""

    id: Id
    name: Name
    size: Count
    sha256: Digest
    uri: Annotated[str, Meta(min_length=1, max_length=4096)]
    expires: Time

    def __post_init__(self) -> None:
        """Refuse a time that cannot be converted."""
        _check_end(self.expires)


class Window(Message, frozen=True, kw_only=True):
    """A maintenance window, weekly, in the device's local time; `days` of 1 (Monday) to 7, empty for every day."""

    start: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]\\Z")]
    end: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]\\Z")]
    days: Annotated[list[Annotated[int, Meta(ge=1, le=7)]], Meta(max_length=7)] = []


class Policy(Message, frozen=True, kw_only=True):
    """Conditions under which a device carries an offer out."""

    windows: Annotated[list[Window], Meta(max_length=32)] | UnsetType = UNSET
    bytes_per_second: Ordinal | UnsetType = UNSET
    download_only: bool | UnsetType = UNSET


class Offer(Message, frozen=True, kw_only=True):
    """What a device is asked to do; the same attempt is offered again until it is finished."""

    deployment_id: Id
    attempt: Ordinal
    action: Action
    artifact: Artifact
    policy: Policy = Policy()


class WhyCode(StrEnum):
    """Why a check-in gets no offer."""

    NOT_ACCEPTED = "not-accepted"
    NO_DEPLOYMENT = "no-deployment"
    PHASE_CLOSED = "phase-closed"
    PAUSED = "paused"
    RETRY_LATER = "retry-later"
    WINDOW = "window"
    ALREADY_INSTALLED = "already-installed"
    NO_ARTIFACT = "no-artifact"
    RATE_LIMITED = "rate-limited"
    BUSY = "busy"


class Reply(Message, frozen=True, kw_only=True):
    """The answer to a check-in; has `why` whenever it has no offer."""

    check_in_id: Id
    check_in_after_s: Seconds
    send_inventory: bool
    offer: Offer | UnsetType = UNSET
    why: Reason | UnsetType = UNSET


class Progress(Message, frozen=True, kw_only=True):
    """Bytes done, of a total in bytes."""

    done: Count
    total: Count


class Report(Message, frozen=True, kw_only=True):
    """A device tells a status. (deployment, device, attempt, seq) is its key; `seq` rises within an attempt."""

    deployment_id: Id
    attempt: Ordinal
    seq: Ordinal
    status: DeviceStatus
    boot_id: Id
    at: Time
    substate: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    progress: Progress | UnsetType = UNSET
    error: Reason | UnsetType = UNSET
    artifact_name: Name | UnsetType = UNSET
    inconsistent: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Refuse a time that cannot be converted."""
        _check_year(self.at)


class Verdict(StrEnum):
    """What a controller says to a report."""

    ACCEPTED = "accepted"
    ABORTED = "aborted"
    DECOMMISSIONED = "decommissioned"
    UNKNOWN = "unknown"
    STALE = "stale"


class Ack(Message, frozen=True, kw_only=True):
    """The answer to a report, sent after it is stored; covers every report of the attempt up to `seq`."""

    deployment_id: Id
    attempt: Ordinal
    seq: Ordinal
    verdict: Verdict
    status: DeviceStatus | UnsetType = UNSET


class Line(Message, frozen=True, kw_only=True):
    """One line of a deployment's log."""

    at: Time
    level: Annotated[str, Meta(min_length=1, max_length=16)]
    text: Value

    def __post_init__(self) -> None:
        """Refuse a time that cannot be converted."""
        _check_year(self.at)


class LogLines(Message, frozen=True, kw_only=True):
    """A piece of a deployment's log; `first` is the number of its first line, from 0."""

    deployment_id: Id
    attempt: Ordinal
    first: Count
    lines: Annotated[list[Line], Meta(min_length=1, max_length=500)]


class CommandName(StrEnum):
    """What a controller may ask of a device at any time."""

    CHECK_IN = "check-in"
    SEND_INVENTORY = "send-inventory"
    ABORT = "abort"


class Command(Message, frozen=True, kw_only=True):
    """A nudge: the device acts at once. A lost command costs a delay, and nothing else."""

    id: Id
    name: CommandName
    deployment_id: Id | UnsetType = UNSET


MESSAGES: dict[Kind, type[Message]] = {
    Kind.PRESENCE: Presence,
    Kind.INVENTORY: Inventory,
    Kind.CHECK_IN: CheckIn,
    Kind.REPORT: Report,
    Kind.LOG: LogLines,
    Kind.REPLY: Reply,
    Kind.ACK: Ack,
    Kind.COMMAND: Command,
}

_DECODERS = {kind: msgspec.json.Decoder(message) for kind, message in MESSAGES.items()}
_ENCODER = msgspec.json.Encoder()
_SAID_MAX = 300  # characters of the decoder's words that an error repeats: they may quote a whole payload
_PLACE_MAX = 100  # characters of these that say where
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # the escape, and not an escaped backslash with u0000 behind it
YEARS = range(2, 9999)  # so that no time zone moves a time out of what calendars can say
M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Return the payload of a message; raises BadMessage when it would be larger than PAYLOAD_MAX.

    U+0000, which no database takes in a text and which a program may print, becomes U+FFFD.
    """
    payload = _ENCODER.encode(message)
    if b"\\u0000" in payload:
        payload = _NUL.sub(rb"\1\\ufffd", payload)
    if len(payload) > PAYLOAD_MAX:
        raise BadMessage(
            "too-large", f"A {type(message).__name__} of {len(payload)} bytes: the limit is {PAYLOAD_MAX}."
        )
    return payload


def decode(kind: Kind, payload: bytes) -> Message:
    """Return the message of a payload that came on a topic of `kind`; raises BadMessage.

    The `reason` of the error is too-large, not-utf8, not-json or invalid; its text names the field.
    """
    if len(payload) > PAYLOAD_MAX:
        raise BadMessage("too-large", f"{len(payload)} bytes: the limit is {PAYLOAD_MAX}.")
    if b"\\u0000" in payload and _NUL.search(payload):
        raise BadMessage("invalid", "A text has U+0000, which no text of this protocol may have.")
    try:
        return _DECODERS[kind].decode(payload)
    except msgspec.ValidationError as error:
        raise BadMessage("invalid", f"Not a {MESSAGES[kind].__name__}: {_said(error)}.") from error
    except msgspec.DecodeError as error:
        raise BadMessage("not-json", f"Not JSON: {_said(error)}.") from error
    except UnicodeDecodeError as error:
        raise BadMessage("not-utf8", f"Not UTF-8: {error}.") from error
    except RecursionError as error:
        raise BadMessage("not-json", "Nested too deeply.") from error


def _said(error: msgspec.MsgspecError) -> str:
    """Return what is wrong; of a long value that it quotes, the beginning, and the place, which is said last."""
    return printable(clipped(str(error), _SAID_MAX, _PLACE_MAX))


def decode_as(message: type[M], kind: Kind, payload: bytes) -> M:
    """Return `decode(kind, payload)` with the type that the caller knows the kind to have."""
    value = decode(kind, payload)
    if not isinstance(value, message):
        raise TypeError(f"{kind} carries {type(value).__name__}, not {message.__name__}")
    return value


def inventory_digest(attributes: Attributes) -> str:
    """Return the SHA-256, in hex, of the attributes' JSON with sorted keys, so that order does not matter."""
    return hashlib.sha256(msgspec.json.encode(attributes, order="sorted")).hexdigest()
