"""The conditions of a new deployment, from the options that an operator writes. Pure.

1. --max-failures is a part of the devices that were tried (5%) or a count (3); all that are given share the error
   codes, the smallest sample and what happens when one of them is broken.
2. --rate is offers in a unit of time (30/min). --ramp FACTOR/EVERY[/MAX] multiplies it by FACTOR after EVERY offers, up
   to MAX offers a minute.
3. --window is as devices have it (mon-fri 22:00-04:00), --bandwidth is in bytes per second, or with k, M or G in
   thousands, millions or billions of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from wainwright_common import windows
from wainwright_controller.cli.plan import BadOption
from wainwright_controller.cli.words import count

Json = dict[str, Any]

_MINUTES: Mapping[str, float] = {"s": 1 / 60, "min": 1.0, "m": 1.0, "h": 60.0}
_FAILURES = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)%|(\d{1,9})")
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)/(s|min|m|h)")
_RAMP = re.compile(r"(\d{1,4}(?:\.\d{1,9})?)/(\d{1,9})(?:/(\d{1,9}(?:\.\d{1,9})?))?")
_BANDWIDTH = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)([kKMG]?)(?:B?/s)?")
_TIMES: Mapping[str, int] = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


def limits_of(
    failures: Sequence[str], *, codes: Sequence[str], action: str | None, min_sample: int | None
) -> list[Json]:
    """Return the limits on failures (rule 1); raises BadOption."""
    if not failures and (codes or action is not None or min_sample is not None):
        raise BadOption(
            "--failure-code, --on-failures and --min-sample say more about --max-failures: give that, for example 5%."
        )
    if min_sample is not None and not any("%" in text for text in failures):
        raise BadOption("--min-sample is about a percentage, and --max-failures has none: leave it out.")
    shared: Json = {"codes": list(codes)} if codes else {}
    shared |= {"action": action} if action is not None else {}
    return [_limit(text, min_sample) | shared for text in failures]


def _limit(text: str, min_sample: int | None) -> Json:
    match = _FAILURES.fullmatch(text.strip())
    if match is None:
        raise BadOption(f"{text!r} is not a number of failures: write for example 5% or 3.")
    if match[2] is not None:
        return {"count": int(match[2])}
    percent = float(match[1])
    if percent > 100:  # noqa: PLR2004  percent
        raise BadOption(f"{text} is more than all devices: write at most 100%.")
    return {"percent": percent} | ({"min_sample": min_sample} if min_sample is not None else {})


def first_failures(limits: Sequence[Json], devices: int | None) -> list[str]:
    """Return a sentence for each percentage that the first failure would break without --min-sample having been given.

    `devices` are those of the deployment, None where more may join.
    """
    said = []
    for limit in limits:
        percent = limit.get("percent", 0.0)
        if not 0 < percent < 100 or "min_sample" in limit:  # noqa: PLR2004  percent; 0 % is meant so
            continue
        enough = math.ceil(100 / percent)  # of so many, one is not more than the percentage
        if devices is not None and devices < enough:
            said.append(
                f"The first failure breaks the limit: of {count(devices, 'device')}, 1 is more than {percent:g}%."
            )
        else:
            said.append(
                f"The first failure may break the limit: 1 of 1 tried is more than {percent:g}%. To have {enough} tried"
                f" before it counts: --min-sample {enough}."
            )
    return said


def unlimited(phases: Sequence[Json], limits: Sequence[Json]) -> list[str]:
    """Return a sentence where later phases open by themselves and no limit on failures stops that."""
    opens = {phase.get("opens", "now") for phase in phases[1:]} - {"approval"}
    if limits or not opens:
        return []
    told = []
    if opens - {"at"}:
        told.append("phases open by themselves as long as one device of the phase before has the release")
    if "at" in opens:
        told.append("phases with a time open then, whatever has failed")
    return [f"No limit on failures: {'; '.join(told)}. To stop them sooner: --max-failures."]


def pace_of(*, rate: str | None, ramp: str | None, concurrency: int | None) -> Json:
    """Return how fast offers are made (rule 2); raises BadOption."""
    pace: Json = {} if concurrency is None else {"concurrency": concurrency}
    if rate is not None:
        match = _RATE.fullmatch(rate.strip())
        if match is None or not float(match[1]):
            raise BadOption(f"{rate!r} is not a rate: write for example 30/min, 2/s or 500/h.")
        pace["per_minute"] = float(match[1]) / _MINUTES[match[2]]
    if ramp is not None:
        match = _RAMP.fullmatch(ramp.strip())
        if rate is None:
            raise BadOption("--ramp multiplies a rate: give --rate to begin with.")
        if match is None or float(match[1]) <= 1 or not int(match[2]):
            raise BadOption(
                f"{ramp!r} is not a ramp: write FACTOR/EVERY or FACTOR/EVERY/MAX, for example 2/50/600 to double the"
                " rate after every 50 offers, up to 600 a minute."
            )
        pace |= {"factor": float(match[1]), "every": int(match[2])}
        if match[3] is not None:
            pace["max_per_minute"] = float(match[3])
    return pace


def policy_of(*, window_texts: Sequence[str], bandwidth: str | None, download_only: bool) -> Json:
    """Return what devices are told to keep to (rule 3); raises BadOption."""
    policy: Json = {}
    if window_texts:
        policy["windows"] = [_window(text) for text in window_texts]
    if bandwidth is not None:
        match = _BANDWIDTH.fullmatch(bandwidth.strip())
        if match is None or int(float(match[1]) * _TIMES[match[2]]) < 1:
            raise BadOption(
                f"{bandwidth!r} is not a bandwidth: write bytes per second, for example 500000, 500k or 2M."
            )
        policy["bytes_per_second"] = int(float(match[1]) * _TIMES[match[2]])
    if download_only:
        policy["download_only"] = True
    return policy


def _window(text: str) -> Json:
    try:
        window: Json = msgspec.to_builtins(windows.parse(text))
    except ValueError as error:
        raise BadOption(f"{error}.") from error
    return window
