"""docs/enrolment.md: the steps of curl and openssl, run as they are written, against a controller and a Mosquitto."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.api.served import Served
from tests.support.mosquitto import Mosquitto
from wainwright_controller.config import Enrolment

PAGE = Path(__file__).parents[2] / "docs" / "enrolment.md"
DEVICE = "press-07"


def steps() -> list[str]:
    """Return the numbered blocks of the section, as a shell reads them."""
    section = PAGE.read_text(encoding="utf-8").partition("## By curl and openssl\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"^   ```sh\n(.*?)^   ```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    return [re.sub("(?m)^   ", "", block) for block in blocks]


class Shell:
    """A device's shell in a folder of its own."""

    def __init__(self, folder: Path, served: Served) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "EST": f"{served.url}/.well-known/est",
            "DEVICE": DEVICE,
            "FINGERPRINT": served.get("ca")["fingerprint"],
        }

    def run(self, script: str, *, works: bool = True) -> str:
        """Run a script; returns what it printed."""
        ran = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode == 0) is works, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture
def served(tmp_path: Path, own_mosquitto: Mosquitto) -> Iterator[Served]:
    with Served(tmp_path / "controller", own_mosquitto, enrolment=Enrolment(enabled=True)) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, served: Served) -> Shell:
    folder = tmp_path / "device"
    folder.mkdir()
    return Shell(folder, served)


def test_curl_and_openssl_alone_enrol_and_renew_a_device(shell: Shell, served: Served) -> None:
    authority, key, ask, keep, renew = steps()

    shell.run(authority)
    digest = shell.run(key).split()[-1]
    waits = shell.run(ask)
    assert waits.startswith("202")
    assert "retry-after: 10" in waits.lower()
    shell.run(keep, works=False)
    [waiting] = served.get("enrolment/keys", state="pending")["items"]
    assert (waiting["device"], waiting["digest"]) == (DEVICE, digest)

    served.post("devices/accept", {"ids": [DEVICE]})

    assert shell.run(ask).startswith("200")
    assert "certificate.pem: OK" in shell.run(keep)
    said = shell.run("openssl x509 -in device.pem -noout -subject -dates; stat -c %a device.key")
    assert f"CN = {DEVICE}" in said
    assert "\n600\n" in said
    shell.run(renew)
    assert "certificate.pem: OK" in shell.run("openssl verify -CAfile root.pem -untrusted cacerts.pem certificate.pem")


def test_a_key_that_was_authorised_in_advance_and_a_token_need_nobody(shell: Shell, served: Served) -> None:
    authority, key, ask, keep, _ = steps()
    shell.run(authority)
    digest = shell.run(key).split()[-1]
    served.post("devices/preauthorize", {"keys": {DEVICE: digest}})
    assert shell.run(ask).startswith("200")

    other = {
        "DEVICE": "press-08",
        "TOKEN": served.post("enrolment/tokens", {"expires_at": "2099-01-01T00:00Z"})["token"],
    }
    shell.env |= other
    shell.run(key)
    with_token = ask.replace("curl ", 'curl --user "$DEVICE:$TOKEN" ', 1)
    assert '`--user "$DEVICE:$TOKEN"`' in PAGE.read_text(encoding="utf-8")
    assert shell.run(with_token).startswith("200")
    shell.run(keep)


def test_somebody_else_who_answers_for_the_controller_is_not_trusted(shell: Shell) -> None:
    shell.env["FINGERPRINT"] = "0" * 64

    shell.run(steps()[0], works=False)

    assert not (shell.folder / "root.pem").exists()
