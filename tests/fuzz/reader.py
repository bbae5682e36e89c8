"""The target `reader`: an artifact, read twice: whole without keys, and in small pieces with keys.

What must hold: only ArtifactError comes out, with a rule that is documented and a text that a log can take; both ways
agree, but for the signature; what is accepted has the digests that its header lists, can be described, and reads back
as the same when it is written anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass, field, replace
from typing import Final

from tests.fuzz.archives import KEYS
from tests.fuzz.mutations import mutate
from tests.fuzz.samples import seeds
from tests.fuzz.target import BrokenOracleError, Target, check_text
from wainwright_common.artifact import (
    ArtifactError,
    ArtifactReader,
    ArtifactSpec,
    Header,
    PayloadSource,
    Rule,
    VerifyKey,
    describe,
    write_module_image,
)

SIZE_MAX: Final = 64 * 1024  # bytes; a larger one has more of the same, but for its payload
KEPT_MAX: Final = 1 << 20  # bytes of payload that are written anew
PIECE: Final = 1 << 20  # bytes, as agents and controllers read; each is handed to another thread
_VARYING: Final = re.compile(r"[0-9a-f]{64}|[0-9]+|'[^']*'")
_OF_SIGNATURES: Final = frozenset(
    {Rule.UNSIGNED, Rule.SIGNATURE_ENCODING, Rule.SIGNATURE_LENGTH, Rule.SIGNATURE_MISMATCH}
)
_RULES: Final = frozenset(map(str, Rule))
_NAMES_WRITTEN: Final = frozenset({Rule.MANIFEST_NAME, Rule.SCRIPT_NAME, Rule.META_DATA})
"""Rules that hold for what is written only: the Mender client has them."""


@dataclass(slots=True)
class _Read:
    """What came of reading an artifact: a header and files, or the broken rule."""

    header: Header | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    rule: str = ""
    said: str = ""


class _Pieces:
    """A stream that gives what a slow connection would: a little at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        self._stream = io.BytesIO(data)
        self._most = most

    def read(self, n: int, /) -> bytes:
        return self._stream.read(min(n, self._most))


def check(data: bytes) -> str:
    """Read an artifact both ways; return what came of it."""
    plain = _read(io.BytesIO(data), ())
    verified = _read(_Pieces(data, 97 + len(data) % 1400), KEYS)
    if verified.header is not None:
        if plain.header is None or replace(plain.header, verified_by=verified.header.verified_by) != verified.header:
            raise BrokenOracleError(f"accepted with keys only: {verified.header} and {plain}")
        if not verified.header.signed or verified.header.verified_by is None:
            raise BrokenOracleError("accepted without a signature, although there are keys")
    elif verified.rule != plain.rule and verified.rule not in _OF_SIGNATURES:
        raise BrokenOracleError(f"in pieces it is {verified.rule}, whole {plain.rule or 'accepted'}")
    if plain.header is not None:
        _check_accepted(plain.header, plain)
    return f"{plain.rule or 'accepted'} {verified.rule or 'verified'} {_VARYING.sub('', plain.said)}"


def _read(stream: io.BytesIO | _Pieces, keys: tuple[VerifyKey, ...]) -> _Read:
    found = _Read()
    try:
        reader = ArtifactReader(stream, verify_keys=keys)
        listed = {file.name: file.sha256 for file in reader.header.files}
        for file in reader.files():
            digest = hashlib.sha256()
            pieces = []
            while piece := file.read(PIECE):
                digest.update(piece)
                found.size += len(piece)
                if found.size <= KEPT_MAX:
                    pieces.append(piece)
            if digest.hexdigest() != listed[file.name]:
                raise BrokenOracleError(f"{file.name} is not what the manifest lists")
            found.files[file.name] = b"".join(pieces)
        found.header = reader.header
    except ArtifactError as error:
        found.rule, found.said = error.rule, str(error)
        check_text(found.said)
        if error.rule not in _RULES:
            raise BrokenOracleError(f"unknown rule {error.rule}") from error
    return found


def _check_accepted(header: Header, found: _Read) -> None:
    json.dumps(describe(header))
    if set(found.files) != {file.name for file in header.files}:
        raise BrokenOracleError(f"the header lists {header.files}, delivered were {sorted(found.files)}")
    if found.size > KEPT_MAX:
        return
    out = io.BytesIO()
    try:
        write_module_image(out, _spec(header, found.files))
    except ArtifactError as error:
        if error.rule not in _NAMES_WRITTEN:
            raise BrokenOracleError(f"accepted, but cannot be written: {error}") from error
        return
    again = _read(io.BytesIO(out.getvalue()), ())
    if again.header is None or _meaning(again.header) != _meaning(header) or again.files != found.files:
        raise BrokenOracleError(f"{header} reads back as {again.header} ({again.said})")


def _spec(header: Header, files: dict[str, bytes]) -> ArtifactSpec:
    return ArtifactSpec(
        name=header.name,
        device_types=header.device_types,
        payload_type=header.payload_type,
        files=tuple(PayloadSource.from_bytes(name, files[name]) for name in files),
        scripts=header.scripts,
        group=header.group,
        depends_names=header.depends_names,
        depends_groups=header.depends_groups,
        provides=header.provides if header.has_provides else None,
        depends=header.depends,
        clears=header.clears,
        meta_data=header.meta_data,
        compression="none",
    )


def _meaning(header: Header) -> object:
    described = {key: value for key, value in describe(header).items() if key not in {"compression", "signed"}}
    described["files"] = sorted(described["files"], key=lambda file: str(file["name"]))
    return described, header.has_provides, header.scripts


TARGET: Final = Target("reader", check, mutate, seeds, SIZE_MAX)
