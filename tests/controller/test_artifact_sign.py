"""`wainwright artifact sign`: in place or beside, with a key in a file or one that is elsewhere; or not at all."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.common.artifact.conftest import KeyFiles, keys, mender_artifact
from wainwright_common.artifact import ArtifactReader, load_verify_keys
from wainwright_controller.cli.main import wainwright

__all__ = ["keys"]  # pytest finds the fixture by its name here

MODULE = "/usr/lib/softhsm/libsofthsm2.so"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an artifact that is not signed."""
    monkeypatch.chdir(tmp_path)
    Path("app.bin").write_bytes(b"the application\n" * 100)
    arguments = [
        "module-image",
        "-T",
        "single-file",
        "-n",
        "release-2",
        "-t",
        "press",
        "-f",
        "app.bin",
        "-o",
        "a.mender",
    ]
    assert CliRunner().invoke(wainwright, ["artifact", "create", *arguments]).exit_code == 0
    return tmp_path


def sign(*arguments: object) -> Result:
    return CliRunner().invoke(wainwright, ["artifact", "sign", *map(str, arguments)])


def said(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.stderr
    assert result.stderr.count("\n") == 1
    return result.stderr.strip()


def verified_by(path: str, *public: Path) -> str | None:
    with Path(path).open("rb") as stream:
        reader = ArtifactReader(stream, verify_keys=load_verify_keys(public))
        for _ in reader.files():
            pass
        return reader.header.verified_by


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_a_file_is_signed_in_place_and_signed_anew_by_another_key(keys: KeyFiles, kind: str) -> None:
    Path("a.mender").chmod(0o640)
    assert said(sign("a.mender", "-k", keys.private("other"))) == "a.mender: signed with other.pem."
    assert said(sign("a.mender", "-k", keys.private(kind))) == f"a.mender: signed with {kind}.pem."
    assert verified_by("a.mender", keys.public(kind)) == f"{kind}.pub"
    assert Path("a.mender").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in Path().iterdir()) == ["a.mender", "app.bin"]
    if kind != "ed25519":
        assert "validated successfully" in mender_artifact("validate", "-k", keys.public(kind), "a.mender")


def test_with_an_output_path_the_file_itself_stays(keys: KeyFiles) -> None:
    before = Path("a.mender").read_bytes()
    assert said(sign("a.mender", "-k", keys.private("ec"), "-o", "b.mender")) == "b.mender: signed with ec.pem."
    assert Path("a.mender").read_bytes() == before
    assert verified_by("b.mender", keys.public("ec")) == "ec.pub"


def test_what_mender_artifact_has_signed_is_signed_anew_and_the_other_way_round(keys: KeyFiles) -> None:
    mender_artifact("sign", "-k", keys.private("rsa"), "a.mender")
    assert verified_by("a.mender", keys.public("rsa")) == "rsa.pub"
    said(sign("a.mender", "-k", keys.private("ec")))
    assert "validated successfully" in mender_artifact("validate", "-k", keys.public("ec"), "a.mender")
    mender_artifact("sign", "--force", "-k", keys.private("rsa"), "a.mender")
    assert verified_by("a.mender", keys.public("rsa")) == "rsa.pub"


def test_the_bytes_to_sign_go_to_a_file_or_to_stdout() -> None:
    assert re.fullmatch(r"m: \d+ bytes to sign, the manifest of a\.mender\.", said(sign("a.mender", "--export", "m")))
    printed = sign("a.mender", "--export", "-")
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert printed.stdout_bytes == Path("m").read_bytes()
    assert printed.stdout_bytes.count(b"\n") == 3


def test_a_signature_that_is_not_by_the_key_is_refused_with_exit_4_and_changes_nothing(keys: KeyFiles) -> None:
    before = Path("a.mender").read_bytes()
    Path("sig").write_bytes(load_and_sign(keys.private("other"), before))
    refused = said(sign("a.mender", "--attach", "sig", "--verify-key", keys.public("ec")), 4)
    assert refused.startswith("error: The signature is not one by ec.pub (ECDSA-P256) over this artifact's manifest.")
    assert refused.endswith("(signature-mismatch)")
    assert Path("a.mender").read_bytes() == before
    assert said(sign("a.mender", "--attach", "sig", "--verify-key", keys.public("other"))) == (
        "a.mender: signature attached, by other.pub."
    )


def test_a_signature_that_nobody_can_check_is_attached_and_that_is_said(keys: KeyFiles) -> None:
    Path("sig").write_bytes(base64.b64encode(load_and_sign(keys.private("ec"), Path("a.mender").read_bytes())))
    assert "not checked. To have it checked, give --verify-key" in said(sign("a.mender", "--attach", "sig"))
    assert verified_by("a.mender", keys.public("ec")) == "ec.pub"
    Path("sig").write_bytes(b"no signature!")
    assert "none of RSA, ECDSA on P-256 or Ed25519" in said(sign("a.mender", "--attach", "sig"), 4)


def load_and_sign(private: Path, _artifact: bytes) -> bytes:
    """Sign the manifest of a.mender with openssl."""
    sign("a.mender", "--export", "m")
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", private, "m"], capture_output=True, check=True)
    Path("m").unlink()
    return done.stdout


@pytest.mark.parametrize("way", [["-k", "KEY"], ["--export", "m"], ["--attach", "sig"]])
def test_a_damaged_artifact_is_not_signed_and_nothing_is_written(keys: KeyFiles, way: list[str]) -> None:
    damaged = Path("a.mender").read_bytes()[:-2000]
    Path("a.mender").write_bytes(damaged)
    Path("sig").write_bytes(b"\x01" * 64)
    names = sorted(path.name for path in Path().iterdir())
    done = sign("a.mender", *(str(keys.private("ec")) if word == "KEY" else word for word in way))
    assert "in the middle" in said(done, 1)
    assert Path("a.mender").read_bytes() == damaged
    assert sorted(path.name for path in Path().iterdir()) == names


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.mender"],
        ["a.mender", "-k", "KEY", "--export", "m"],
        ["a.mender", "--export", "m", "--attach", "app.bin"],
        ["a.mender", "-k", "KEY", "--verify-key", "KEY"],
        ["a.mender", "--export", "m", "-o", "b.mender"],
        ["a.mender", "--attach", "missing"],
        ["missing.mender", "-k", "KEY"],
    ],
)
def test_a_wrong_command_line_is_exit_2(keys: KeyFiles, arguments: list[str]) -> None:
    done = sign(*(str(keys.private("ec")) if word == "KEY" else word for word in arguments))
    assert done.exit_code == 2
    assert not Path("m").exists()


def test_a_file_of_several_keys_does_not_say_who_has_signed(keys: KeyFiles) -> None:
    Path("two.pem").write_bytes(keys.public("ec").read_bytes() + keys.public("rsa").read_bytes())
    Path("sig").write_bytes(b"\x01" * 64)
    assert "two.pem has 2 keys" in said(sign("a.mender", "--attach", "sig", "--verify-key", "two.pem"), 1)


def test_a_token_signs_by_ed25519(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other two kinds are in docs/artifacts.md, whose commands test_artifacts_page.py runs."""
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    (folder / "tokens").mkdir()
    monkeypatch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    initialise = ["softhsm2-util", "--init-token", "--free", "--label", "t", "--so-pin", "5678", "--pin", "1234"]
    subprocess.run(initialise, check=True, capture_output=True)
    token = ["pkcs11-tool", "--module", MODULE, "--token-label", "t", "--login", "--pin", "1234", "--id", "03"]
    made = subprocess.run(
        [*token, "--keypairgen", "--key-type", "EC:edwards25519"], check=True, capture_output=True, text=True
    )
    point = re.search(r"EC_POINT: +0420([0-9a-f]{64})", made.stdout)
    assert point
    public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(point[1]))
    Path("ed.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    sign("a.mender", "--export", "m")
    by_token = [*token, "--sign", "--mechanism", "EDDSA", "--input-file", "m", "--output-file", "sig"]
    subprocess.run(by_token, check=True, capture_output=True)

    assert said(sign("a.mender", "--attach", "sig", "--verify-key", "ed.pub")).endswith("by ed.pub.")
    assert verified_by("a.mender", Path("ed.pub")) == "ed.pub"
    assert shutil.which("softhsm2-util")
