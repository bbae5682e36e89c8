"""Key files of every kind, and the real mender-artifact."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.common.artifact.build import public_pem_of

_PKCS8 = serialization.PrivateFormat.PKCS8
_TRADITIONAL = (
    serialization.PrivateFormat.TraditionalOpenSSL
)  # PKCS#1 and SEC1, the only ones that mender-artifact 3.9 reads


@dataclass(frozen=True)
class KeyFiles:
    """A folder with NAME.pem and NAME.pub for the names rsa, ec, ed25519 and other (another P-256 key), and -pkcs8.pem
    of each.
    """

    folder: Path

    def private(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def public(self, name: str) -> Path:
        return self.folder / f"{name}.pub"


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFiles:
    folder = tmp_path_factory.mktemp("keys")
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    private: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey] = {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "other": ec.generate_private_key(ec.SECP256R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    for name, key in private.items():
        traditional = _PKCS8 if name == "ed25519" else _TRADITIONAL
        (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, traditional, plain))
        (folder / f"{name}-pkcs8.pem").write_bytes(key.private_bytes(pem, _PKCS8, plain))
        (folder / f"{name}.pub").write_bytes(public_pem_of(key))
    return KeyFiles(folder)


def mender_artifact(*arguments: object) -> str:
    """Run the real tool and return what it prints; fails with its complaint."""
    done = subprocess.run(["mender-artifact", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
