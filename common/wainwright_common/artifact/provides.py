"""What an update needs of a device, and what it leaves behind: pure rules over the device's provides.

A device's provides are one flat map of text to text. `artifact_name` and, when set, `artifact_group` are in it;
`device_type` is not, since no update changes it.

1. An artifact is compatible when the device type is in its list and every depends is satisfied by the provides.
2. On success, with neither provides nor clears in type-info: all stored provides are dropped, name and group are kept.
3. With provides but without clears: as if clears were ["*"].
4. Else every key that a clears pattern matches is removed, and then the new provides are laid over.
5. The name is always set; the group is set when the artifact gives one, and is cleared by a pattern that matches
`artifact_group`.

This does not order candidates, and does not decide about reinstalling what runs already: that is the controller's.
"""

from __future__ import annotations

from collections.abc import Mapping

from wainwright_common.artifact.header import Header

NAME_KEY = "artifact_name"
GROUP_KEY = "artifact_group"
DEVICE_TYPE_KEY = "device_type"


def unmet_depends(header: Header, *, device_type: str, provides: Mapping[str, str]) -> list[str]:
    """Return one sentence for each thing that makes the artifact unfit for a device; none when it is compatible."""
    state = {**provides, DEVICE_TYPE_KEY: device_type}
    return [
        f"The artifact needs {key} {_choices(wanted)}, but the device has {_found(state.get(key))}."
        for key, wanted in header.all_depends().items()
        if state.get(key) not in wanted
    ]


def _choices(wanted: tuple[str, ...]) -> str:
    return " or ".join(repr(value) for value in wanted) if wanted else "of an empty list, which nothing satisfies"


def _found(value: str | None) -> str:
    return "none" if value is None else repr(value)


def apply_provides(current: Mapping[str, str], header: Header) -> dict[str, str]:
    """Return the provides of a device after the artifact of `header` was installed and committed over `current`."""
    if not header.has_provides and header.clears is None:
        after = {key: value for key, value in current.items() if key == GROUP_KEY}
    else:
        globs = ("*",) if header.clears is None else header.clears
        after = {key: value for key, value in current.items() if not any(matches(glob, key) for glob in globs)}
    after |= header.provides
    after[NAME_KEY] = header.name
    if header.group:
        after[GROUP_KEY] = header.group
    return after


def matches(glob: str, key: str) -> bool:
    """Tell whether `glob` matches the whole of `key`; `*` is any run of characters, everything else is literal.

    Not a regular expression: a pattern of many stars must not cost more than its length times the key's.
    """
    first, *rest = glob.split("*")
    if not rest:
        return glob == key
    *middle, last = rest
    if not key.startswith(first):
        return False
    at = len(first)
    for piece in middle:
        found = key.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(key) - at >= len(last) and key.endswith(last)
