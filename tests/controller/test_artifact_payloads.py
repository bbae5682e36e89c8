"""`wainwright artifact create rootfs-image|single-file|directory` makes what the shipped update modules expect."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.common.artifact.conftest import KeyFiles, keys, mender_artifact
from wainwright_common.artifact import ArtifactReader, Header, load_verify_keys
from wainwright_controller.cli.main import wainwright

__all__ = ["keys"]  # pytest finds the fixture by its name here

REQUIRED = ["-n", "release-2", "-t", "press"]
KINDS = {
    "rootfs-image": ["-f", "root.ext4"],
    "single-file": ["app.conf", "--dest-dir", "/etc/app"],
    "directory": ["build", "--dest-dir", "/opt/app"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, a file and a directory."""
    (tmp_path / "root.ext4").write_bytes(os.urandom(100_000))
    (tmp_path / "app.conf").write_text("speed = 7\n")
    (tmp_path / "app.conf").chmod(0o640)
    build = tmp_path / "build"
    (build / "bin").mkdir(parents=True)
    (build / "bin" / "panel").write_text("#!/bin/sh\n")
    (build / "bin" / "panel").chmod(0o755)
    (build / ("a-long-name-" * 15)).write_text("long")
    (build / "current").symlink_to("bin/panel")
    os.utime(build / "bin" / "panel", (1_700_000_000, 1_700_000_000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return tmp_path


def run(kind: str, *arguments: str) -> Result:
    return CliRunner().invoke(wainwright, ["artifact", "create", kind, *REQUIRED, *arguments])


def made(kind: str, *arguments: str, out: str = "artifact.mender") -> tuple[Header, dict[str, bytes]]:
    """Return the header and the payload of what the command makes."""
    done = run(kind, *(arguments or KINDS[kind]), "-o", out)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    return read(out)


def read(path: str, *verify_keys: Path) -> tuple[Header, dict[str, bytes]]:
    with Path(path).open("rb") as stream:
        reader = ArtifactReader(stream, verify_keys=load_verify_keys(verify_keys))
        return reader.header, {file.name: file.read() for file in reader.files()}


def members(files: dict[str, bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(files["update.tar"])) as tar:
        return {member.name: member for member in tar}


@pytest.mark.parametrize("kind", KINDS)
def test_mender_artifact_reads_and_validates_it_signed_or_not(keys: KeyFiles, kind: str) -> None:
    made(kind, *KINDS[kind])
    assert "validated successfully" in mender_artifact("validate", "artifact.mender")
    assert f"Type:   {kind}" in mender_artifact("read", "artifact.mender")
    made(kind, *KINDS[kind], "-k", str(keys.private("ec")))
    assert "validated successfully" in mender_artifact("validate", "-k", keys.public("ec"), "artifact.mender")
    assert read("artifact.mender", keys.public("ec"))[0].verified_by == "ec.pub"


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--no-checksum-provide",
        "--software-name app",
        "--software-version 2",
        "--software-filesystem data",
        "--no-default-software-version",
        "--no-default-software-version --software-version 2",
        "--no-default-clears-provides",
        "--clears-provides x.*",
        "--clears-provides artifact_group",
        "-p app:7 -d boot:1 -N release-1 -g blue -G red",
        "-p rootfs-image.checksum:mine",
    ],
)
def test_a_rootfs_image_says_what_that_of_mender_artifact_says(options: str) -> None:
    ours, our_files = made("rootfs-image", *KINDS["rootfs-image"], *options.split())
    mender_artifact(
        "write", "rootfs-image", *REQUIRED, *KINDS["rootfs-image"], *options.split(), "--no-progress", "-o", "theirs"
    )
    theirs, their_files = read("theirs")
    assert ours.header_info == theirs.header_info
    assert (ours.provides, dict(ours.all_depends())) == (theirs.provides, dict(theirs.all_depends()))
    # mender-artifact writes what it would clear by default again where it is given.
    assert ours.clears == (None if theirs.clears is None else tuple(dict.fromkeys(theirs.clears)))
    assert our_files == their_files


def test_a_single_file_brings_its_place_its_name_and_its_mode() -> None:
    header, files = made("single-file")
    assert files == {
        "dest_dir": b"/etc/app\n",
        "filename": b"app.conf\n",
        "permissions": b"640\n",
        "app.conf": b"speed = 7\n",
    }
    assert header.provides == {"rootfs-image.single-file.version": "release-2"}
    assert header.clears == ("rootfs-image.single-file.*",)


def test_a_single_file_may_have_another_name_and_mode_on_the_device() -> None:
    _, files = made("single-file", "app.conf", "--dest-dir", "/etc/", "--filename", "app", "--permissions", "4755")
    assert files == {"dest_dir": b"/etc\n", "filename": b"app\n", "permissions": b"4755\n", "app": b"speed = 7\n"}


def test_a_directory_is_packed_whole_and_belongs_to_the_superuser() -> None:
    header, files = made("directory")
    assert list(files) == ["dest_dir", "update.tar"]
    assert files["dest_dir"] == b"/opt/app\n"
    found = members(files)
    assert set(found) == {".", "./bin", "./bin/panel", "./current", "./" + "a-long-name-" * 15}
    assert {(m.uid, m.gid, m.uname, m.gname) for m in found.values()} == {(0, 0, "", "")}
    assert (found["./bin/panel"].mode, found["./bin/panel"].mtime) == (0o755, 1_700_000_000)
    assert (found["./current"].issym(), found["./current"].linkname) == (True, "bin/panel")
    assert header.provides == {"rootfs-image.directory.version": "release-2"}


def test_a_link_to_a_directory_stands_for_the_directory(folder: Path) -> None:
    (folder / "latest").symlink_to("build")
    _, files = made("directory", "latest", "--dest-dir", "/opt/app")
    assert members(files)["./bin/panel"].size == len("#!/bin/sh\n")


def test_equal_directories_make_equal_artifacts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("directory", out="1.mender")
    made("directory", out="2.mender")
    assert (folder / "1.mender").read_bytes() == (folder / "2.mender").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    _, files = made("directory", out="1.mender")
    assert {member.mtime for member in members(files).values()} == {1_600_000_000}
    os.utime(folder / "build" / "bin", (time.time(), time.time()))
    made("directory", out="2.mender")
    assert (folder / "1.mender").read_bytes() == (folder / "2.mender").read_bytes()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("rootfs-image", []),
        ("rootfs-image", ["-f", "missing"]),
        ("rootfs-image", ["-f", "build"]),
        ("single-file", ["app.conf"]),
        ("single-file", ["build", "--dest-dir", "/etc"]),
        ("single-file", ["app.conf", "--dest-dir", "etc/app"]),
        ("single-file", ["app.conf", "--dest-dir", "/etc\n/app"]),
        ("single-file", ["app.conf", "--dest-dir", "/etc", "--permissions", "rw"]),
        ("single-file", ["app.conf", "--dest-dir", "/etc", "--permissions", "0888"]),
        ("directory", ["build"]),
        ("directory", ["app.conf", "--dest-dir", "/opt/app"]),
        ("directory", ["build", "--dest-dir", "/"]),
        ("directory", ["build", "--dest-dir", "//"]),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_writes_nothing(folder: Path, kind: str, arguments: list[str]) -> None:
    before = sorted(folder.iterdir())
    done = run(kind, *arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("single-file", ["app.conf", "--dest-dir", "/etc", "--filename", "../app"], "'../app' cannot be the name"),
        ("single-file", ["app.conf", "--dest-dir", "/etc", "--filename", "permissions"], "the module's own"),
        ("directory", ["build", "--dest-dir", "/opt", "-o", "build/bin/a.mender"], "is inside build"),
        ("directory", [".", "--dest-dir", "/opt"], "artifact.mender is inside ."),
        ("directory", ["pipes", "--dest-dir", "/opt"], "./fifo is neither file, directory nor link"),
    ],
)
def test_what_cannot_be_built_is_one_sentence_and_leaves_no_file(
    folder: Path, kind: str, arguments: list[str], sentence: str
) -> None:
    (folder / "pipes").mkdir()
    os.mkfifo(folder / "pipes" / "fifo")
    before = sorted(folder.rglob("*"))
    done = run(kind, *arguments)
    assert done.exit_code == 1, done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_source_date_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    done = run("directory", *KINDS["directory"])
    assert done.exit_code == 1
    assert "SOURCE_DATE_EPOCH is 'today'" in done.stderr
