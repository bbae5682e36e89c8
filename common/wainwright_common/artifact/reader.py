"""Reads an artifact from a stream, once, forwards, in bounded memory, and believes nothing that is not verified.

The order of checks is the point. The signature is checked over the manifest's bytes before the manifest is parsed; the
header's digest before the header is expanded; every file's digest before its last bytes are given away. So nobody acts
on a header that the signer did not sign, and a consumer that was given a whole file was given the right one.

It does not decide whether the artifact fits a device (see `provides`), and does not store anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from wainwright_common.artifact.compression import BY_SUFFIX, expander
from wainwright_common.artifact.digest import Digest
from wainwright_common.artifact.documents import parse_version
from wainwright_common.artifact.header import Header, parse_header
from wainwright_common.artifact.limits import DEFAULT, MIB, Limits
from wainwright_common.artifact.manifest import HEADER_PREFIX, VERSION, Manifest, parse_manifest, sha256
from wainwright_common.artifact.names import check_payload_file
from wainwright_common.artifact.rules import Rule, refusal
from wainwright_common.artifact.signing import SIGNATURE, VerifyKey, verify
from wainwright_common.artifact.tar import Entry, TarReader
from wainwright_common.errors import ArtifactError

CHUNK: Final = 1 * MIB
_HEADER: Final = re.compile(r"header\.tar(\.gz|\.xz|\.zst)?")
_DATA: Final = re.compile(r"data/([0-9]{4})\.tar(\.gz|\.xz|\.zst)?")
_AUGMENT: Final = re.compile(r"manifest-augment|header-augment\.tar(\.gz|\.xz|\.zst)?")


class ReadableBytes(Protocol):
    """Where an artifact comes from: a file, a response, a pipe. Never sought in."""

    def read(self, n: int, /) -> bytes:
        """Return up to `n` bytes, none at the end only."""
        ...


class PayloadFile:
    """One file of the payload, on its way: `read` it before asking for the next one, or not at all."""

    def __init__(self, entry: Entry, sha256: str, read: Callable[[int], bytes]) -> None:
        self.name = entry.name
        self.size = entry.size
        self.sha256 = sha256
        self._read = read
        self._left = entry.size
        self._hash = Digest()
        self._check_when_complete()

    def read(self, n: int = CHUNK) -> bytes:
        """Return up to `n` bytes, none at the end of the file; `n` is at least 1.

        The digest is checked before the last bytes are returned. Raises ArtifactError: payload-digest, and by the rules
        of compression and tar.
        """
        if n < 1:
            raise ValueError("a payload file is read piece by piece")
        if not self._left:  # also when the archive has gone on to the next file
            return b""
        data = self._read(n)
        self._hash.update(data)
        self._left -= len(data)
        self._check_when_complete()
        return data

    def _check_when_complete(self) -> None:
        if self._left == 0 and (found := self._hash.hexdigest()) != self.sha256:
            raise refusal(
                Rule.PAYLOAD_DIGEST,
                f"The payload file {self.name} has the digest {found}, not {self.sha256} as listed.",
            )


class ArtifactReader:
    """Reads one artifact. The constructor reads and verifies everything up to the payload; `files` gives the payload.

    With `verify_keys` an unsigned artifact is refused; without them a signature is ignored. Raises ArtifactError for
    every rule of docs/artifacts.md; errors of the stream itself pass through.
    """

    header: Header

    def __init__(
        self, stream: ReadableBytes, *, verify_keys: Sequence[VerifyKey] = (), limits: Limits = DEFAULT
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._consumed = 0
        self._tar = TarReader(self._take, "The artifact", limits, alien=Rule.NOT_AN_ARTIFACT)
        self._files_begun = False
        self.payload_compression: str | None = None
        """Known from the first payload file on: `none`, `gzip`, `lzma` or `zstd`."""

        version = self._member(VERSION, limits.version)
        parse_version(version)
        raw_manifest = self._member("manifest", limits.manifest)
        entry = self._tar.next()
        signature: bytes | None = None
        if entry is not None and entry.name == SIGNATURE:
            signature = self._tar.read_whole(entry, limits.signature)
            entry = self._tar.next()
        verified_by = _verify(raw_manifest, signature, verify_keys)
        manifest = parse_manifest(raw_manifest)
        if sha256(version) != manifest.version:
            raise refusal(Rule.VERSION_DIGEST, "The member `version` is not the one that the manifest lists.")
        self._manifest = manifest
        self.header = self._read_header(entry, manifest, signed=signature is not None, verified_by=verified_by)

    @property
    def consumed(self) -> int:
        """The bytes taken from the stream so far."""
        return self._consumed

    def _take(self, n: int) -> bytes:
        data = self._stream.read(n)
        self._consumed += len(data)
        return data

    def _member(self, name: str, limit: int) -> bytes:
        entry = self._tar.next()
        if entry is None or entry.name != name:
            raise _misplaced(entry, name)
        return self._tar.read_whole(entry, limit)

    def _read_header(self, entry: Entry | None, manifest: Manifest, *, signed: bool, verified_by: str | None) -> Header:
        match = _HEADER.fullmatch(entry.name) if entry else None
        if entry is None or match is None:
            raise _misplaced(entry, HEADER_PREFIX)
        member = entry.name
        if member not in manifest.headers:
            raise refusal(Rule.HEADER_UNLISTED, f"The manifest does not list {member}.")
        if len(manifest.headers) > 1:
            raise refusal(Rule.UNDELIVERED, f"The manifest lists {len(manifest.headers)} headers; an artifact has one.")
        stored = self._tar.read_whole(entry, self._limits.header)
        if sha256(stored) != manifest.headers[member]:
            raise refusal(Rule.HEADER_DIGEST, f"{member} is not the one that the manifest lists.")
        return parse_header(
            stored,
            member,
            BY_SUFFIX[match[1] or ""],
            manifest,
            signed=signed,
            verified_by=verified_by,
            limits=self._limits,
        )

    def files(self) -> Iterator[PayloadFile]:
        """Give the payload's files one after another, then check that nothing is missing and nothing follows.

        To be called once. What a consumer leaves unread of a file is read, and its digest checked, before the next one.
        Only an iteration that ends without an error has verified the payload.
        """
        if self._files_begun:
            raise RuntimeError("the payload of an artifact can be read once")
        self._files_begun = True
        return self._files()

    def _files(self) -> Iterator[PayloadFile]:
        missing = dict(self._manifest.files)
        entry = self._tar.next()
        if entry is not None:
            yield from self._data(entry, missing)
            if extra := self._tar.next():
                raise _misplaced(extra, "nothing")
        elif self.header.payload_type is not None:
            raise refusal(Rule.UNDELIVERED, "The artifact ends before its payload, data/0000.tar.")

    def _data(self, member: Entry, missing: dict[str, str]) -> Iterator[PayloadFile]:
        match = _DATA.fullmatch(member.name)
        if match is None or match[1] != "0000":
            raise _misplaced(member, "data/0000.tar")
        self.payload_compression = BY_SUFFIX[match[2] or ""]
        read = expander(self._tar.read, self.payload_compression, member.name, self._limits)
        tar = TarReader(read, member.name, self._limits)
        total = 0
        while entry := tar.next():
            total += entry.size
            self._check_payload_entry(entry, total, missing)
            file = PayloadFile(entry, missing.pop(entry.name), tar.read)
            yield file
            while file.read():
                pass
        if missing:
            raise refusal(
                Rule.UNDELIVERED, f"The manifest lists {next(iter(missing))}, which the payload does not have."
            )

    def _check_payload_entry(self, entry: Entry, total: int, missing: dict[str, str]) -> None:
        check_payload_file(entry.name)
        if self.header.payload_type is None:
            raise refusal(Rule.EMPTY_PAYLOAD, f"The artifact has no payload type, but it has the file {entry.name}.")
        if entry.name not in self._manifest.files:
            raise refusal(Rule.PAYLOAD_UNLISTED, f"The payload has {entry.name}, which the manifest does not list.")
        if entry.name not in missing:
            raise refusal(Rule.PAYLOAD_DUPLICATE, f"The payload has {entry.name} twice.")
        if total > self._limits.payload:
            raise refusal(
                Rule.TOO_LARGE,
                f"The payload has {total} bytes up to {entry.name}, more than the limit of {self._limits.payload}.",
            )


def _verify(manifest: bytes, signature: bytes | None, keys: Sequence[VerifyKey]) -> str | None:
    if not keys:
        return None
    if signature is None:
        raise refusal(Rule.UNSIGNED, "The artifact is not signed, but only signed ones are accepted here.")
    return verify(manifest, signature, keys)


def _misplaced(entry: Entry | None, expected: str) -> ArtifactError:
    """Return the error for a member that is not the one that the format expects here."""
    if entry is None:
        return refusal(Rule.MEMBER_ORDER, f"The artifact ends where {expected} is expected.")
    name = entry.name[:100]
    data = _DATA.fullmatch(entry.name)
    if _AUGMENT.fullmatch(entry.name):
        return refusal(Rule.AUGMENTED, f"The artifact has {name}, an unsigned addition, which is not supported.")
    if data and data[1] != "0000":
        return refusal(Rule.INDEX, f"The artifact has {name}, a second payload.")
    if data or _HEADER.fullmatch(entry.name) or entry.name in {VERSION, "manifest", SIGNATURE}:
        return refusal(Rule.MEMBER_ORDER, f"The artifact has {name} where {expected} is expected.")
    return refusal(Rule.MEMBER_UNKNOWN, f"The artifact has {name!r} where {expected} is expected.")
