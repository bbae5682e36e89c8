"""All that is known of an artifact before its payload arrives: the header tar, and what the manifest promises."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wainwright_common.artifact.compression import expander
from wainwright_common.artifact.documents import (
    HeaderInfo,
    TypeInfo,
    parse_header_info,
    parse_meta_data,
    parse_type_info,
)
from wainwright_common.artifact.limits import DEFAULT, Limits
from wainwright_common.artifact.manifest import Manifest
from wainwright_common.artifact.names import SCRIPT_PREFIX, check_script
from wainwright_common.artifact.rules import Rule, refusal
from wainwright_common.artifact.tar import TarReader

HEADER_INFO: Final = "header-info"
TYPE_INFO: Final = "headers/0000/type-info"
META_DATA: Final = "headers/0000/meta-data"
_HEADERS_PREFIX: Final = "headers/"


@dataclass(frozen=True, slots=True)
class PayloadFileInfo:
    """A payload file as the manifest promises it; its size is known when it arrives."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """An artifact's header, verified: the manifest has been checked against signature, version and these bytes."""

    name: str
    group: str | None
    device_types: tuple[str, ...]
    depends_names: tuple[str, ...]
    depends_groups: tuple[str, ...]
    payload_type: str | None
    """The update module that installs the payload; None when there is no payload (a bootstrap artifact)."""
    provides: Mapping[str, str]
    has_provides: bool
    """False when type-info has no artifact_provides at all, which differs from an empty one: see `apply_provides`."""
    depends: Mapping[str, tuple[str, ...]]
    """The payload's: each key is satisfied by any of its values. `all_depends` adds the artifact's."""
    clears: tuple[str, ...] | None
    """Patterns of provides that the update removes; None when type-info has none."""
    files: tuple[PayloadFileInfo, ...]
    scripts: Mapping[str, bytes] = field(repr=False)
    """State scripts by name, sorted."""
    header_info: bytes = field(repr=False)
    type_info: bytes = field(repr=False)
    meta_data: bytes = field(repr=False)
    """Empty when absent, like an empty file."""
    signed: bool
    verified_by: str | None
    """The label of the key that verified the signature; None when no keys were given."""
    compression: str
    """The header's: none, gzip, lzma or zstd. The payload may have another; in practice it has the same."""

    def all_depends(self) -> dict[str, tuple[str, ...]]:
        """Return everything that a device must satisfy, device_type, artifact_name and artifact_group included."""
        own = {
            "device_type": self.device_types,
            "artifact_name": self.depends_names,
            "artifact_group": self.depends_groups,
        }
        return {key: values for key, values in own.items() if values} | dict(self.depends)


@dataclass(slots=True)
class _Parts:
    """The files of a header tar, as they were found."""

    header_info: bytes = b""
    scripts: dict[str, bytes] = field(default_factory=dict)
    type_info: bytes | None = None
    meta_data: bytes | None = None


def parse_header(
    stored: bytes,
    member: str,
    compression: str,
    manifest: Manifest,
    *,
    signed: bool,
    verified_by: str | None,
    limits: Limits = DEFAULT,
) -> Header:
    """Read a header from the bytes of the member `member`, whose digest the caller has verified.

    Raises ArtifactError by the rules of tar, compression, header, scripts, header-info, type-info and meta-data.
    """
    parts = _unpack(
        _bounded(expander(io.BytesIO(stored).read, compression, member, limits), member, limits), member, limits
    )
    info = parse_header_info(parts.header_info)
    payload_type = info.payloads[0].type
    if parts.type_info is None:
        raise refusal(Rule.TYPE_INFO, f"{member} has no {TYPE_INFO}.")
    type_info = parse_type_info(parts.type_info, payload_type)
    meta_data = parts.meta_data or b""
    parse_meta_data(meta_data)
    if payload_type is None and (meta_data or manifest.files):
        raise refusal(Rule.EMPTY_PAYLOAD, "The artifact has no payload type, but it has meta-data or payload files.")
    return Header(
        **_from_header_info(info),
        **_from_type_info(type_info),
        files=tuple(PayloadFileInfo(name, digest) for name, digest in manifest.files.items()),
        scripts=dict(sorted(parts.scripts.items())),
        header_info=parts.header_info,
        type_info=parts.type_info,
        meta_data=meta_data,
        signed=signed,
        verified_by=verified_by,
        compression=compression,
    )


def _from_header_info(info: HeaderInfo) -> dict[str, Any]:
    return {
        "name": info.artifact_provides.artifact_name,
        "group": info.artifact_provides.artifact_group or None,
        "device_types": tuple(info.artifact_depends.device_type or ()),
        "depends_names": tuple(info.artifact_depends.artifact_name or ()),
        "depends_groups": tuple(info.artifact_depends.artifact_group or ()),
        "payload_type": info.payloads[0].type,
    }


def _from_type_info(info: TypeInfo) -> dict[str, Any]:
    clears = info.clears_artifact_provides
    return {
        "provides": dict(info.artifact_provides or {}),
        "has_provides": info.artifact_provides is not None,
        "depends": {
            key: (wanted,) if isinstance(wanted, str) else tuple(wanted)
            for key, wanted in (info.artifact_depends or {}).items()
        },
        "clears": None if clears is None else tuple(clears),
    }


def _bounded(read: Callable[[int], bytes], member: str, limits: Limits) -> Callable[[int], bytes]:
    """Return `read` with a bound on all that it gives: a small compressed header must not fill the memory."""
    given = 0

    def bounded(n: int) -> bytes:
        nonlocal given
        data = read(n)
        given += len(data)
        if given > limits.header + limits.padding:
            raise refusal(Rule.TOO_LARGE, f"{member} expands to more than the limit of {limits.header} bytes.")
        return data

    return bounded


def _unpack(read: Callable[[int], bytes], member: str, limits: Limits) -> _Parts:
    """Take a header tar apart, in its one legal order."""
    tar = TarReader(read, member, limits)
    parts = _Parts()
    first = tar.next()
    if first is None or first.name != HEADER_INFO:
        raise refusal(
            Rule.HEADER_ORDER,
            f"{member} begins with {first.name[:100]!r}, not header-info." if first else f"{member} is empty.",
        )
    parts.header_info = tar.read_whole(first, limits.header)
    while entry := tar.next():
        name = entry.name
        if name.startswith(SCRIPT_PREFIX) and parts.type_info is None:
            script = name.removeprefix(SCRIPT_PREFIX)
            check_script(script)
            if script in parts.scripts:
                raise refusal(Rule.SCRIPT_DUPLICATE, f"{member} has the script {script} twice.")
            parts.scripts[script] = tar.read_whole(entry, limits.header)
        elif name == TYPE_INFO and parts.type_info is None:
            parts.type_info = tar.read_whole(entry, limits.header)
        elif name == META_DATA and parts.type_info is not None and parts.meta_data is None:
            parts.meta_data = tar.read_whole(entry, limits.header)
        elif name.startswith(_HEADERS_PREFIX) and not name.startswith(f"{_HEADERS_PREFIX}0000/"):
            raise refusal(Rule.INDEX, f"{member} has {name[:100]!r}, of a second payload.")
        else:
            raise refusal(Rule.HEADER_ORDER, f"{member} has {name[:100]!r} where it cannot be.")
    return parts


def describe(header: Header) -> dict[str, Any]:
    """Return a header as plain values for people and JSON: everything but the contents of scripts and meta-data's
    layout.
    """
    return {
        "name": header.name,
        "group": header.group,
        "device_types": list(header.device_types),
        "payload_type": header.payload_type,
        "compression": header.compression,
        "signed": header.signed,
        "verified_by": header.verified_by,
        "depends": {key: list(values) for key, values in header.all_depends().items()},
        "provides": dict(header.provides),
        "clears": None if header.clears is None else list(header.clears),
        "scripts": list(header.scripts),
        "files": [{"name": file.name, "sha256": file.sha256} for file in header.files],
        "meta_data": parse_meta_data(header.meta_data),
    }
