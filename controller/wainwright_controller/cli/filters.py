"""What a filter that chooses nobody may have wrong."""

from __future__ import annotations

from wainwright_controller.cli.output import Json
from wainwright_controller.cli.settings import Settings


def nobody(settings: Settings, where: str | None) -> str:
    """Return that there are no devices, and what in the filter looks like a mistake."""
    unknown = unknown_told(settings.client.get("filters", where=where)) if where is not None else ""
    return f"No devices: {unknown}." if unknown else "No devices."


def unknown_told(meant: Json) -> str:
    """Return, as a clause, which names in a filter no device has; empty when there are none."""
    return f"no device has {' or '.join(meant['unknown'])}" if meant["unknown"] else ""
