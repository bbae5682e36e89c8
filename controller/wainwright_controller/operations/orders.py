"""A deployment as an operator orders it, and the devices that the order means."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from sqlalchemy import select

from wainwright_common.messages import Policy
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, group_filter, listed
from wainwright_controller.records import DeviceState, Kind, Limit, Opens, Pace, Strategy, TimeLimits
from wainwright_controller.rows import DEVICE, MEMBER
from wainwright_controller.rules import gates, phases
from wainwright_controller.rules.filters import parse
from wainwright_controller.rules.phases import BadPlan, PhaseSpec
from wainwright_controller.targets import matching_devices

RETRIES_MAX = 100  # more would hide a broken release
DEVICES_MAX = 1_000_000  # beyond any fleet that one store holds
TIMEOUT_S = 24 * 3600.0  # a device that is silent for a day in the middle of an update is worth a look
FILTER_MAX = 4096  # characters of a filter


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment as an operator orders it: a release, exactly one kind of target, a plan and its conditions."""

    release: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    devices: list[str] | None = None
    all_devices: bool = False
    group: str | None = None
    where: Annotated[str, msgspec.Meta(max_length=FILTER_MAX)] | None = None
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=DEVICES_MAX)] | None = None
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    phases: list[PhaseSpec] = []
    strategy: Strategy = Strategy.IMMEDIATE
    retries: Annotated[int, msgspec.Meta(ge=0, le=RETRIES_MAX)] = 0
    in_progress_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=365 * 86400)] | None = None
    time_limits: TimeLimits = TimeLimits()
    limits: tuple[Limit, ...] = ()
    pace: Pace = Pace()
    policy: Policy = Policy()
    force: bool = False
    manual: bool = False
    approval: bool = False


class Target(NamedTuple):
    """The devices of an order: those that it has now, and for a dynamic one its filter."""

    kind: Kind
    words: str
    device_ids: list[str]
    filter: str | None = None


def specs_of(order: Order, now: float) -> list[PhaseSpec]:
    """Return the phases of an order; raises BadPlan and BadLimit when it cannot be carried out as written."""
    specs = order.phases or [PhaseSpec()]
    phases.check(specs, now)
    gates.check(order.limits)
    if order.manual:
        specs = [msgspec.structs.replace(specs[0], opens=Opens.APPROVAL), *specs[1:]]
    return specs


def target_of(ledger: Ledger, order: Order) -> Target:
    """Return whom an order is for; raises BadPlan, BadFilter and NotFound."""
    kinds = [order.devices is not None, order.all_devices, order.group is not None, order.where is not None]
    if sum(kinds) != 1:
        raise BadPlan("A deployment goes to devices, to a group, to all or to a filter: give exactly one of these.")
    target = _target(ledger, order)
    if target.kind is Kind.STATIC and order.max_devices is not None:
        raise BadPlan("A largest number of devices belongs to a filter or a dynamic group: these devices are counted.")
    if target.kind is Kind.STATIC and not target.device_ids:
        text = f"There is no accepted device in {target.words}: accept some, or choose another target."
        raise BadPlan(text)
    return target


def most_devices(order: Order, target: Target) -> int:
    """Return how many devices an order may reach: a dynamic one without a bound may grow to any fleet."""
    if target.kind is Kind.STATIC:
        return len(target.device_ids)
    return order.max_devices or DEVICES_MAX


def _target(ledger: Ledger, order: Order) -> Target:
    accepted = select(DEVICE.c.id).where(DEVICE.c.state == DeviceState.ACCEPTED).order_by(DEVICE.c.id)
    if order.where is not None:
        return _dynamic(ledger, order.where, f"where {order.where}")
    if order.devices is not None:
        ids = list(dict.fromkeys(order.devices))
        ledger.load_devices(ids)
        wrong = [i for i in ids if i not in ledger.devices or ledger.devices[i].state is not DeviceState.ACCEPTED]
        if wrong:
            raise NotFound(f"Not an accepted device: {listed(wrong)}. `wainwright device list` shows all.", "device")
        return Target(Kind.STATIC, ids[0] if len(ids) == 1 else f"{len(ids)} devices", ids)
    if order.group is not None:
        condition = group_filter(ledger.connection, order.group)
        if condition is not None:
            return _dynamic(ledger, condition, f"group {order.group}")
        members = select(MEMBER.c.device_id).where(MEMBER.c.group_name == order.group)
        ids = list(ledger.connection.execute(accepted.where(DEVICE.c.id.in_(members))).scalars())
        return Target(Kind.STATIC, f"group {order.group}", ids)
    return Target(Kind.STATIC, "all devices", list(ledger.connection.execute(accepted).scalars()))


def _dynamic(ledger: Ledger, condition: str, words: str) -> Target:
    parsed = parse(condition)
    return Target(Kind.DYNAMIC, words, matching_devices(ledger.connection, parsed), parsed.text)
