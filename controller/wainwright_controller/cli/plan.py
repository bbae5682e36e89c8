"""The phases of a new deployment, from the options that an operator writes. Pure.

1. A size is a percent (10%) or a count (5); `rest`, or 100%, is what is left, and only the last phase takes it.
2. Behind a size stands what opens its phase: nothing (as soon as it may), @TIME, +DURATION, or ? (a person says so).
3. The last phase takes the rest whatever its size says; a single phase takes all, so it has no other size.
4. --canary SIZE is SIZE now and the rest when a person promotes; --canary SIZE+DURATION promotes by itself.
5. --batch SIZE is equal batches one after another; what stands behind the size opens each but the first.
6. --soak DURATION is how long every phase but the last is watched before the next one opens.
7. --at TIME is when the first phase opens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from wainwright_common.errors import WainwrightError
from wainwright_controller.cli.words import moment_of, span_s, stamp

PHASES_MAX = 100  # the controller's limit
CANARY = "10%"
BATCH = "25%"
_PHASE = re.compile(r"(?P<size>rest|\d+(?:\.\d+)?%|\d+)(?:@(?P<at>.+)|\+(?P<after>.+)|(?P<asks>\?))?")

Json = dict[str, Any]


class BadOption(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad option"
    """An option of a plan cannot be used as written."""


class Plan(NamedTuple):
    """A strategy's word and its phases, as the API takes them."""

    strategy: str
    phases: list[Json]


def phase_of(text: str) -> Json:
    """Return the phase that a text describes (rules 1 and 2); raises BadOption."""
    match = _PHASE.fullmatch(text.strip())
    if match is None:
        raise BadOption(f"{text!r} is not a phase: write 10%, 5 or rest, then nothing, @TIME, +DURATION or ?.")
    phase = _size_of(match["size"])
    if match["at"]:
        moment = moment_of(match["at"])
        if moment is None:
            raise BadOption(f"{match['at']!r} in {text!r} is not a time: write for example 2026-05-01T20:00Z.")
        phase |= {"opens": "at", "opens_at": stamp(moment)}
    elif match["after"]:
        seconds = span_s(match["after"])
        if seconds is None:
            raise BadOption(f"{match['after']!r} in {text!r} is not a span of time: write 30s, 10m, 2h or 1d.")
        phase |= {"opens": "after", "delay_s": seconds}
    elif match["asks"]:
        phase["opens"] = "approval"
    return phase


def _size_of(text: str) -> Json:
    if text == "rest":
        return {}
    if text.endswith("%"):
        percent = float(text[:-1])
        if not 0 < percent <= 100:  # noqa: PLR2004  percent
            raise BadOption(f"{text} is not a part of the devices: write more than 0 % and at most 100 %.")
        return {} if percent == 100 else {"percent": percent}  # noqa: PLR2004  percent
    if int(text) == 0:
        raise BadOption("A phase has 1 device at least.")
    return {"count": int(text)}


def plan_of(
    *,
    strategy: str | None,
    canary: str | None,
    batch: str | None,
    phases: Sequence[str],
    at: datetime | None,
    device_count: Callable[[], int],
) -> Plan:
    """Return the plan that the options describe; `device_count` is asked only for batches of a count.

    Raises BadOption when they contradict each other.
    """
    kinds = {"canary": canary is not None, "rolling": batch is not None, "phased": bool(phases)}
    given = [kind for kind, is_given in kinds.items() if is_given]
    if len(given) > 1 or (strategy is not None and given not in ([], [strategy])):
        raise BadOption("--canary, --batch and --phase are three ways to divide the devices: give one of them.")
    kind = given[0] if given else strategy or "immediate"
    if kind == "canary":
        made = _canary(canary or CANARY)
    elif kind == "rolling":
        made = _batches(batch or BATCH, device_count)
    elif kind == "phased":
        made = _written(phases)
    else:
        made = [{}]
    if at is not None:
        if made[0].get("opens"):
            raise BadOption("--at is when the first phase opens, and its --phase says that too: give one of them.")
        made[0] |= {"opens": "at", "opens_at": stamp(at)}
    return Plan(kind, made)


def with_soak(phases: Sequence[Json], soak_s: float | None) -> list[Json]:
    """Return phases of which all but the last are watched for `soak_s` seconds; raises BadOption when there is one."""
    if soak_s is None:
        return list(phases)
    if len(phases) == 1:
        raise BadOption(
            "--soak is a time between phases, and this plan has one phase: add --canary, --batch or --phase."
        )
    return [*(phase | {"soak_s": soak_s} for phase in phases[:-1]), phases[-1]]


def _canary(text: str) -> list[Json]:
    first = phase_of(text)
    if not _has_size(first):
        raise BadOption("A canary is a part of the devices: write for example --canary 10%.")
    condition: Json = {key: first.pop(key) for key in ("opens", "opens_at", "delay_s") if key in first}
    return [first, condition or {"opens": "approval"}]


def _batches(text: str, device_count: Callable[[], int]) -> list[Json]:
    first = phase_of(text)
    if not _has_size(first):
        raise BadOption("A batch is a part of the devices: write for example --batch 25%.")
    if "opens_at" in first:
        raise BadOption("Batches follow each other, so they cannot all open at one time: use --at for the first.")
    number = math.ceil(100 / first["percent"]) if "percent" in first else math.ceil(device_count() / first["count"])
    if number > PHASES_MAX:
        raise BadOption(f"--batch {text} makes {number} batches; {PHASES_MAX} is the limit: make them larger.")
    size: Json = {key: first[key] for key in ("count", "percent") if key in first}
    condition: Json = {key: value for key, value in first.items() if key not in size}
    batches: list[Json] = [dict(size), *(size | condition for _ in range(number - 1))]
    batches[-1] = {key: value for key, value in batches[-1].items() if key not in size}
    return batches


def _written(texts: Sequence[str]) -> list[Json]:
    made = [phase_of(text) for text in texts]
    if len(made) == 1 and _has_size(made[0]):
        raise BadOption(
            f"The last phase takes the rest, so --phase {texts[0]} alone would go to all devices:"
            " add --phase rest for the others."
        )
    for number, phase in enumerate(made[:-1], 1):
        if not _has_size(phase):
            raise BadOption(f"Phase {number} takes the rest, and phases follow it: only the last may.")
    return made


def _has_size(phase: Json) -> bool:
    return "count" in phase or "percent" in phase
