"""The rules that an artifact must keep: one stable word each, what it means, and what to do about it.

The words are part of the interface: they travel in reports, are counted in metrics and are looked up in
docs/artifacts.md.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from wainwright_common.errors import ArtifactError
from wainwright_common.texts import clipped, printable

_TEXT_MAX: Final = 600  # characters: several names of 100, and the words around them


class Rule(StrEnum):
    """The word of a broken rule: `ArtifactError.rule`."""

    NOT_AN_ARTIFACT = "not-an-artifact"
    TRUNCATED = "truncated"
    TAR_HEADER = "tar-header"
    TAR_ENTRY = "tar-entry"
    TRAILING_DATA = "trailing-data"
    MEMBER_ORDER = "member-order"
    MEMBER_UNKNOWN = "member-unknown"
    INDEX = "index"
    AUGMENTED = "augmented"
    TOO_LARGE = "too-large"

    VERSION_SYNTAX = "version-syntax"
    VERSION_UNSUPPORTED = "version-unsupported"
    VERSION_UNLISTED = "version-unlisted"
    VERSION_DIGEST = "version-digest"

    MANIFEST_SYNTAX = "manifest-syntax"
    MANIFEST_NAME = "manifest-name"
    MANIFEST_DUPLICATE = "manifest-duplicate"

    UNSIGNED = "unsigned"
    SIGNATURE_ENCODING = "signature-encoding"
    SIGNATURE_LENGTH = "signature-length"
    SIGNATURE_MISMATCH = "signature-mismatch"

    HEADER_UNLISTED = "header-unlisted"
    HEADER_DIGEST = "header-digest"
    HEADER_ORDER = "header-order"
    HEADER_INFO = "header-info"
    PAYLOAD_COUNT = "payload-count"
    ARTIFACT_NAME = "artifact-name"
    DEVICE_TYPE = "device-type"
    TEXT = "text"
    TYPE_INFO = "type-info"
    TYPE_MISMATCH = "type-mismatch"
    PAYLOAD_TYPE = "payload-type"
    PROVIDES_CONFLICT = "provides-conflict"
    META_DATA = "meta-data"
    SCRIPT_NAME = "script-name"
    SCRIPT_DUPLICATE = "script-duplicate"
    EMPTY_PAYLOAD = "empty-payload"

    COMPRESSION = "compression"
    COMPRESSION_TRAILING = "compression-trailing"
    EXPANSION = "expansion"

    PAYLOAD_NAME = "payload-name"
    PAYLOAD_UNLISTED = "payload-unlisted"
    PAYLOAD_DUPLICATE = "payload-duplicate"
    PAYLOAD_DIGEST = "payload-digest"
    UNDELIVERED = "undelivered"


class Meaning(NamedTuple):
    """What a rule demands, and what a person does when it is broken."""

    demand: str
    remedy: str


_FETCH = "Fetch the file again; if that does not help, build the artifact again."
_BUILD = "Build the artifact again, with this release's tool or mender-artifact."
_SIGN = "Sign the artifact with a key that is trusted here, or have its public key added."
_SPLIT = "Build a smaller artifact; the limits are in docs/artifacts.md."

MEANINGS = MappingProxyType(
    {
        Rule.NOT_AN_ARTIFACT: Meaning("The file begins with a tar header.", "Choose a .mender file."),
        Rule.TRUNCATED: Meaning("Every archive and compressed stream is complete to its end mark.", _FETCH),
        Rule.TAR_HEADER: Meaning("Every tar header is well formed and its checksum is right.", _FETCH),
        Rule.TAR_ENTRY: Meaning("An archive holds regular files only: no links, folders or devices.", _BUILD),
        Rule.TRAILING_DATA: Meaning("Nothing but a bounded number of zeros follows the end of an archive.", _FETCH),
        Rule.MEMBER_ORDER: Meaning(
            "The members come in the order version, manifest, manifest.sig, header, data, each once.", _BUILD
        ),
        Rule.MEMBER_UNKNOWN: Meaning("Only members of the format are present.", _BUILD),
        Rule.INDEX: Meaning("There is one payload, number 0000.", "Build one artifact for each payload."),
        Rule.AUGMENTED: Meaning(
            "There is no unsigned addition (manifest-augment, header-augment).",
            "Build the artifact without --augment options.",
        ),
        Rule.TOO_LARGE: Meaning("No part is larger than its limit.", _SPLIT),
        Rule.VERSION_SYNTAX: Meaning("`version` is a JSON object of exactly format and version.", _BUILD),
        Rule.VERSION_UNSUPPORTED: Meaning(
            "The format is mender, version 3.", "Build the artifact as version 3 (mender-artifact: -v 3)."
        ),
        Rule.VERSION_UNLISTED: Meaning("The manifest lists `version`.", _BUILD),
        Rule.VERSION_DIGEST: Meaning("`version` has the digest that the manifest lists.", _FETCH),
        Rule.MANIFEST_SYNTAX: Meaning(
            "Each manifest line is 64 lower-case hex digits, two spaces, a name and a newline.", _BUILD
        ),
        Rule.MANIFEST_NAME: Meaning("The manifest names members of the format only, by bounded names.", _BUILD),
        Rule.MANIFEST_DUPLICATE: Meaning("The manifest lists each name once.", _BUILD),
        Rule.UNSIGNED: Meaning("Where keys are configured, the artifact is signed.", _SIGN),
        Rule.SIGNATURE_ENCODING: Meaning("manifest.sig is standard base64, and not empty.", _SIGN),
        Rule.SIGNATURE_LENGTH: Meaning("The signature has a length that one of the keys makes.", _SIGN),
        Rule.SIGNATURE_MISMATCH: Meaning("One of the configured keys verifies the signature.", _SIGN),
        Rule.HEADER_UNLISTED: Meaning("The manifest lists the header under the name that it is stored by.", _BUILD),
        Rule.HEADER_DIGEST: Meaning("The stored header has the digest that the manifest lists.", _FETCH),
        Rule.HEADER_ORDER: Meaning(
            "The header holds header-info, then scripts, then type-info, then at most one meta-data.", _BUILD
        ),
        Rule.HEADER_INFO: Meaning("header-info is a JSON object of the right shape.", _BUILD),
        Rule.PAYLOAD_COUNT: Meaning("header-info lists exactly one payload.", "Build one artifact for each payload."),
        Rule.ARTIFACT_NAME: Meaning("header-info gives the artifact a name.", _BUILD),
        Rule.DEVICE_TYPE: Meaning("header-info lists at least one device type.", _BUILD),
        Rule.TEXT: Meaning("Names, groups, device types and provides are printable and of bounded length.", _BUILD),
        Rule.TYPE_INFO: Meaning("type-info is present and is a JSON object of the right shape.", _BUILD),
        Rule.TYPE_MISMATCH: Meaning("type-info and header-info agree about the type of the payload.", _BUILD),
        Rule.PAYLOAD_TYPE: Meaning("A payload type is a plain name: no slash, no leading dot or dash.", _BUILD),
        Rule.PROVIDES_CONFLICT: Meaning(
            "type-info does not repeat artifact_name, artifact_group or device_type.", _BUILD
        ),
        Rule.META_DATA: Meaning("meta-data is a JSON object, or an empty file.", _BUILD),
        Rule.SCRIPT_NAME: Meaning("A state script has the name of a state that artifacts may script.", _BUILD),
        Rule.SCRIPT_DUPLICATE: Meaning("Each state script is there once.", _BUILD),
        Rule.EMPTY_PAYLOAD: Meaning("An artifact without a payload type has no meta-data and no files.", _BUILD),
        Rule.COMPRESSION: Meaning("A compressed member is what its suffix says, and within the memory limit.", _FETCH),
        Rule.COMPRESSION_TRAILING: Meaning("Nothing follows the end of a compressed stream.", _FETCH),
        Rule.EXPANSION: Meaning("Compressed data does not expand beyond the ratio limit.", _SPLIT),
        Rule.PAYLOAD_NAME: Meaning("A payload file is named by letters, digits and . _ , - only.", _BUILD),
        Rule.PAYLOAD_UNLISTED: Meaning("The manifest lists every payload file.", _BUILD),
        Rule.PAYLOAD_DUPLICATE: Meaning("Each payload file is delivered once.", _BUILD),
        Rule.PAYLOAD_DIGEST: Meaning("Each payload file has the digest that the manifest lists.", _FETCH),
        Rule.UNDELIVERED: Meaning("All that the manifest lists is delivered.", _FETCH),
    }
)


def refusal(rule: Rule, text: str) -> ArtifactError:
    """Return the error that refuses an artifact by `rule`: what was found, and the rule's remedy.

    What was found may quote the artifact: it is made one printable line of a bounded length.
    """
    return ArtifactError(rule, f"{printable(clipped(text, _TEXT_MAX, _TEXT_MAX // 2))} {MEANINGS[rule].remedy}")
