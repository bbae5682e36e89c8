"""The artifacts that the fuzzing of the reader begins with: small ones, of every kind that is accepted."""

from __future__ import annotations

import json
from typing import Final

from tests.fuzz.archives import SUFFIXES, Member, compress, pack, repaired, signed

VERSION: Final = Member(b"version", b'{"format":"mender","version":3}')
SCRIPT: Final = Member(b"scripts/ArtifactInstall_Enter_00_stop", b"#!/bin/sh\nexit 0\n")
FILES: Final = [Member(b"app.bin", b"the application\n" * 20), Member(b"filename", b"app.bin")]
META_DATA: Final = b'{"mode":"0644","numbers":[1,2.5]}'
_NAMES: Final = {b"": "none", b".gz": "gzip", b".xz": "lzma", b".zst": "zstd"}


def header_info(payload_type: str | None = "single-file") -> Member:
    """Return a header-info with everything in it."""
    info = {
        "payloads": [{"type": payload_type}],
        "artifact_provides": {"artifact_name": "release-2", "artifact_group": "blue"},
        "artifact_depends": {"artifact_name": ["release-1"], "device_type": ["press", "mill"], "artifact_group": ["x"]},
    }
    return Member(b"header-info", json.dumps(info).encode())


def type_info(payload_type: str | None = "single-file") -> Member:
    """Return a type-info with everything in it."""
    info = {
        "type": payload_type,
        "artifact_depends": {"boot": "1", "region": ["eu", "us"]},
        "artifact_provides": {"rootfs-image.single-file.version": "release-2"},
        "clears_artifact_provides": ["rootfs-image.single-file.*"],
    }
    return Member(b"headers/0000/type-info", json.dumps(info).encode())


def artifact(header: list[Member], files: list[Member] | None, suffix: bytes = b"") -> list[Member]:
    """Return the members of an artifact; without a payload where `files` is None."""
    members = [VERSION, Member(b"manifest", b""), Member(b"header.tar" + suffix, compress(pack(header), suffix))]
    if files is not None:
        members.append(Member(b"data/0000.tar" + suffix, compress(pack(files), suffix)))
    return repaired(members)


def seeds() -> dict[str, bytes]:
    """Return artifacts by name: each compression and signature, and the unusual ones."""
    meta_data = Member(b"headers/0000/meta-data", META_DATA)
    whole = [header_info(), SCRIPT, type_info(), meta_data]
    found = {_NAMES[suffix]: pack(artifact(whole, FILES, suffix)) for suffix in SUFFIXES}
    small = [header_info(), type_info()]
    found["signed-ed25519"] = pack(signed(artifact(small, FILES[:1], b".gz"), 0))
    found["signed-p256"] = pack(signed(artifact(small, FILES[:1], b".zst"), 1))
    found["no-files"] = pack(artifact(small, [], b".gz"))
    found["bootstrap"] = pack(artifact([header_info(None), type_info(None)], None, b".gz"))
    extension = Member(b"PaxHeaders/app.bin", b"16 path=app.bin\n", b"x")
    found["extended-header"] = pack(artifact(small, [extension, *FILES[:1]]))
    return found
