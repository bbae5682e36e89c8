"""The provides and clears that an artifact gets by default: those of `mender-artifact write`."""

from __future__ import annotations

from typing import Final

from wainwright_common.artifact.documents import ROOTFS_IMAGE

DEFAULT_FILESYSTEM: Final = ROOTFS_IMAGE
WHOLE_ROOT: Final = ""
"""The default name of a whole root filesystem: its key is FILESYSTEM.version, and it clears FILESYSTEM.*."""

# What a former root filesystem may have left; as mender-artifact, cleared together with `rootfs-image.*` only.
_OF_A_FORMER_ROOT: Final = ("artifact_group", "rootfs_image_checksum")


def software_provides(
    *,
    artifact_name: str,
    default_name: str,
    filesystem: str = "",
    name: str = "",
    version: str = "",
    no_default_version: bool = False,
) -> dict[str, str]:
    """Return the provide that says which software the payload is: FILESYSTEM.NAME.version = VERSION.

    NAME is by default `default_name`, the payload type or WHOLE_ROOT, and VERSION the artifact name. Without the
    default version there is none, unless a version is given: then NAME is left out of the key when none is given.
    """
    if no_default_version:
        if not version:
            return {}
        middle = name
    else:
        middle = name or default_name
    key = ".".join(part for part in (filesystem or DEFAULT_FILESYSTEM, middle, "version") if part)
    return {key: version or artifact_name}


def software_clears(
    *,
    given: tuple[str, ...] = (),
    default_name: str,
    filesystem: str = "",
    name: str = "",
    no_default_version: bool = False,
    no_default_clears: bool = False,
) -> tuple[str, ...] | None:
    """Return the clears: those given, then FILESYSTEM.NAME.* by default; None when there are none."""
    if no_default_version or no_default_clears:
        return given or None
    default = ".".join(part for part in (filesystem or DEFAULT_FILESYSTEM, name or default_name, "*") if part)
    former = _OF_A_FORMER_ROOT if default == f"{ROOTFS_IMAGE}.*" else ()
    return (*given, *(glob for glob in (*former, default) if glob not in given))
