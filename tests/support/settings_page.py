"""The table of settings in a document, generated from the configuration's definition."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import msgspec

from wainwright_common import settings

SETTINGS = re.compile(r"(<!-- settings: .*? -->\n)(.*?)(<!-- end of settings -->)", re.DOTALL)


def with_settings(page: str, kind: type[msgspec.Struct], hidden: object = None) -> str:
    """Return a page with its table of settings as it should be; `hidden` is a path that is of no use to a reader."""
    lines = ["", "| key | default | bounds | meaning |", "|---|---|---|---|"]
    for path, field, default in settings.leaves(kind):
        cells = ".".join(path), _default(default, hidden), _bounds(field), settings.description_of(field)
        lines.append("| `{}` | {} | {} | {} |".format(*cells))
    table = "\n".join([*lines, "", ""])
    return SETTINGS.sub(lambda match: match[1] + table + match[3], page)


def write(file: Path, kind: type[msgspec.Struct], hidden: object = None) -> None:
    """Write a document's table anew."""
    file.write_text(with_settings(file.read_text(encoding="utf-8"), kind, hidden), encoding="utf-8")


def _default(value: Any, hidden: object) -> str:  # noqa: ANN401  any setting's
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value if one != hidden) or "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value not in ("", None) else "none"


def _bounds(kind: Any) -> str:  # noqa: ANN401  a type
    for meta in getattr(kind, "__metadata__", ()):
        if meta.ge is not None:
            return f"{meta.ge:g} to {meta.le:g}" if meta.le is not None else f"at least {meta.ge:g}"
    options = [typing.get_args(one) for one in typing.get_args(kind) if typing.get_origin(one) is typing.Literal]
    return ", ".join(f"`{one}`" for one in options[0]) if options else ""
