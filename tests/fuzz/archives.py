"""Artifacts taken apart and put together again, whole or wrong: what a mutator needs to get behind the first checksum.

Taking apart is lenient, putting together makes checksums and digests right where it is asked to; neither uses the code
under test, nor Python's tarfile, which is twenty times slower.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import lzma
import zlib
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from wainwright_common.artifact import VerifyKey
from wainwright_common.artifact.compression import _zstd

zstd = _zstd()
BLOCK: Final = 512
SUFFIXES: Final = (b"", b".gz", b".xz", b".zst")
EXPANDED_MAX: Final = 256 * 1024  # bytes that are taken apart; of a bomb nothing is to be changed inside
_MEMBERS_MAX: Final = 64
_LZMA: Final = [{"id": lzma.FILTER_LZMA2, "preset": 0}]

# Fixed keys, so that a run can be repeated: signatures of this corpus are worth nothing elsewhere.
_ED25519: Final = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_P256: Final = ec.derive_private_key(0xF022, ec.SECP256R1())
_RSA_MODULUS: Final = int.from_bytes(hashlib.shake_256(b"fuzz").digest(256)) | 1 | 1 << 2047  # verifies nothing
KEYS: Final = (
    VerifyKey("rsa", "RSA", rsa.RSAPublicNumbers(65537, _RSA_MODULUS).public_key()),
    VerifyKey("p256", "ECDSA-P256", _P256.public_key()),
    VerifyKey("ed25519", "Ed25519", _ED25519.public_key()),
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a tar; `size` is what its header says where that is not the content's."""

    name: bytes
    content: bytes
    kind: bytes = b"0"
    size: bytes | None = None


def pack(members: list[Member]) -> bytes:
    """Return a tar whose checksums are right."""
    blocks = []
    for member in members:
        size = member.size if member.size is not None else b"%011o\0" % len(member.content)
        fields = member.name[:100].ljust(100, b"\0") + b"0000600\0" + b"0000000\0" * 2 + size[:12].ljust(12, b"\0")
        head = fields + b"0" * 11 + b"\0" + b" " * 8 + member.kind + bytes(100) + b"ustar\x0000"
        head = head.ljust(BLOCK, b"\0")
        head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
        blocks += [head, member.content, bytes(-len(member.content) % BLOCK)]
    return b"".join([*blocks, bytes(2 * BLOCK)])


def unpack(data: bytes) -> list[Member]:
    """Return the files of a tar, as far as they can be made out."""
    members: list[Member] = []
    at = 0
    while at + BLOCK <= len(data) and len(members) < _MEMBERS_MAX:
        head = data[at : at + BLOCK]
        digits = head[124:136].strip(b"\0 ")
        if not head.strip(b"\0") or not digits or digits.strip(b"01234567"):
            break
        size = min(int(digits, 8), len(data))
        at += BLOCK
        members.append(Member(head[:100].partition(b"\0")[0], data[at : at + size], head[156:157]))
        at += size + -size % BLOCK
    return members


def compress(content: bytes, suffix: bytes) -> bytes:
    """Return one compressed stream, made fast."""
    if suffix == b".gz":
        return gzip.compress(content, 1, mtime=0)
    if suffix == b".xz":
        return lzma.compress(content, filters=_LZMA, check=lzma.CHECK_CRC32)
    return zstd.compress(content, 1) if suffix == b".zst" else content


def expand(content: bytes, suffix: bytes) -> bytes:
    """Return what a stream holds, as far as it goes, and not more than EXPANDED_MAX."""
    try:
        if suffix == b".gz":
            return zlib.decompressobj(31).decompress(content, EXPANDED_MAX)
        if suffix == b".xz":
            return lzma.LZMADecompressor(memlimit=1 << 25).decompress(content, EXPANDED_MAX)
        return zstd.ZstdDecompressor().decompress(content, EXPANDED_MAX) if suffix == b".zst" else content
    except (zlib.error, lzma.LZMAError, zstd.ZstdError):
        return b""


def suffix_of(name: bytes) -> bytes:
    """Return the suffix of a member's name."""
    end = name[name.rfind(b".") :] if b"." in name else b""
    return end if end in SUFFIXES else b""


def find(members: list[Member], prefix: bytes) -> int | None:
    """Return the place of the first member whose name begins so."""
    return next((i for i, member in enumerate(members) if member.name.startswith(prefix)), None)


def with_content(members: list[Member], at: int, content: bytes) -> list[Member]:
    """Return the members with another content in one place."""
    return [*members[:at], replace(members[at], content=content), *members[at + 1 :]]


def manifest_of(members: list[Member]) -> bytes:
    """Return the manifest that fits an artifact's members."""
    lines = []
    for member in members:
        if member.name.startswith(b"data/0000.tar"):
            files = unpack(expand(member.content, suffix_of(member.name)))
            lines += [(b"data/0000/" + file.name, file.content) for file in files if file.kind != b"x"]
        elif member.name.startswith(b"header.tar") or member.name == b"version":
            lines.append((member.name, member.content))
    return b"".join(hashlib.sha256(content).hexdigest().encode() + b"  " + name + b"\n" for name, content in lines)


def repaired(members: list[Member]) -> list[Member]:
    """Return the members with the manifest that fits them."""
    at = find(members, b"manifest")
    return members if at is None else with_content(members, at, manifest_of(members))


def signed(members: list[Member], key: int) -> list[Member]:
    """Return the members with a signature of their manifest: by Ed25519 (0), or P-256 as DER (1)."""
    at = find(members, b"manifest")
    if at is None:
        return members
    manifest = members[at].content
    raw = _ED25519.sign(manifest) if key == 0 else _P256.sign(manifest, ec.ECDSA(hashes.SHA256()))
    rest = [member for member in members[at + 1 :] if member.name != b"manifest.sig"]
    return [*members[: at + 1], Member(b"manifest.sig", base64.b64encode(raw)), *rest]
