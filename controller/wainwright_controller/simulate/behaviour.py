"""What a simulated fleet is like, and how each device of it behaves. Pure: equal specs give equal fleets."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from wainwright_common.brokers import Endpoint, check_encryption, endpoint_of
from wainwright_common.codes import Code
from wainwright_common.topics import PREFIX, check_prefix

DEVICES_MAX = 2000  # connections that one Python process serves with ease: about 60 kB and 2 file descriptors each
PACE_SPREAD = 0.5  # part of a duration: devices of one type are not equally fast


class Fate(StrEnum):
    """How the attempts of a device end."""

    SUCCEED = "succeed"
    FAIL = "fail"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a fleet connects to, and the first levels of its topics."""

    endpoint: Endpoint
    prefix: str = PREFIX

    @classmethod
    def at(cls, url: str, prefix: str = PREFIX) -> Broker:
        """Return the broker at a URL; raises BadBroker and BadTopic."""
        check_encryption(url, allow_plain=False)
        return cls(endpoint_of(url), check_prefix(prefix))


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """A fleet to be simulated. Durations are means in seconds, parts are between 0 and 1."""

    devices: int
    id_prefix: str = "sim-"
    device_types: tuple[str, ...] = ("simulated",)
    """Device n has the type n modulo their number."""
    artifact_name: str = "simulated-1.0"
    """What every device runs at first."""
    download_s: float = 4.0
    install_s: float = 2.0
    progress_steps: int = 4
    """Progress reports of one download."""
    failing: float = 0.0
    """Part of the devices whose attempts fail in the installation."""
    fail_codes: tuple[str, ...] = (Code.INSTALL_FAILED.value,)
    """Why they fail: the failing take turns in these."""
    silent: float = 0.0
    """Part of the devices that say nothing more once a download has begun."""
    faulty_attempts: int | None = None
    """After so many attempts the failing and the silent do well; None: never."""
    duplicated: float = 0.0
    """Part of the reports that are sent twice."""
    reordered: float = 0.0
    """Part of the reports that are sent after the one that follows them."""
    late: float = 0.0
    """Part of the devices that connect for the first time later than the others, by `late_s` at most."""
    late_s: float = 0.0
    check_in_s: float = 60.0
    resend_s: float = 5.0
    """Pause before a report that was not acknowledged is sent again; an unanswered check-in waits twice as long."""
    connects_per_s: float = 200.0
    real_download: bool = False
    """Fetch the offered link, and check length and digest."""
    seed: int = 1
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Attributes that the devices report beside their own; they take turns in the values of each, so that all meet."""
    provides: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the devices provide beside their release; in turns as above."""

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= DEVICES_MAX:
            raise ValueError(f"a simulated fleet has 1 to {DEVICES_MAX} devices, not {self.devices}")
        if not self.device_types:
            raise ValueError("a simulated fleet has at least one device type")
        if not self.fail_codes or not all([*self.attributes.values(), *self.provides.values()]):
            raise ValueError(
                "devices can take turns in one value at least: of the fail codes, and of each attribute and provide"
            )
        for name in ("failing", "silent", "duplicated", "reordered", "late"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a part between 0 and 1")
        if self.failing + self.silent > 1:
            raise ValueError("failing and silent devices are more than all devices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one device behaves."""

    id: str
    device_type: str
    fate: Fate
    pace: float
    """Factor on every duration."""
    seed: int
    fail_code: str
    """Empty for a device that does not fail."""
    comes_after_s: float
    """When it connects for the first time, in seconds after its turn."""
    attributes: dict[str, str]
    provides: dict[str, str]

    def fate_of(self, attempt: int, faulty_attempts: int | None) -> Fate:
        """Return how an attempt, counted from 1, ends."""
        is_over = faulty_attempts is not None and attempt > faulty_attempts
        return Fate.SUCCEED if is_over else self.fate


def behaviours(spec: FleetSpec) -> list[Behaviour]:
    """Return the devices of a fleet; exactly the given parts of them fail and are silent, at random places."""
    chance = random.Random(spec.seed)  # noqa: S311  a repeatable fleet, nothing secret
    failing, silent = round(spec.failing * spec.devices), round(spec.silent * spec.devices)
    silent = min(silent, spec.devices - failing)
    fates = [Fate.FAIL] * failing + [Fate.SILENT] * silent + [Fate.SUCCEED] * (spec.devices - failing - silent)
    chance.shuffle(fates)
    late = set(chance.sample(range(1, spec.devices + 1), round(spec.late * spec.devices)))
    codes = itertools.cycle(spec.fail_codes)
    digits = len(str(spec.devices))
    turns = math.prod([len(spec.device_types), *map(len, spec.attributes.values())])
    return [
        Behaviour(
            id=f"{spec.id_prefix}{number:0{digits}d}",
            device_type=spec.device_types[number % len(spec.device_types)],
            fate=fate,
            pace=chance.uniform(1 - PACE_SPREAD, 1 + PACE_SPREAD),
            seed=chance.getrandbits(32),
            fail_code=next(codes) if fate is Fate.FAIL else "",
            comes_after_s=chance.uniform(0, spec.late_s) if number in late else 0.0,
            attributes=_in_turns(spec.attributes, number, len(spec.device_types)),
            provides=_in_turns(spec.provides, number, turns),
        )
        for number, fate in enumerate(fates, 1)
    ]


def _in_turns(given: Mapping[str, Sequence[str]], number: int, turns: int) -> dict[str, str]:
    """Return the values of one device: each changes when what was before it has been through, in `turns` devices."""
    chosen = {}
    for name, values in given.items():
        chosen[name] = values[number // turns % len(values)]
        turns *= len(values)
    return chosen
