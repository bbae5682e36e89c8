"""The manifest: which bytes the artifact consists of. It is what a signature signs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wainwright_common.artifact.limits import FILE_NAME_MAX
from wainwright_common.artifact.names import DATA_PREFIX, check_payload_file
from wainwright_common.artifact.rules import Rule, refusal

VERSION: Final = "version"
HEADER_PREFIX: Final = "header.tar"

_LINE: Final = re.compile(r"([0-9a-f]{64})  ([!-~]+)")  # no name of the format has a space
_NAME_MAX: Final = len(DATA_PREFIX) + FILE_NAME_MAX
_HEADER: Final = re.compile(r"header\.tar(\.(gz|xz|zst))?")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The digests (64 hex digits of SHA-256) that an artifact promises."""

    version: str
    headers: Mapping[str, str]
    """By the name of the stored member; a reader accepts one only."""
    files: Mapping[str, str]
    """By file name without its folder, in the order of the manifest. Digests are of the files, not of what is
    stored."""


def parse_manifest(raw: bytes) -> Manifest:
    """Read a manifest.

    Raises ArtifactError: manifest-syntax, manifest-name, manifest-duplicate, payload-name, index, version-unlisted.
    """
    listed: dict[str, str] = {}
    for number, line in enumerate(_lines(raw), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise refusal(Rule.MANIFEST_SYNTAX, f"Line {number} of the manifest is {line[:120]!r}.")
        digest, name = match.groups()
        if name in listed:
            raise refusal(Rule.MANIFEST_DUPLICATE, f"The manifest lists {name[:100]!r} twice, again in line {number}.")
        _check_name(name, number)
        listed[name] = digest
    if VERSION not in listed:
        raise refusal(Rule.VERSION_UNLISTED, "The manifest does not list the member `version`.")
    return Manifest(
        version=listed[VERSION],
        headers={name: digest for name, digest in listed.items() if _HEADER.fullmatch(name)},
        files={name[len(DATA_PREFIX) :]: digest for name, digest in listed.items() if name.startswith(DATA_PREFIX)},
    )


def _lines(raw: bytes) -> list[str]:
    # Split at newlines only: splitlines() would also split at characters that belong to a name.
    if not raw.endswith(b"\n"):
        raise refusal(Rule.MANIFEST_SYNTAX, "The manifest does not end with a newline.")
    return raw[:-1].decode("ascii", errors="backslashreplace").split("\n")


def _check_name(name: str, number: int) -> None:
    if len(name) > _NAME_MAX:
        raise refusal(
            Rule.MANIFEST_NAME,
            f"Line {number} of the manifest has a name of {len(name)} characters; {_NAME_MAX} are allowed.",
        )
    if name == VERSION or _HEADER.fullmatch(name):
        return
    if name.startswith(DATA_PREFIX):
        check_payload_file(name.removeprefix(DATA_PREFIX))
    elif re.match(r"data/[0-9]{4}/", name):
        raise refusal(Rule.INDEX, f"Line {number} of the manifest lists {name[:100]!r}, of a second payload.")
    else:
        raise refusal(Rule.MANIFEST_NAME, f"Line {number} of the manifest lists {name[:100]!r}, which no artifact has.")


def print_manifest(files: Iterable[tuple[str, str]], header: tuple[str, str], version: str) -> bytes:
    """Print a manifest in the order in which mender-artifact prints: payload files, header, version.

    `files` and `header` are names with digests, `version` is a digest.
    """
    lines = [(DATA_PREFIX + name, digest) for name, digest in files]
    lines += [header, (VERSION, version)]
    return "".join(f"{digest}  {name}\n" for name, digest in lines).encode("ascii")


def sha256(raw: bytes) -> str:
    """Return the digest of `raw` as a manifest writes it."""
    return hashlib.sha256(raw).hexdigest()
