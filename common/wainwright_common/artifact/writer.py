"""Writes an artifact as mender-artifact does, but reproducibly: equal inputs give equal bytes.

(A signature by ECDSA is random by nature; RSA's and Ed25519's are not.)

The manifest comes first and lists digests of what follows, so every file is read twice: once for its digest, once to be
packed. A file that changes in between is noticed. Everything written is read back by the reader's own rules before a
byte leaves.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from wainwright_common.artifact.compression import SUFFIXES, compressor
from wainwright_common.artifact.documents import (
    FORMAT,
    FORMAT_VERSION,
    ArtifactDepends,
    ArtifactProvides,
    HeaderInfo,
    PayloadEntry,
    TypeInfo,
    Version,
    print_document,
    print_meta_data,
)
from wainwright_common.artifact.header import HEADER_INFO, META_DATA, TYPE_INFO, Header, parse_header
from wainwright_common.artifact.limits import MANIFEST_NAME_MAX_WRITTEN, MIB
from wainwright_common.artifact.manifest import HEADER_PREFIX, VERSION, parse_manifest, print_manifest, sha256
from wainwright_common.artifact.names import DATA_PREFIX, SCRIPT_PREFIX, check_payload_file
from wainwright_common.artifact.rules import Rule, refusal
from wainwright_common.artifact.signing import SigningKey
from wainwright_common.artifact.tar import BLOCK, END_OF_ARCHIVE, header_block, padding

_CHUNK: Final = 1 * MIB
_SCRIPT_MODE: Final = 0o755
_VERSION: Final = print_document(Version(FORMAT, FORMAT_VERSION))


class WritableBytes(Protocol):
    """Where an artifact goes: a file, a pipe, an upload. Never sought in."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""
        ...


@dataclass(frozen=True, slots=True)
class PayloadSource:
    """A file to pack: its name in the payload, and how to open it; it is opened twice."""

    name: str
    opener: Callable[[], BinaryIO]

    @classmethod
    def from_path(cls, path: Path, name: str | None = None) -> PayloadSource:
        """Pack the file at `path`, by its own name unless another is given."""
        return cls(name or path.name, lambda: path.open("rb"))

    @classmethod
    def from_bytes(cls, name: str, content: bytes) -> PayloadSource:
        """Pack `content` as the file `name`."""
        return cls(name, lambda: io.BytesIO(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSpec:
    """What to write. The defaults write the least; see `software` for what the command line adds."""

    name: str
    device_types: tuple[str, ...]
    payload_type: str | None
    """The update module; None writes an artifact without a payload (bootstrap)."""
    files: tuple[PayloadSource, ...] = ()
    scripts: Mapping[str, bytes] = field(default_factory=dict)
    group: str | None = None
    depends_names: tuple[str, ...] = ()
    depends_groups: tuple[str, ...] = ()
    provides: Mapping[str, str] | None = None
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clears: tuple[str, ...] | None = None
    meta_data: bytes = b""
    """A JSON object, as a person wrote it; it is minified."""
    compression: str = "gzip"
    """none, gzip, lzma or zstd."""


@dataclass(frozen=True, slots=True)
class _Digested:
    source: PayloadSource
    size: int
    sha256: str


def write_module_image(
    out: WritableBytes, spec: ArtifactSpec, *, key: SigningKey | None = None, scratch: Path | None = None
) -> Header:
    """Write the artifact of `spec` to `out`, signed when there is a `key`; return its header as a reader will see it.

    Memory is bounded, except for the header. A compressed payload is kept in a temporary file in the folder `scratch`
    (by default the system's) until its size is known. Raises ArtifactError when the artifact would break a rule,
    ValueError for an unknown compression, and OSError from the files.
    """
    if spec.compression not in SUFFIXES:
        raise ValueError(f"unknown compression {spec.compression!r}")
    suffix = SUFFIXES[spec.compression]
    member = HEADER_PREFIX + suffix
    _check_files(spec)
    digested = [_digest(source) for source in spec.files]
    stored_header = _compress(_header_tar(spec), spec.compression)
    manifest = print_manifest(
        [(file.source.name, file.sha256) for file in digested], (member, sha256(stored_header)), sha256(_VERSION)
    )
    header = parse_header(
        stored_header,
        member,
        spec.compression,
        parse_manifest(manifest),
        signed=key is not None,
        verified_by=key.label if key else None,
    )
    _write_member(out, VERSION, _VERSION)
    _write_member(out, "manifest", manifest)
    if key:
        _write_member(out, "manifest.sig", key.sign(manifest))
    _write_member(out, member, stored_header)
    _write_data(out, f"data/0000.tar{suffix}", digested, spec.compression, scratch)
    out.write(END_OF_ARCHIVE)
    return header


def _check_files(spec: ArtifactSpec) -> None:
    names = [source.name for source in spec.files]
    for name in names:
        check_payload_file(name)
        if len(DATA_PREFIX + name) > MANIFEST_NAME_MAX_WRITTEN:
            raise refusal(
                Rule.MANIFEST_NAME,
                f"The file name {name} has more than {MANIFEST_NAME_MAX_WRITTEN - len(DATA_PREFIX)} characters.",
            )
        if names.count(name) > 1:
            raise refusal(Rule.PAYLOAD_DUPLICATE, f"Two payload files are called {name}.")


def _digest(source: PayloadSource) -> _Digested:
    digest, size = hashlib.sha256(), 0
    with source.opener() as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return _Digested(source, size, digest.hexdigest())


def _header_tar(spec: ArtifactSpec) -> bytes:
    members = [(HEADER_INFO, _header_info(spec), 0o600)]
    members += [(SCRIPT_PREFIX + name, content, _SCRIPT_MODE) for name, content in sorted(spec.scripts.items())]
    members.append((TYPE_INFO, _type_info(spec), 0o600))
    if spec.meta_data:
        members.append((META_DATA, print_meta_data(spec.meta_data), 0o600))
    for name, _, _ in members:
        # A tar header has room for 100; a longer name would need an extension, for nothing.
        if len(name) > MANIFEST_NAME_MAX_WRITTEN or not name.isascii():
            raise refusal(
                Rule.SCRIPT_NAME, f"The script name {name.removeprefix(SCRIPT_PREFIX)!r} is too long or not ASCII."
            )
    blocks = [
        block
        for name, content, mode in members
        for block in (header_block(name, len(content), mode=mode), content, padding(len(content)))
    ]
    return b"".join([*blocks, END_OF_ARCHIVE])


def _header_info(spec: ArtifactSpec) -> bytes:
    return print_document(
        HeaderInfo(
            payloads=[PayloadEntry(spec.payload_type)],
            artifact_provides=ArtifactProvides(artifact_name=spec.name, artifact_group=spec.group),
            artifact_depends=ArtifactDepends(
                artifact_name=list(spec.depends_names) or None,
                device_type=list(spec.device_types),
                artifact_group=list(spec.depends_groups) or None,
            ),
        )
    )


def _type_info(spec: ArtifactSpec) -> bytes:
    # One value is written as a string: the Mender client (C++) reads no lists here.
    depends: dict[str, str | list[str]] = {
        key: values[0] if len(values) == 1 else list(values) for key, values in sorted(spec.depends.items())
    }
    return print_document(
        TypeInfo(
            type=spec.payload_type,
            artifact_depends=depends or None,
            artifact_provides=None if spec.provides is None else dict(sorted(spec.provides.items())),
            clears_artifact_provides=None if spec.clears is None else list(spec.clears),
        )
    )


def _compress(content: bytes, compression: str) -> bytes:
    encoder = compressor(compression)
    return encoder.compress(content) + encoder.flush()


def _write_member(out: WritableBytes, name: str, content: bytes) -> None:
    out.write(header_block(name, len(content)) + content + padding(len(content)))


def _write_data(
    out: WritableBytes, member: str, files: list[_Digested], compression: str, scratch: Path | None
) -> None:
    if compression == "none":
        size = sum(BLOCK + file.size + len(padding(file.size)) for file in files) + len(END_OF_ARCHIVE)
        out.write(header_block(member, size))
        for chunk in _data_tar(files):
            out.write(chunk)
        return
    import tempfile

    with tempfile.TemporaryFile(dir=scratch) as stored:
        encoder = compressor(compression)
        for chunk in _data_tar(files):
            stored.write(encoder.compress(chunk))
        stored.write(encoder.flush())
        size = stored.tell()
        stored.seek(0)
        out.write(header_block(member, size))
        while chunk := stored.read(_CHUNK):
            out.write(chunk)
        out.write(padding(size))


def _data_tar(files: list[_Digested]) -> Iterator[bytes]:
    for file in files:
        yield header_block(file.source.name, file.size)
        digest, left = hashlib.sha256(), file.size
        with file.source.opener() as source:
            while left and (chunk := source.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
                yield chunk
            if left or source.read(1) or digest.hexdigest() != file.sha256:
                raise refusal(Rule.PAYLOAD_DIGEST, f"The file {file.source.name} changed while it was packed.")
        yield padding(file.size)
    yield END_OF_ARCHIVE
