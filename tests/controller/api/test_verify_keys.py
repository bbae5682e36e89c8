"""A controller with verify keys stores what one of them signed, and nothing else; refusals are told and entered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.common.artifact.build import Recipe, public_pem
from tests.common.artifact.conftest import KeyFiles, keys
from tests.common.artifact.damage import damaged
from tests.controller.api.served import Served
from tests.support.mosquitto import Mosquitto
from wainwright_common.artifact import KeyFileError

__all__ = ["keys"]  # pytest finds the fixture by its name here

SIGNED = replace(Recipe(), signed=True)


@pytest.fixture
def strict(tmp_path: Path, keys: KeyFiles, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that trusts another key, and the one that recipes are signed with."""
    (tmp_path / "test.pem").write_bytes(public_pem())
    trusted = str(keys.public("rsa")), str(tmp_path / "test.pem")
    with Served(tmp_path / "controller", mosquitto, verify_keys=trusted) as served:
        yield served


def test_what_a_trusted_key_signed_is_stored_and_the_audit_log_names_the_key(strict: Served) -> None:
    stored = strict.upload(SIGNED.blob())
    assert (stored.status_code, stored.json()["signed"]) == (201, True)
    (entry,) = strict.get("audit", action="upload-artifact")["items"]
    (after,) = entry["after"].values()
    assert (entry["verdict"], after["verified_by"]) == ("allowed", "test.pem")


def test_what_no_trusted_key_signed_is_refused_by_its_rule_kept_nowhere_and_entered(strict: Served) -> None:
    rows = [row for row in damaged() if row[3]]
    assert {rule for _, _, rule, _ in rows} >= {"unsigned", "signature-mismatch", "signature-length"}
    codes = []
    for name, blob, rule, _ in rows:
        answer = strict.upload(blob)
        assert (name, answer.status_code, answer.json()["code"]) == (name, 422, f"artifact-{rule}")
        assert answer.headers["content-type"] == "application/problem+json"
        codes.append(f"artifact-{rule}")
    assert strict.files == []
    assert strict.get("artifacts")["items"] == []
    entries = strict.get("audit", verdict="refused")["items"]
    assert [entry["code"] for entry in reversed(entries)] == codes
    assert {entry["action"] for entry in entries} == {"upload-artifact"}


def test_the_command_line_says_what_is_missing_with_exit_4(strict: Served, tmp_path: Path, keys: KeyFiles) -> None:
    path = tmp_path / "a.mender"
    path.write_bytes(replace(SIGNED, signed=False).blob())

    def wainwright(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wainwright_controller", "--controller", strict.url, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = wainwright("artifact", "upload", path)
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {path}: The artifact is not signed, but only signed ones are accepted here.")
    wainwright("artifact", "sign", path, "-k", keys.private("ec"))
    done = wainwright("artifact", "upload", path)
    assert done.returncode == 4
    assert "No trusted key verifies the signature; tried test.pem (ECDSA-P256)" in done.stderr.replace(
        "rsa.pub (RSA), ", ""
    )
    assert wainwright("artifact", "sign", path, "-k", keys.private("rsa")).returncode == 0
    assert wainwright("artifact", "upload", path).returncode == 0


def test_a_controller_does_not_start_with_a_key_that_it_cannot_read(tmp_path: Path, mosquitto: Mosquitto) -> None:
    for content in (None, b"no key"):
        if content is not None:
            (tmp_path / "fleet.pem").write_bytes(content)
        with pytest.raises(KeyFileError, match=r"fleet\.pem"):
            Served(tmp_path / "controller", mosquitto, verify_keys=(str(tmp_path / "fleet.pem"),)).start()
