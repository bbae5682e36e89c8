"""Writing an image to a slot: whole, only where it differs, and never what does not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wainwright_agent import blocks
from wainwright_agent.blocks import BLOCK, BlocksError, Written, write_image

IMAGE_BYTES = 5 * BLOCK + 123


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "image"
    file.write_bytes(os.urandom(IMAGE_BYTES))
    return file


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    file = tmp_path / "slot"
    file.write_bytes(b"\xaa" * (8 * BLOCK))
    return file


def test_an_image_is_written_whole_and_what_is_behind_it_stays(image: Path, slot: Path) -> None:
    assert write_image(image, slot, IMAGE_BYTES) == Written(written=IMAGE_BYTES, equal=0)

    assert slot.read_bytes() == image.read_bytes() + b"\xaa" * (8 * BLOCK - IMAGE_BYTES)


def test_only_the_blocks_that_differ_are_written(image: Path, slot: Path) -> None:
    write_image(image, slot, IMAGE_BYTES)
    changed = bytearray(image.read_bytes())
    changed[2 * BLOCK] ^= 1
    changed[-1] ^= 1
    image.write_bytes(changed)

    assert write_image(image, slot, IMAGE_BYTES).written == BLOCK + 123
    assert slot.read_bytes()[:IMAGE_BYTES] == changed
    assert write_image(image, slot, IMAGE_BYTES) == Written(written=0, equal=IMAGE_BYTES)


def test_an_image_of_exactly_the_size_of_the_slot_fits(image: Path, tmp_path: Path) -> None:
    slot = tmp_path / "tight"
    slot.write_bytes(bytes(IMAGE_BYTES))

    write_image(image, slot, IMAGE_BYTES)

    assert slot.read_bytes() == image.read_bytes()


@pytest.mark.parametrize("size", [0, 8 * BLOCK + 1])
def test_an_image_that_does_not_fit_is_refused_before_the_stream_is_opened(
    tmp_path: Path, slot: Path, size: int
) -> None:
    with pytest.raises(BlocksError, match=rf"The image has {size} bytes, the slot .* has {8 * BLOCK}"):
        write_image(tmp_path / "nothing", slot, size)

    assert slot.read_bytes() == b"\xaa" * (8 * BLOCK)


@pytest.mark.parametrize(("size", "words"), [(IMAGE_BYTES + 1, "ended after"), (IMAGE_BYTES - 1, "more than")])
def test_a_stream_of_another_size_than_was_announced_fails(image: Path, slot: Path, size: int, words: str) -> None:
    with pytest.raises(BlocksError, match=words):
        write_image(image, slot, size)


def test_a_slot_is_never_made(image: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_image(image, tmp_path / "dev-typo", IMAGE_BYTES)
    with pytest.raises(BlocksError, match="neither a block device nor a file"):
        write_image(image, tmp_path, IMAGE_BYTES)


def test_memory_does_not_grow_with_the_image(tmp_path: Path, slot: Path) -> None:
    size = 64 * 1024 * 1024
    image = tmp_path / "large"
    image.touch()
    os.truncate(image, size)
    os.truncate(slot, size)
    measure = (
        "import contextlib, runpy, sys\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    runpy.run_path({blocks.__file__!r}, run_name='__main__')\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )

    result = subprocess.run(
        [sys.executable, "-I", "-c", measure, str(image), str(slot), str(size)],
        check=True,
        capture_output=True,
        text=True,
    )

    assert result.stdout.startswith(f"{8 * BLOCK} bytes written")
    assert int(result.stdout.split()[-1]) < 24 * 1024  # kB; Python itself has about 12 MB


def test_the_program_says_what_is_wrong_in_one_line(tmp_path: Path, image: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-I", blocks.__file__, image, tmp_path / "absent", "5"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "No such file" in result.stderr
