"""The provides and clears that an artifact gets by default: those of `mender-artifact write module-image`."""

from __future__ import annotations

from typing import Final

from wainwright_common.artifact.documents import ROOTFS_IMAGE

DEFAULT_FILESYSTEM: Final = ROOTFS_IMAGE


def software_provides(
    *,
    artifact_name: str,
    payload_type: str,
    filesystem: str = "",
    name: str = "",
    version: str = "",
    no_default_version: bool = False,
) -> dict[str, str]:
    """Return the provide that says which software the payload is: FILESYSTEM.NAME.version = VERSION.

    NAME is by default the payload type, VERSION the artifact name. Without the default version there is none, unless a
    version is given: then NAME is left out of the key when none is given.
    """
    if no_default_version:
        if not version:
            return {}
        middle = name
    else:
        middle = name or payload_type
    key = ".".join(part for part in (filesystem or DEFAULT_FILESYSTEM, middle, "version") if part)
    return {key: version or artifact_name}


def software_clears(
    *,
    given: tuple[str, ...] = (),
    payload_type: str,
    filesystem: str = "",
    name: str = "",
    no_default_version: bool = False,
    no_default_clears: bool = False,
) -> tuple[str, ...] | None:
    """Return the clears: those given, then FILESYSTEM.NAME.* by default; None when there are none."""
    if no_default_version or no_default_clears:
        return given or None
    default = f"{filesystem or DEFAULT_FILESYSTEM}.{name or payload_type}.*"
    return given if default in given else (*given, default)
