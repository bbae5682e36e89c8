"""Releases for the demo: one artifact for each device type, signed, with a payload large enough to be watched."""

from __future__ import annotations

import random
from pathlib import Path

from wainwright_common.artifact import ArtifactSpec, PayloadSource, load_signing_key, write_module_image
from wainwright_controller.demo.stage import DEVICE_TYPES

PAYLOAD_TYPE = "demo"


def make_key(private: Path, public: Path) -> None:
    """Make a key for signing releases: ECDSA on P-256, in the files that mender-artifact and we read."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    sec1 = serialization.PrivateFormat.TraditionalOpenSSL  # the form that mender-artifact 3.9 reads as well
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(encoding, sec1, plain))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(encoding, spki))


def software(release: str, device_type: str, size: int) -> bytes:
    """Return the software of a release for a device type: its name, and bytes that no compression makes smaller."""
    name = f"{release} for {device_type}\n".encode()
    return name + random.Random(name).randbytes(size - len(name))  # noqa: S311  contents, not secrets


def name_of(software_file: Path) -> str:
    """Return what a device really runs: the first line of its software."""
    try:
        with software_file.open("rb") as file:
            return file.readline(200).decode(errors="replace").strip()
    except FileNotFoundError:
        return "nothing"


def write_release(folder: Path, release: str, size: int, private_key: Path) -> list[Path]:
    """Write and sign the artifacts of a release; returns their files."""
    key = load_signing_key(private_key)
    paths = []
    for device_type in DEVICE_TYPES:
        path = folder / f"{release}-{device_type}.mender"
        spec = ArtifactSpec(
            name=release,
            device_types=(device_type,),
            payload_type=PAYLOAD_TYPE,
            files=(PayloadSource.from_bytes("software", software(release, device_type, size)),),
        )
        with path.open("wb") as file:
            write_module_image(file, spec, key=key)
        paths.append(path)
    return paths
