"""How large the parts of an artifact may be. The format itself sets no bounds; a reader of strangers' files must."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

TEXT_MAX = 256  # characters of a name, group, device type or provides key: the documented limit of the format
PROVIDES_VALUE_MAX = 4096  # characters; room for a list of checksums, and bounded as a database value
PROVIDES_MAX = 256  # keys that a device has, and that one artifact brings; usual ones are below ten
DEPENDS_MAX = 1000  # values of one key of depends, device types among them; every check-in is compared with each
PROVIDES_JSON_MAX = 128 * KIB  # bytes of all of them as JSON: half of what a check-in, which carries them, may be long
FILE_NAME_MAX = 255  # bytes: NAME_MAX of Linux file systems
MANIFEST_NAME_MAX_WRITTEN = 100  # characters: the Mender client (C++) refuses longer names, so we never write them


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds that a reader holds. All sizes in bytes."""

    version: int = 4 * KIB
    """The member is 31 bytes long; the rest is room for white space."""

    manifest: int = 1 * MIB
    """More than 6,000 payload files with names of 100 characters."""

    signature: int = 8 * KIB
    """An RSA signature of 32,768 bits is 5.5 KiB of base64; usual ones are below 1 KiB."""

    header: int = 16 * MIB
    """Of the header, stored and again expanded. It is held in memory, so that it is verified before anything reads it:
    room for state scripts that are compiled programs, and little enough for a device with 64 MB."""

    payload: int = 64 * GIB
    """Of all payload files together: the largest flash memory in common use. A device's real bound is its free
    space."""

    expansion: int = 4096
    """Expanded bytes for one compressed byte. gzip cannot exceed 1,032; only long runs of one byte in
    xz or zstd do."""

    expansion_allowance: int = 64 * MIB
    """Expanded bytes before the ratio counts: a small file of zeros is not an attack."""

    decoder_memory: int = 68 * MIB
    """What a decoder may allocate because a stream asks for it: `xz -9` needs 65 MiB."""

    zstd_window_log: int = 26
    """The same for zstd, as a power of two: 64 MiB. Only --ultra and --long levels ask for more."""

    padding: int = 1 * MIB
    """Zeros after the end of an archive: tar's largest blocking factor (2,047 blocks of 512 bytes)."""

    extension: int = 16 * KIB
    """Of one pax extended header: a path, a size and the times of a file."""


DEFAULT = Limits()
