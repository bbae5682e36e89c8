"""Under which names a filter finds what is known of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wainwright_controller.records import Device
from wainwright_controller.rules.filters.terms import Scope
from wainwright_controller.rules.filters.values import Value, elements, number_of, text_of

REPORTED = ("device_type", "artifact_name", "agent_version")
"""The system attributes that a device says itself, and says anew only now and then."""


def attributes_of(
    device: Device, inventory: Mapping[str, Value], tags: Mapping[str, str], group: str | None
) -> dict[str, Value]:
    """Return a device's attributes by their full names: `device_type`, `inventory.kernel`, `tags.site`, `provides.x`.

    What a device has not said yet is absent; so is the group of a device that is in no static group. A device's
    identity is what its inventory says.
    """
    known: dict[str, Value] = {
        **reported(device),
        **scoped(Scope.INVENTORY, inventory),
        **scoped(Scope.TAGS, tags),
        "device_id": device.id,
        "state": device.state.value,
        "online": device.online,
    }
    if group is not None:
        known["group"] = group
    return known


def reported(device: Device) -> dict[str, Value]:
    """Return the attributes that come with a check-in."""
    said = {name: value for name in REPORTED if (value := getattr(device, name))}
    return {**said, **scoped(Scope.PROVIDES, device.provides)}


def scoped(scope: Scope, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values under the full names of a scope."""
    return {f"{scope}.{key}": value for key, value in values.items()}


def rows(attributes: Mapping[str, Value]) -> Iterator[tuple[str, str, float | None]]:
    """Yield (full name, text, number) of every element of every attribute, each once: what SQL compares."""
    for name, value in attributes.items():
        seen = {text_of(element): number_of(element) for element in elements(value)}
        for text, number in seen.items():
            yield name, text, number
