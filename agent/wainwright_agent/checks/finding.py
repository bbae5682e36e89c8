"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for a technician; `remedy` says what to do, and is empty when all is well."""

    name: str
    text: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing need be done."""
        return not self.remedy
