"""The JSON documents inside an artifact: version, header-info, type-info and meta-data.

Their keys are those of the Mender artifact format, version 3. Unknown keys are refused in `version`, as every reader
does, and ignored elsewhere, so that additions to the format stay installable. Where a list or an object may be absent
it may also be null: mender-artifact writes both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from wainwright_common.artifact.limits import (
    DEPENDS_MAX,
    PROVIDES_JSON_MAX,
    PROVIDES_MAX,
    PROVIDES_VALUE_MAX,
)
from wainwright_common.artifact.names import check_payload_type, check_text
from wainwright_common.artifact.rules import Rule, refusal
from wainwright_common.prepared import prepare

FORMAT = "mender"
FORMAT_VERSION = 3
RESERVED_KEYS = frozenset({"artifact_name", "artifact_group", "device_type"})
"""Said in header-info, and therefore not in type-info."""

ROOTFS_IMAGE = "rootfs-image"

# Beyond this, a reader that holds numbers as floating point (the Mender client does) changes them.
_EXACT_INTEGER_MAX = 2**53 - 1


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first member of every artifact."""

    format: str
    version: int


class PayloadEntry(msgspec.Struct, frozen=True):
    """One payload in header-info; the type is null for an artifact without one."""

    type: str | None


class ArtifactProvides(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the device is called after the update."""

    artifact_name: str = ""
    artifact_group: str | None = None


class ArtifactDepends(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the device must be before the update; a list is satisfied by any of its values."""

    artifact_name: list[str] | None = None
    device_type: list[str] | None = None
    artifact_group: list[str] | None = None


class HeaderInfo(msgspec.Struct, frozen=True):
    """The first file of the header."""

    payloads: list[PayloadEntry]
    artifact_provides: ArtifactProvides
    artifact_depends: ArtifactDepends


class TypeInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What belongs to the payload: depends are met before, clears and provides applied after the update."""

    type: str | msgspec.UnsetType | None = msgspec.UNSET
    artifact_depends: dict[str, str | list[str]] | None = None
    artifact_provides: dict[str, str] | None = None
    clears_artifact_provides: list[str] | None = None
    files: msgspec.Raw | None = None
    """Of version 2 of the format; refused."""


prepare(Version, HeaderInfo, TypeInfo)
_Document = TypeVar("_Document")


def _parse(raw: bytes, as_type: type[_Document], rule: Rule, where: str) -> _Document:
    try:
        return msgspec.json.decode(raw, type=as_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(rule, f"{where} cannot be read: {error}.") from error


def parse_version(raw: bytes) -> None:
    """Check the member `version`. Raises ArtifactError: version-syntax, version-unsupported."""
    version = _parse(raw, Version, Rule.VERSION_SYNTAX, "The member `version`")
    if (version.format, version.version) != (FORMAT, FORMAT_VERSION):
        raise refusal(
            Rule.VERSION_UNSUPPORTED,
            f"This is format {version.format[:40]!r}, {version.version}; known is {FORMAT!r}, {FORMAT_VERSION}.",
        )


def parse_header_info(raw: bytes) -> HeaderInfo:
    """Read header-info. Raises ArtifactError: header-info, payload-count, artifact-name, device-type, payload-type,
    text.
    """
    info = _parse(raw, HeaderInfo, Rule.HEADER_INFO, "header-info")
    if len(info.payloads) != 1:
        raise refusal(Rule.PAYLOAD_COUNT, f"header-info lists {len(info.payloads)} payloads.")
    if not info.artifact_provides.artifact_name:
        raise refusal(Rule.ARTIFACT_NAME, "header-info has no artifact_name.")
    if not info.artifact_depends.device_type:
        raise refusal(Rule.DEVICE_TYPE, "header-info has no device_type.")
    payload_type = info.payloads[0].type
    if payload_type is not None:
        check_payload_type(payload_type)
    check_text(info.artifact_provides.artifact_name, "artifact name")
    if info.artifact_provides.artifact_group:
        check_text(info.artifact_provides.artifact_group, "artifact group")
    for what, values in (
        ("device type", info.artifact_depends.device_type),
        ("artifact name", info.artifact_depends.artifact_name),
        ("artifact group", info.artifact_depends.artifact_group),
    ):
        _check_number(values or (), what)
        for value in values or ():
            check_text(value, f"{what} in artifact_depends")
    return info


def _check_number(values: Sequence[object], what: str) -> None:
    if len(values) > DEPENDS_MAX:
        text = f"artifact_depends has {len(values)} values of {what}, more than the limit of {DEPENDS_MAX}."
        raise refusal(Rule.TOO_LARGE, text)


def parse_type_info(raw: bytes, payload_type: str | None) -> TypeInfo:
    """Read the type-info of a payload whose type header-info gives as `payload_type`.

    Raises ArtifactError: type-info, type-mismatch, provides-conflict, text.
    """
    info = _parse(raw, TypeInfo, Rule.TYPE_INFO, "type-info")
    if info.files is not None:
        raise refusal(Rule.TYPE_INFO, "type-info has the key files, which version 3 of the format does not have.")
    # `mender-artifact write rootfs-image` writes "".
    found = info.type or None  # absent, null and empty are one
    if found != payload_type and not (payload_type == ROOTFS_IMAGE and found is None):
        raise refusal(
            Rule.TYPE_MISMATCH,
            f"The payload type is {payload_type!r} in header-info and {(found or '')[:100]!r} in type-info.",
        )
    provides, depends = info.artifact_provides or {}, info.artifact_depends or {}
    for key in (*provides, *depends):
        if key in RESERVED_KEYS:
            raise refusal(Rule.PROVIDES_CONFLICT, f"type-info has the key {key}, which belongs to header-info.")
        check_text(key, "provides key")
    for key, value in provides.items():
        _check_value(key, value)
    if excess := provides_excess(provides):
        raise refusal(Rule.TOO_LARGE, f"type-info brings too much. {excess}")
    _check_number(tuple(depends), "keys")
    for key, wanted in depends.items():
        _check_number((wanted,) if isinstance(wanted, str) else wanted, key[:100])
        for value in [wanted] if isinstance(wanted, str) else wanted:
            _check_value(key, value)
    for glob in info.clears_artifact_provides or ():
        check_text(glob, "pattern in clears_artifact_provides")
    return info


def provides_excess(provides: Mapping[str, str]) -> str | None:
    """Return, as a sentence, why a device must not have these provides; None when it may.

    Every check-in carries them: a device with more than a message can hold would never be heard of again.
    """
    if len(provides) > PROVIDES_MAX:
        return f"That makes {len(provides)} provides, more than the limit of {PROVIDES_MAX}."
    size = len(msgspec.json.encode(provides))
    if size > PROVIDES_JSON_MAX:
        return f"That makes provides of {size} bytes, more than the limit of {PROVIDES_JSON_MAX}."
    return None


def _check_value(key: str, value: str) -> None:
    if value:  # an empty value is legal: "this is not there"
        check_text(value, f"value of {key[:100]}", PROVIDES_VALUE_MAX)


def parse_meta_data(raw: bytes) -> dict[str, Any]:
    """Read meta-data; an empty file is an empty object. Raises ArtifactError: meta-data."""
    return _parse(raw, dict[str, Any], Rule.META_DATA, "meta-data") if raw else {}


def print_document(document: msgspec.Struct | dict[str, Any]) -> bytes:
    """Print a document without white space; keys of free objects are sorted, as mender-artifact sorts them."""
    return msgspec.json.encode(document, order="deterministic" if isinstance(document, dict) else None)


def print_meta_data(raw: bytes) -> bytes:
    """Check and minify the meta-data that a person wrote.

    Raises ArtifactError: meta-data, also for an integer that a reader with floating point numbers would change.
    """
    document = parse_meta_data(raw)
    _check_exact(document)
    return print_document(document)


def _check_exact(value: object) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_exact(item)
    elif isinstance(value, int) and abs(value) > _EXACT_INTEGER_MAX:
        raise refusal(
            Rule.META_DATA,
            f"The number {value} in the meta-data is too large to stay exact everywhere: write it as a string.",
        )
