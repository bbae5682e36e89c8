"""The target `decoder`: a topic on the first line, a payload after it, as a broker delivers them.

What must hold: only BadTopic and BadMessage come out, with a reason that is documented and a text that a log can take;
what is accepted prints and reads back as the same; every time in it can be converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Final

import msgspec

from tests.fuzz import documents
from tests.fuzz.target import BrokenOracleError, Target, check_text
from wainwright_common.errors import BadMessage, BadTopic
from wainwright_common.messages import MESSAGES, Message, decode, encode
from wainwright_common.topics import PREFIX, Kind, Topic, check_device_id, parse

REASONS: Final = frozenset({"too-large", "not-utf8", "not-json", "invalid"})
SIZE_MAX: Final = 300 * 1024  # bytes: past the bound of a payload
_VARYING: Final = re.compile(r"[0-9]+|'[^']*'")
_DEVICES: Final = (
    b"press-07",
    b"a",
    b"A.b_c:d@e-f",
    b"x" * 128,
    b"x" * 129,
    b"",
    b" ",
    b"+",
    b"#",
    b"..",
    b"a/b",
    b"\xff",
    b"\n",
)
_PREFIXES: Final = (b"wain/v1", b"wain/v1", b"wain/v1", b"wain/v1", b"wain", b"", b"wain/v1/", b"$SYS", b"WAIN/V1")

NOW: Final = "2026-01-01T00:00:00Z"
_ID, _SHA = "b5b6-4c3f", "0123456789abcdef" * 4
_ARTIFACT: Final = {"id": _ID, "name": "r2", "size": 10, "sha256": _SHA, "uri": "http://h/a?s=1", "expires": NOW}
_OFFER: Final = {"deployment_id": _ID, "attempt": 1, "action": "install", "artifact": _ARTIFACT}
_POLICY: Final = {
    "windows": [{"start": "22:00", "end": "05:00", "days": [1, 7]}],
    "bytes_per_second": 5000,
    "download_only": True,
}
_REPORT: Final = {"deployment_id": _ID, "attempt": 1, "seq": 1, "status": "downloading", "boot_id": "b", "at": NOW}
_CHECK_IN: Final = {
    "id": "c1",
    "reason": "timer",
    "device_type": "press",
    "provides": {"artifact_name": "r1", "rootfs-image.version": "r1"},
    "boot_id": "b",
    "agent_version": "1",
    "inventory_digest": _SHA,
}

SEEDS: Final[Mapping[str, tuple[Kind, Mapping[str, object]]]] = {
    "presence": (Kind.PRESENCE, {"online": True, "since": NOW, "agent_version": "1"}),
    "inventory": (Kind.INVENTORY, {"digest": _SHA, "attributes": {"mem": 512, "t": 1.5, "os": "x", "ip": ["a", "b"]}}),
    "check-in": (Kind.CHECK_IN, _CHECK_IN),
    "check-in-running": (
        Kind.CHECK_IN,
        {**_CHECK_IN, "running": {"deployment_id": _ID, "attempt": 2, "status": "installing"}, "by_hand": True},
    ),
    "report": (Kind.REPORT, _REPORT),
    "report-progress": (Kind.REPORT, {**_REPORT, "substate": "download", "progress": {"done": 1, "total": 9}}),
    "report-failure": (
        Kind.REPORT,
        {**_REPORT, "status": "failure", "error": {"code": "timeout", "text": "slow"}, "inconsistent": True},
    ),
    "report-success": (Kind.REPORT, {**_REPORT, "status": "success", "artifact_name": "r2"}),
    "log": (
        Kind.LOG,
        {"deployment_id": _ID, "attempt": 1, "first": 0, "lines": [{"at": NOW, "level": "info", "text": "x"}]},
    ),
    "reply-offer": (
        Kind.REPLY,
        {"check_in_id": "c1", "check_in_after_s": 60, "send_inventory": True, "offer": {**_OFFER, "policy": _POLICY}},
    ),
    "reply-why": (
        Kind.REPLY,
        {
            "check_in_id": "c1",
            "check_in_after_s": 60,
            "send_inventory": False,
            "why": {"code": "paused", "text": "held"},
        },
    ),
    "ack": (Kind.ACK, {"deployment_id": _ID, "attempt": 1, "seq": 9, "verdict": "accepted", "status": "success"}),
    "command": (Kind.COMMAND, {"id": "x", "name": "abort", "deployment_id": _ID}),
}


def seeds() -> dict[str, bytes]:
    """Return a message of each kind, with all that is optional in one or another."""
    return {
        name: Topic("press-07", kind).text().encode() + b"\n" + msgspec.json.encode(message)
        for name, (kind, message) in SEEDS.items()
    }


def check(data: bytes) -> str:
    """Take a topic and a payload as a controller and an agent do; return what came of it."""
    line, _, payload = data.partition(b"\n")
    text = line.decode(errors="replace")
    try:
        topic = parse(text)
    except BadTopic as error:
        check_text(str(error))
        return "bad-topic"
    if topic.text() != text or check_device_id(topic.device) != topic.device:
        raise BrokenOracleError(f"{text!r} is read as {topic}, which prints otherwise")
    try:
        message = decode(topic.kind, payload)
    except BadMessage as error:
        said = str(error)
        check_text(said)
        if error.reason not in REASONS:
            raise BrokenOracleError(f"unknown reason {error.reason}") from error
        return f"{error.reason} {topic.kind} {_VARYING.sub('', said)}"
    _check_message(topic.kind, message)
    return f"accepted {topic.kind} {_shape(message)}"


def _check_message(kind: Kind, message: Message) -> None:
    if type(message) is not MESSAGES[kind]:
        raise BrokenOracleError(f"{kind} gave {type(message).__name__}")
    for time in _times(message):
        time.astimezone(UTC).timestamp()
    try:
        printed = encode(message)
    except BadMessage as error:
        if error.reason != "too-large":  # 1e15 is printed as 1000000000000000.0
            raise
        return
    if decode(kind, printed) != message:
        raise BrokenOracleError(f"{message} reads back as {decode(kind, printed)}")


def _times(value: object) -> Iterator[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _times(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _times(item)


def _shape(message: Message) -> str:
    """Return which optional keys a message has, and how large it is roughly."""
    given = [name for name in message.__struct_fields__ if getattr(message, name) is not msgspec.UNSET]
    return f"{given} {len(str(message)).bit_length()}"


_SEEDS: Final = list(seeds().values())
# Changes of what is accepted find more than changes of rubbish, and changes of small inputs are faster than of large.
FRESH, FRESH_LARGE = 0.5, 0.95  # share of inputs that are made of a seed, not of what libFuzzer has found
LARGE = 4096  # bytes


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Return another input: mostly another payload, sometimes another topic."""
    random = Random(seed)
    if random.random() < (FRESH_LARGE if len(data) > LARGE else FRESH):
        data = random.choice(_SEEDS)
    line, _, payload = data.partition(b"\n")
    for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
        if random.randrange(8) == 0:
            line = _topic(line, random)
        else:
            payload = documents.mutate(payload, random)
    return (line + b"\n" + payload)[:size_max]


def _topic(line: bytes, random: Random) -> bytes:
    kind = random.choice(list(Kind)).value.encode()
    match random.randrange(6):
        case 0:
            return b"/".join((random.choice(_PREFIXES), random.choice(_DEVICES), kind))
        case 1:
            return line + random.choice((b"/", b"\x00", b" ", b"\r", b"x", b"/up/report"))
        case 2:
            at = random.randrange(len(line) + 1)
            return line[:at] + random.randbytes(1) + line[at + 1 :]
        case _:
            return PREFIX.encode() + b"/press-07/" + kind


TARGET: Final = Target("decoder", check, mutate, seeds, SIZE_MAX)
