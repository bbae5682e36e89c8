"""Deployments as an operator orders them, and what a person gives as the reason for an action."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import Field, StringConstraints

from wainwright_common import messages
from wainwright_controller import records
from wainwright_controller.api.models.base import Flag, Ids, Moment, Name, Taken, Where
from wainwright_controller.operations import Order
from wainwright_controller.operations.orders import DEVICES_MAX, FILTER_MAX, RETRIES_MAX
from wainwright_controller.records import OnFailures, Opens, Strategy
from wainwright_controller.rules.gates import LIMITS_MAX
from wainwright_controller.rules.pace import RATE_MAX_PER_MINUTE
from wainwright_controller.rules.phases import PHASES_MAX, PhaseSpec

YEAR_S = 365 * 86400  # nobody waits for longer
CODES_MAX = 32  # error codes of one limit: more than there are
WINDOWS_MAX = 32  # as the protocol has it
Span = Annotated[float, Field(ge=0, le=YEAR_S, allow_inf_nan=False)]
"""A time in seconds."""
Longest = Annotated[float, Field(gt=0, le=YEAR_S, allow_inf_nan=False)]
"""A limit on a time, in seconds."""
Rate = Annotated[float, Field(gt=0, le=RATE_MAX_PER_MINUTE, allow_inf_nan=False)]
"""Offers a minute."""
ErrorCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class PhaseIn(Taken):
    """A phase of a plan; without `count` and `percent` it takes the rest, which only the last one may."""

    count: Annotated[int, Field(ge=1, le=DEVICES_MAX)] | None = None
    percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    opens: Opens = Opens.NOW
    opens_at: Moment | None = Field(default=None, description="For `at`.")
    delay_s: Span = Field(0.0, description="For `after`: from the end of the phase before, and of its soak.")
    soak_s: Span = Field(0.0, description="How long the phase is watched after it is done, before the next one opens.")

    def spec(self) -> PhaseSpec:
        """Return the phase as the rules take it."""
        fields = self.model_dump() | {"opens_at": self.opens_at.timestamp() if self.opens_at else None}
        return PhaseSpec(**fields)


class Limit(Taken):
    """How many devices may fail: more than `count`, or more than `percent` of those that were tried, break it.

    A percentage is looked at once `min_sample` devices have been tried. With `codes`, only failures with these error
    codes count; `regressed` stands for a device that fell back after its success.
    """

    count: Annotated[int, Field(ge=0, le=DEVICES_MAX)] | None = None
    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    min_sample: Annotated[int, Field(ge=1, le=DEVICES_MAX)] = 1
    codes: Annotated[list[ErrorCode], Field(max_length=CODES_MAX)] = Field(default=[])
    action: OnFailures = OnFailures.PAUSE


class Pace(Taken):
    """How fast offers are made, and to how many devices at once; with `factor` above 1 the rate is a ramp."""

    per_minute: Rate | None = None
    factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = 1.0
    every: Annotated[int, Field(ge=1, le=DEVICES_MAX)] | None = Field(
        default=None, description="The rate is multiplied by `factor` after so many offers."
    )
    max_per_minute: Rate | None = None
    concurrency: Annotated[int, Field(ge=1, le=DEVICES_MAX)] | None = Field(
        default=None, description="At most so many devices are under way: offered, and not finished."
    )


class TimeLimits(Taken):
    """How long an attempt, and each status in it, may last; absent: without a limit."""

    attempt_s: Longest | None = None
    downloading_s: Longest | None = None
    installing_s: Longest | None = None
    rebooting_s: Longest | None = None


class Window(Taken):
    """A weekly maintenance window in the device's local time; `days` of 1 (Monday) to 7, none for every day."""

    start: Clock
    end: Clock
    days: Annotated[list[Annotated[int, Field(ge=1, le=7)]], Field(max_length=7)] = Field(default=[])


class Policy(Taken):
    """Conditions under which devices carry an offer out."""

    windows: Annotated[list[Window], Field(max_length=WINDOWS_MAX)] = Field(default=[])
    bytes_per_second: Annotated[int, Field(ge=1, le=2**53 - 1)] | None = None
    download_only: Flag = Field(default=False, description="Get it, and do not install it before the action `install`.")

    @classmethod
    def of(cls, policy: messages.Policy) -> Policy:
        """Return the view of what is sent to devices."""
        return cls.model_validate(msgspec.to_builtins(policy))

    def sent(self) -> messages.Policy:
        """Return what is sent to devices."""
        return msgspec.convert(self.model_dump(exclude_defaults=True), messages.Policy)


class OrderIn(Taken):
    """A deployment: a release, exactly one of `devices`, `all_devices`, `group` and `where`, a plan and its conditions.

    With `where`, or a group that has a filter, it is dynamic: devices join it as they match, up to `max_devices`.
    """

    release: Name
    devices: Ids | None = None
    all_devices: Flag = False
    group: str | None = None
    where: Annotated[Where, StringConstraints(max_length=FILTER_MAX)] | None = None
    max_devices: Annotated[int, Field(ge=1, le=DEVICES_MAX)] | None = Field(
        default=None, description="Of a dynamic one: how many devices may join."
    )
    name: Name | None = Field(default=None, description="By default, the release and its target.")
    phases: Annotated[list[PhaseIn], Field(max_length=PHASES_MAX)] = Field(
        [], description="By default, one that opens now."
    )
    strategy: Strategy = Field(Strategy.IMMEDIATE, description="A word for people: the phases are what counts.")
    retries: Annotated[int, Field(ge=0, le=RETRIES_MAX)] = 0
    in_progress_timeout_s: Longest | None = Field(
        default=None, description="Longest silence of a device; a day unless told."
    )
    time_limits: TimeLimits = Field(default_factory=TimeLimits)
    limits: Annotated[list[Limit], Field(max_length=LIMITS_MAX)] = Field(default=[])
    pace: Pace = Field(default_factory=Pace)
    policy: Policy = Field(default_factory=Policy)
    force: Flag = Field(False, description="Installs also where the release runs already.")  # noqa: FBT003  pydantic's default
    manual: Flag = Field(False, description="The first phase waits for a start by a person.")  # noqa: FBT003  as above
    approval: Flag = Field(False, description="Waits until an admin other than who makes it approves.")  # noqa: FBT003  as above

    def order(self) -> Order:
        """Return the order as the operations take it."""
        fields = {name: getattr(self, name) for name in OrderIn.model_fields}
        return Order(
            **fields
            | {
                "phases": [phase.spec() for phase in self.phases],
                "time_limits": records.TimeLimits(**self.time_limits.model_dump()),
                "limits": tuple(
                    records.Limit(**limit.model_dump() | {"codes": tuple(limit.codes)}) for limit in self.limits
                ),
                "pace": records.Pace(**self.pace.model_dump()),
                "policy": self.policy.sent(),
            }
        )


class ReasonIn(Taken):
    """Why a person does it; kept in the timeline."""

    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class PromotionIn(ReasonIn):
    """Why a person opens a phase, and which."""

    phase: Annotated[int, Field(ge=1, le=PHASES_MAX)] | None = Field(
        default=None,
        description="The number of the phase that is meant; refused as `phase-open` where it is open by now.",
    )
