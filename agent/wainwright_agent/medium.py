"""Errors of the medium on which the data folder is: which of them mean damage, and what a person can do about each."""

from __future__ import annotations

import errno
from collections.abc import Mapping

DAMAGE = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ})
"""What reading a block gives that is lost: of the block layer, and of filesystems with checksums (ext4, XFS, btrfs)."""

FREE_SPACE = "Free space there."
FAILING = "The medium is failing, or mounted read-only: see dmesg."

# fmt: off
REMEDIES: Mapping[int, str] = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EROFS:  FAILING,
} | dict.fromkeys(DAMAGE, FAILING)
# fmt: on


def remedy(error: OSError) -> str:
    """Return what to do about an error of reading or writing there, as a sentence."""
    return REMEDIES.get(error.errno or 0, "Check the folder, its owner and its medium.")
