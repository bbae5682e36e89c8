"""`wainwright artifact create module-image` makes what mender-artifact makes from the same options."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.common.artifact.conftest import KeyFiles, keys, mender_artifact
from wainwright_common.artifact import ArtifactReader, Header, load_verify_keys
from wainwright_controller.cli.main import wainwright

__all__ = ["keys"]  # pytest finds the fixture by its name here

REQUIRED = ["-T", "single-file", "-n", "release-2", "-t", "press"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the options name."""
    (tmp_path / "app.bin").write_bytes(b"the application\n" * 100)
    (tmp_path / "filename").write_bytes(b"app.bin")
    (tmp_path / "meta.json").write_text('{ "mode": "0644", "n": [1, 2.5] }')
    (tmp_path / "empty.json").write_text("\n")
    (tmp_path / "scripts").mkdir()
    for script in ("ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10_restart"):
        (tmp_path / "scripts" / script).write_text("#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(wainwright, ["artifact", "create", "module-image", *arguments])


def read(path: str, *verify_keys: Path) -> tuple[Header, dict[str, bytes]]:
    with Path(path).open("rb") as stream:
        reader = ArtifactReader(stream, verify_keys=load_verify_keys(verify_keys))
        return reader.header, {file.name: file.read() for file in reader.files()}


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-f app.bin -f filename",
        "-t mill -N release-1 -N release-0 -G blue -G red -g green",
        "-d boot:1 -d region:eu:west -p app:7 -p lib:",
        "--artifact-name-depends a --depends-groups b --provides-group c --depends d:e --provides f:g",
        "-d a:1 -d a:2 -p b:1 -p b:2",
        "--clears-provides old.* --clears-provides older.*",
        "--clears-provides rootfs-image.single-file.*",
        "--no-default-software-version",
        "--no-default-software-version --clears-provides old.*",
        "--no-default-software-version --software-version 2",
        "--no-default-software-version --software-version 2 --software-name app",
        "--no-default-clears-provides",
        "--no-default-clears-provides --clears-provides old.*",
        "--software-version 2",
        "--software-name app",
        "--software-filesystem data-partition",
        "--software-filesystem data-partition --software-name app --software-version 2",
        "-p rootfs-image.single-file.version:mine",
        "-m meta.json",
        "-s scripts",
        "-s scripts/ArtifactInstall_Enter_00 --file app.bin --compression none",
        "--compression lzma",
    ],
)
def test_header_and_payload_are_those_of_mender_artifact(options: str) -> None:
    arguments = [*REQUIRED, *options.split()]
    done = run(*arguments, "-o", "ours.mender")
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    mender_artifact("write", "module-image", *arguments, "-o", "theirs.mender")
    ours, our_files = read("ours.mender")
    theirs, their_files = read("theirs.mender")
    assert ours.header_info == theirs.header_info
    assert ours.type_info == theirs.type_info
    assert ours.meta_data == theirs.meta_data
    assert (ours, our_files) == (theirs, their_files)
    assert "validated successfully" in mender_artifact("validate", "ours.mender")


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_the_artifact_is_signed_with_the_key(keys: KeyFiles, kind: str) -> None:
    done = run(*REQUIRED, "-f", "app.bin", "-k", str(keys.private(kind)))
    assert done.exit_code == 0, done.stderr
    assert f"signed with {kind}.pem" in done.stderr
    assert read("artifact.mender", keys.public(kind))[0].verified_by == f"{kind}.pub"


def test_zstd_is_written_and_read() -> None:
    assert run(*REQUIRED, "-f", "app.bin", "--compression", "zstd").exit_code == 0
    header, files = read("artifact.mender")
    assert (header.compression, list(files)) == ("zstd", ["app.bin"])


def test_what_was_written_is_said_on_stderr() -> None:
    done = run(*REQUIRED, "--compression", "none")
    size = Path("artifact.mender").stat().st_size
    assert done.stderr == f"Wrote artifact.mender: release-2, {size} bytes, not signed.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        REQUIRED[2:],
        REQUIRED[:2] + REQUIRED[4:],
        REQUIRED[:4],
        [*REQUIRED, "-p", "nocolon"],
        [*REQUIRED, "-d", ":value"],
        [*REQUIRED, "-f", "missing.bin"],
        [*REQUIRED, "-s", "missing"],
        [*REQUIRED, "-k", "missing.pem"],
        [*REQUIRED, "-m", "missing.json"],
        [*REQUIRED, "--compression", "bzip2"],
        [*REQUIRED, "--unknown"],
    ],
)
def test_a_wrong_command_line_is_exit_2_and_writes_nothing(folder: Path, arguments: list[str]) -> None:
    before = sorted(folder.iterdir())
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "app.bin"], "meta-data cannot be read"),
        (["-m", "empty.json"], "empty.json is empty. Put a JSON object in it"),
        (["-s", "app.bin"], "'app.bin' cannot be the name of a state script"),
        (["-s", "scripts", "-s", "scripts/ArtifactInstall_Enter_00"], "ArtifactInstall_Enter_00 is given twice"),
        (["-k", "app.bin"], "Key file app.bin: this is not a private key"),
        (["-f", "app.bin", "-f", "app.bin"], "Two payload files are called app.bin"),
        (["-p", "artifact_name:x"], "type-info has the key artifact_name"),
        (["-T", "../sh"], "'../sh' cannot be the name of a payload type"),
        (["-n", "new\nline"], "is not 1 to 256 printable characters"),
        (["-o", "nowhere/a.mender"], "nowhere/.a.mender"),
    ],
)
def test_what_cannot_be_built_is_one_sentence_and_exit_1_and_leaves_no_file(
    folder: Path, arguments: list[str], sentence: str
) -> None:
    Path("artifact.mender").write_text("the artifact of yesterday")
    before = sorted(folder.iterdir())
    done = run(*REQUIRED, *arguments)
    assert done.exit_code == 1, done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(folder.iterdir()) == before
    assert Path("artifact.mender").read_text() == "the artifact of yesterday"
