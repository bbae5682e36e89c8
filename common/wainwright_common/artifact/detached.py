"""Signatures for artifacts that are there already, also by keys that never leave an HSM or a KMS.

    export   the bytes to sign are those of the manifest, as they are stored
    attach   the signature becomes manifest.sig; one that was there is replaced, every other byte stays

What comes from outside is a signature in any usual form: raw or base64, ECDSA as r and s or as DER. It is stored in the
one that the format has. The bytes around the signature are copied, not understood: read the result with ArtifactReader.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import BinaryIO, Final

from wainwright_common.artifact.limits import DEFAULT, MIB, Limits
from wainwright_common.artifact.manifest import VERSION
from wainwright_common.artifact.rules import Rule, refusal
from wainwright_common.artifact.signing import SIGNATURE, VerifyKey, form_by_shape
from wainwright_common.artifact.tar import TarReader, header_block, padding

_CHUNK: Final = 1 * MIB
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\s]+")


@dataclass(frozen=True, slots=True)
class Signable:
    """What an artifact's signature signs, and where it is, or would be: offsets of bytes in the file."""

    manifest: bytes
    begins: int
    ends: int
    """The same as `begins` when there is no signature."""

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature, valid or not."""
        return self.ends > self.begins


def find_manifest(file: BinaryIO, limits: Limits = DEFAULT) -> Signable:
    """Return what is to be signed of the artifact in a file that can be sought in.

    Raises ArtifactError by the rules of tar, and too-large, member-order.
    """
    file.seek(0)
    tar = TarReader(file.read, "The artifact", limits, alien=Rule.NOT_AN_ARTIFACT)
    contents = {}
    for name, limit in ((VERSION, limits.version), ("manifest", limits.manifest)):
        entry = tar.next()
        if entry is None or entry.name != name:
            raise refusal(Rule.MEMBER_ORDER, f"The artifact does not begin with {VERSION} and manifest.")
        contents[name] = tar.read_whole(entry, limit)
    begins = tar.skip_padding()
    entry = tar.next()
    if entry is None or entry.name != SIGNATURE:
        return Signable(contents["manifest"], begins, begins)
    tar.read_whole(entry, limits.signature)
    return Signable(contents["manifest"], begins, tar.skip_padding())


def signature_of(given: bytes, manifest: bytes, key: VerifyKey | None) -> bytes:
    """Return the content of manifest.sig for a signature as an HSM or a KMS gives it.

    With a `key` it must be that key's over `manifest`; without one only its shape is looked at. Raises ArtifactError:
    signature-encoding, signature-length, signature-mismatch.
    """
    signature = _decoded(given)
    if key is None:
        stored = form_by_shape(signature)
        if stored is None:
            text = f"A signature of {len(signature)} bytes is none of RSA, ECDSA on P-256 or Ed25519."
            raise refusal(Rule.SIGNATURE_LENGTH, text)
    else:
        stored = key.stored_form(manifest, signature)
        if stored is None:
            text = f"The signature is not one by {key.label} ({key.algorithm}) over this artifact's manifest."
            raise refusal(Rule.SIGNATURE_MISMATCH, text)
    return base64.b64encode(stored)


def _decoded(given: bytes) -> bytes:
    """Return the bytes of a signature that may be base64, as a KMS prints it.

    No mistake to be feared: that the bytes of a signature are all letters and digits has a chance of 10⁻³⁷.
    """
    if not _BASE64.fullmatch(given):
        return given
    try:
        return base64.b64decode(b"".join(given.split()), validate=True)
    except binascii.Error as error:
        raise refusal(Rule.SIGNATURE_ENCODING, f"The signature is neither bytes nor base64: {error}.") from error


def write_signed(file: BinaryIO, out: BinaryIO, place: Signable, signature: bytes) -> None:
    """Copy the artifact in `file` to `out` with `signature` as its manifest.sig; `place` is from `find_manifest`."""
    file.seek(0)
    _copy(file, out, place.begins)
    out.write(header_block(SIGNATURE, len(signature)) + signature + padding(len(signature)))
    file.seek(place.ends)
    while chunk := file.read(_CHUNK):
        out.write(chunk)


def _copy(file: BinaryIO, out: BinaryIO, size: int) -> None:
    while size and (chunk := file.read(min(_CHUNK, size))):
        out.write(chunk)
        size -= len(chunk)
