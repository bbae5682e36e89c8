"""The real mender-artifact writes and we read; we write and it reads and validates."""

from __future__ import annotations

import io
import itertools
import json
import re
from pathlib import Path

import pytest

from tests.common.artifact.conftest import KeyFiles, mender_artifact
from wainwright_common.artifact import (
    ArtifactReader,
    ArtifactSpec,
    Header,
    PayloadSource,
    load_signing_key,
    load_verify_keys,
    write_module_image,
)

META_DATA = b'{ "mode": "0644", "numbers": [1, 2.5], "nested": {"b": ["x"]} }'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "app.bin").write_bytes(b"the application\n" * 5000)
    (folder / "filename").write_bytes(b"app.bin")
    (folder / "empty").write_bytes(b"")
    (folder / "meta.json").write_bytes(META_DATA)
    for script in ("ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10_restart"):
        (folder / script).write_bytes(b"#!/bin/sh\nexit 0\n")
    return folder


def read(path: Path, verify_keys: list[Path] | None = None) -> tuple[Header, dict[str, bytes]]:
    with path.open("rb") as stream:
        reader = ArtifactReader(stream, verify_keys=load_verify_keys(verify_keys or []))
        return reader.header, {file.name: file.read() for file in reader.files()}


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma"])
@pytest.mark.parametrize("key", [None, "rsa", "ec"])
def test_what_mender_artifact_writes_is_read(
    tmp_path: Path, inputs: Path, keys: KeyFiles, compression: str, key: str | None
) -> None:
    path = tmp_path / "theirs.mender"
    signing = ["-k", keys.private(key)] if key else []
    mender_artifact(
        *("write", "module-image", "-T", "single-file", "-n", "release-2", "-t", "press", "-t", "mill"),
        *("--compression", compression, "-o", path, *signing, "-m", inputs / "meta.json"),
        *(
            "-N",
            "release-1",
            "-G",
            "blue",
            "-g",
            "green",
            "-d",
            "boot:1:2",
            "-p",
            "app:7",
            "--clears-provides",
            "old.*",
        ),
        *itertools.chain.from_iterable(("-f", inputs / name) for name in ("app.bin", "filename", "empty")),
        *itertools.chain.from_iterable(("-s", script) for script in inputs.glob("Artifact*")),
    )
    header, files = read(path, [keys.public(key)] if key else [])
    assert files == {name: (inputs / name).read_bytes() for name in ("app.bin", "filename", "empty")}
    assert (header.name, header.group, header.payload_type, header.compression) == (
        *("release-2", "green", "single-file", compression),
    )
    assert header.all_depends() == {
        "device_type": ("press", "mill"),
        "artifact_name": ("release-1",),
        "artifact_group": ("blue",),
        "boot": ("1:2",),
    }
    assert header.provides == {"app": "7", "rootfs-image.single-file.version": "release-2"}
    assert header.clears == ("old.*", "rootfs-image.single-file.*")
    assert set(header.scripts) == {"ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10_restart"}
    assert json.loads(header.meta_data) == json.loads(META_DATA)
    assert (header.signed, header.verified_by) == (key is not None, f"{key}.pub" if key else None)


@pytest.mark.parametrize(
    ("arguments", "payload_type", "files"),
    [
        (["module-image", "-T", "m", "-n", "none", "-t", "press"], "m", []),
        (["bootstrap-artifact", "-n", "boot", "-t", "press"], None, []),
        (["rootfs-image", "-n", "os", "-t", "press", "-f", "app.bin"], "rootfs-image", ["app.bin"]),
    ],
)
def test_other_kinds_of_mender_artifact_are_read(
    tmp_path: Path, inputs: Path, arguments: list[str], payload_type: str | None, files: list[str]
) -> None:
    path = tmp_path / "theirs.mender"
    mender_artifact("write", *(inputs / "app.bin" if a == "app.bin" else a for a in arguments), "-o", path)
    header, found = read(path)
    assert (header.payload_type, list(found)) == (payload_type, files)


def spec(inputs: Path, compression: str) -> ArtifactSpec:
    return ArtifactSpec(
        name="release-2",
        device_types=("press", "mill"),
        payload_type="single-file",
        files=tuple(PayloadSource.from_path(inputs / name) for name in ("app.bin", "filename", "empty")),
        scripts={path.name: path.read_bytes() for path in inputs.glob("Artifact*")},
        group="green",
        depends_names=("release-1",),
        depends_groups=("blue",),
        provides={"rootfs-image.single-file.version": "release-2", "app": "7"},
        depends={"boot": ("1:2",)},
        clears=("rootfs-image.single-file.*",),
        meta_data=META_DATA,
        compression=compression,
    )


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma"])
@pytest.mark.parametrize("key", [None, "rsa", "ec"])
def test_what_we_write_is_read_and_validated_by_mender_artifact(
    tmp_path: Path, inputs: Path, keys: KeyFiles, compression: str, key: str | None
) -> None:
    path = tmp_path / "ours.mender"
    with path.open("wb") as out:
        write_module_image(out, spec(inputs, compression), key=load_signing_key(keys.private(key)) if key else None)
    verifying = ["-k", keys.public(key)] if key else []
    assert "validated successfully" in mender_artifact("validate", *verifying, path)
    shown = mender_artifact("read", *verifying, path)
    for line in (
        *("Name: release-2", "Compatible devices: '[press mill]'", "Provides group: green", "Type: single-file"),
        *("Depends on one of artifact(s): [release-1]", "Depends on one of group(s): [blue]", "boot: 1:2", "app: 7"),
        *("ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10_restart", "name: app.bin", "size: 80000", "name: empty"),
        "Signature: signed and verified correctly" if key else "Signature: no signature",
    ):
        assert line in re.sub(r"[ \t]+", " ", shown)


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma", "zstd"])
@pytest.mark.parametrize("key", [None, "rsa", "ec", "ed25519"])
def test_what_we_write_we_read(tmp_path: Path, inputs: Path, keys: KeyFiles, compression: str, key: str | None) -> None:
    path = tmp_path / "ours.mender"
    with path.open("wb") as out:
        written = write_module_image(
            out, spec(inputs, compression), key=load_signing_key(keys.private(key)) if key else None
        )
    header, files = read(path, [keys.private(key)] if key else [])
    assert header == written
    assert files == {name: (inputs / name).read_bytes() for name in ("app.bin", "filename", "empty")}


def test_mender_artifact_reads_our_bootstrap_artifact_and_it_is_the_same_as_its_own(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.mender", tmp_path / "theirs.mender"
    with ours.open("wb") as out:
        write_module_image(out, ArtifactSpec(name="boot", device_types=("press",), payload_type=None))
    mender_artifact("write", "bootstrap-artifact", "-n", "boot", "-t", "press", "-o", theirs)
    assert "Empty type" in mender_artifact("read", ours)
    our_header, their_header = read(ours)[0], read(theirs)[0]
    assert (our_header.header_info, our_header.type_info) == (their_header.header_info, their_header.type_info)


def test_a_changed_artifact_of_ours_is_refused_by_mender_artifact_too(tmp_path: Path, inputs: Path) -> None:
    out = io.BytesIO()
    write_module_image(out, spec(inputs, "none"))
    path = tmp_path / "changed.mender"
    path.write_bytes(out.getvalue().replace(b"the application", b"the applikation", 1))
    with pytest.raises(AssertionError, match=r"(?i)checksum"):
        mender_artifact("validate", path)
