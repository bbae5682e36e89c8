"""Builds artifacts part by part with the standard library's tarfile, independent of the code under test.

A `Recipe` is a valid artifact; `dataclasses.replace` makes the variant that a test needs, and what is not replaced
(manifest, signature, digests) follows from the rest.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from wainwright_common.artifact.signing import VerifyKey

Member = tuple[str, bytes]
SUFFIXES = {"none": "", "gzip": ".gz", "lzma": ".xz", "zstd": ".zst"}
VERSION = b'{"format":"mender","version":3}'
SCRIPT = b"#!/bin/sh\nexit 0\n"


@cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    """The key that signs recipes; another one each time the tests run."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem() -> bytes:
    return signing_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem() -> bytes:
    """What a reader is configured with to accept signed recipes."""
    return public_pem_of(signing_key())


def public_pem_of(key: Any) -> bytes:  # noqa: ANN401  any of the library's private keys
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def verify_keys() -> list[VerifyKey]:
    return [VerifyKey("test.pem", "ECDSA-P256", signing_key().public_key())]


def sign_der(manifest: bytes) -> bytes:
    return signing_key().sign(manifest, ec.ECDSA(hashes.SHA256()))


def sign_raw(manifest: bytes) -> bytes:
    r, s = decode_dss_signature(sign_der(manifest))
    return r.to_bytes(32) + s.to_bytes(32)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tar(members: Sequence[Member | tarfile.TarInfo], format_: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of regular files, or of ready entries without content; ends with exactly two zero blocks."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
        end = archive.offset
    return out.getvalue()[:end] + bytes(1024)  # tarfile pads to 10 KiB


def compress(content: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(content, mtime=0)
    if compression == "lzma":
        return lzma.compress(content)
    if compression == "zstd":
        from backports import zstd

        return zstd.compress(content)
    return content


def header_info(**changes: Any) -> bytes:  # noqa: ANN401  JSON is anything
    document: dict[str, Any] = {
        "payloads": [{"type": "single-file"}],
        "artifact_provides": {"artifact_name": "release-2"},
        "artifact_depends": {"device_type": ["press"]},
    }
    return json.dumps(document | changes).encode()


def type_info(**changes: Any) -> bytes:  # noqa: ANN401  JSON is anything
    document: dict[str, Any] = {"type": "single-file", "artifact_provides": {"rootfs-image.single-file.version": "2"}}
    return json.dumps(document | changes).encode()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A valid artifact of one small file; None means: as the other parts demand."""

    version: bytes = VERSION
    header_info: bytes = header_info()
    scripts: tuple[Member, ...] = (("scripts/ArtifactInstall_Enter_00_stop", SCRIPT),)
    type_info: bytes | None = type_info()
    meta_data: bytes | None = b'{"mode":"0644"}'
    files: tuple[Member, ...] = (("app.bin", b"the application\n" * 100),)
    """In the data tar."""
    promised: tuple[Member, ...] | None = None
    """In the manifest; by default `files`."""
    compression: str = "gzip"
    data_compression: str | None = None
    signed: bool = False
    manifest_bytes: bytes | None = None
    signature: bytes | None = None
    header_bytes: bytes | None = None
    """The stored header; the manifest lists the one that the other parts make."""
    data_bytes: bytes | None = None
    """The data tar before compression."""

    def header_members(self) -> list[Member]:
        members = [("header-info", self.header_info), *self.scripts]
        if self.type_info is not None:
            members.append(("headers/0000/type-info", self.type_info))
        if self.meta_data is not None:
            members.append(("headers/0000/meta-data", self.meta_data))
        return members

    def header(self) -> bytes:
        return compress(tar(self.header_members()), self.compression)

    @property
    def header_name(self) -> str:
        return "header.tar" + SUFFIXES[self.compression]

    def manifest(self) -> bytes:
        if self.manifest_bytes is not None:
            return self.manifest_bytes
        return self.lines(header=self.header())

    def lines(self, header: bytes) -> bytes:
        """The manifest of this recipe with another stored header."""
        promised = self.files if self.promised is None else self.promised
        listed = [(f"data/0000/{name}", digest(content)) for name, content in promised]
        listed += [(self.header_name, digest(header)), ("version", digest(self.version))]
        return "".join(f"{sha}  {name}\n" for name, sha in listed).encode()

    def members(self) -> list[Member]:
        manifest = self.manifest()
        members = [("version", self.version), ("manifest", manifest)]
        if self.signature is not None:
            members.append(("manifest.sig", self.signature))
        elif self.signed:
            members.append(("manifest.sig", base64.b64encode(sign_raw(manifest))))
        compression = self.data_compression or self.compression
        data = tar(self.files) if self.data_bytes is None else self.data_bytes
        members.append((self.header_name, self.header() if self.header_bytes is None else self.header_bytes))
        members.append(("data/0000.tar" + SUFFIXES[compression], compress(data, compression)))
        return members

    def blob(self) -> bytes:
        return tar(self.members())
