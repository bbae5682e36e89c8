"""The commands of docs/artifacts.md about keys and signatures do what the page says, as they are written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.system import System

PAGE = Path(__file__).parents[2] / "docs" / "artifacts.md"
CHAPTER = re.compile(r"^## Sign it\n(.*?)^## ", re.DOTALL | re.MULTILINE)
LIMIT_S = 500  # for twenty seconds on a quiet machine
SCRIPT = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with what a release engineer has already: software, an artifact, two keys, a token's place."""
    for name, content in (("dest_dir", "/opt"), ("filename", "app.bin"), ("app.bin", "the application\n")):
        (tmp_path / name).write_text(content)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    for key in ("old", "new"):
        private, public = tmp_path / f"{key}.pem", tmp_path / f"{key}.pub"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return tmp_path


@pytest.mark.timeout(2 * LIMIT_S)
def test_every_command_of_the_chapter_works_as_written(folder: Path, mosquitto: Mosquitto) -> None:
    chapter = CHAPTER.search(PAGE.read_text(encoding="utf-8"))
    assert chapter
    scripts = SCRIPT.findall(chapter[1])
    assert len(scripts) == 9
    build = "wainwright artifact create module-image -T single-file -n press-app-2.4.0 -t press-mk1 -f app.bin"
    program = "\n".join(["set -eux", f"{build} -o press-app-2.4.0.mender", *scripts])
    with System(folder / "system", mosquitto.url) as system:
        env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SOFTHSM2_CONF": str(folder / "softhsm2.conf"),
            "WAINWRIGHT_CONTROLLER": system.stage.url,
        }
        done = subprocess.run(
            ["sh", "-c", program], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr.count("signature attached, by ") == 4
        assert done.stdout.count("validated successfully") == 3
        (deployment,) = system.api.call("GET", "/deployments")["items"]
        assert (deployment["name"], deployment["artifact_name"]) == ("both keys", "keys-2")
