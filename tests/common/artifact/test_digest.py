"""The digest of a long stream, computed in a thread, is the digest."""

from __future__ import annotations

import gc
import hashlib
import random
import threading

import pytest

from tests.support.wait import wait_until
from wainwright_common.artifact.digest import Digest

MIB = 1024 * 1024


def threads() -> int:
    return sum(thread.name == "digest" for thread in threading.enumerate())


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 9 * MIB + 17], ids=str)
@pytest.mark.parametrize("piece", [4096 - 1, 256 * 1024, MIB], ids=str)
def test_it_is_the_digest_of_all_pieces_in_their_order(size: int, piece: int) -> None:
    content = random.Random(size).randbytes(size)
    digest = Digest()

    for at in range(0, size, piece):
        digest.update(content[at : at + piece])

    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


def test_it_goes_on_after_it_was_asked() -> None:
    digest, content = Digest(), random.Random(0).randbytes(3 * MIB)
    digest.update(content)
    digest.hexdigest()

    digest.update(content)

    assert digest.hexdigest() == hashlib.sha256(content + content).hexdigest()


def test_one_that_is_dropped_in_the_middle_leaves_no_thread() -> None:
    before, digest = threads(), Digest()
    for _ in range(4):
        digest.update(bytes(MIB))

    del digest
    gc.collect()

    wait_until(lambda: threads() == before, what="the thread to end")
