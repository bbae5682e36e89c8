"""`check-config` and `completions`: what an operator runs before there is a controller."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.authority import Authority
from wainwright_controller import pki
from wainwright_controller.cli.main import wainwright
from wainwright_controller.pki import Folder

SECRET = "swordfish"


def check(folder: Path, text: str, *words: str) -> Result:
    """Check a configuration in a folder of its own, in which a start would make `data`."""
    file = folder / "controller.toml"
    file.write_text(f'data_dir = "{folder / "data"}"\n{text}', encoding="utf-8")
    return CliRunner().invoke(wainwright, ["check-config", "--config", str(file), *words])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WAINWRIGHT_")]:
        monkeypatch.delenv(name)


def test_a_configuration_that_can_be_used_is_shown_by_what_is_not_the_default_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    ran = check(tmp_path, f'[http]\nport = 9000\ntoken = "{SECRET}"\n[store]\nurl = "postgresql://w:{SECRET}@db/w"\n')

    assert ran.exit_code == 0
    assert [line.split()[0] for line in ran.stdout.splitlines()] == [
        "data_dir",
        "http.port",
        "http.token",
        "store.url",
    ]
    assert "controller.toml" in ran.stderr
    assert SECRET not in ran.output
    assert [path.name for path in tmp_path.iterdir()] == ["controller.toml"]


def test_in_json_every_setting_is_there_and_no_secret(tmp_path: Path) -> None:
    ran = check(tmp_path, f'[broker]\nurl = "mqtts://b"\nusername = "c"\npassword = "{SECRET}"\n', "-o", "json")

    assert ran.exit_code == 0
    assert '"timeline.keep_days": 365' in ran.stdout
    assert SECRET not in ran.output


def test_an_authority_that_has_ended_is_told_of_unless_a_start_would_make_the_next(tmp_path: Path) -> None:
    text, now = "[enrolment]\nenabled = true\n", datetime.now(UTC)
    folder = Folder(tmp_path / "data" / "pki")
    made = pki.Authority.create(folder, "Test", now, timedelta(days=30))
    made.rotate("Test", now - timedelta(days=6 * 365))
    files = sorted(folder.path.rglob("*"))
    assert check(tmp_path, text).exit_code == 0
    assert sorted(folder.path.rglob("*")) == files

    folder.root_key.unlink()

    ran = check(tmp_path, text)
    assert ran.exit_code == 1
    assert "enrolment.folder: The issuing authority" in ran.stderr
    assert "ended at" in ran.stderr
    folder.root.write_bytes(b"")
    assert "root.pem has no certificate" in check(tmp_path, text).stderr


def test_the_environment_counts_as_it_does_for_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAINWRIGHT_CONTROLLER_HTTP__HOST", "0.0.0.0")  # noqa: S104  it is to be refused

    ran = check(tmp_path, "")

    assert (ran.exit_code, "http.allow_plain" in ran.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("[http]\nprot = 1", 2, "controller.toml:3: http.prot: unknown key (did you mean port?)"),
        ("[broker]\nurl = 'mqtts://b'\nca = 'none.pem'", 1, "broker.ca: none.pem is not there"),
        ("[broker]\nurl = 'mqtts://b'\ncertificate = '{one}'", 1, "belong together"),
        ("[broker]\nurl = 'mqtts://b'\ncertificate = '{one}'\nkey = '{other}'", 1, "are no pair"),
        ("[broker]\nurl = 'mqtts://b'\nca = '{text}'", 1, "has no certificates"),
        ("[store]\nurl = 'oracle://db/w'", 1, "store.url: "),
        ("[artifacts]\nfolder = '{text}/deep'", 1, "is not a folder"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_used_is_told_with_what_is_wrong(
    tmp_path: Path, text: str, code: int, words: str
) -> None:
    authority = Authority(tmp_path)
    names = {
        "one": authority.issue("one").certificate,
        "other": authority.issue("other").key,
        "text": tmp_path / "t",
    }
    (tmp_path / "t").write_text("not a certificate", encoding="utf-8")
    for name, path in names.items():
        text = text.replace(f"{{{name}}}", str(path))

    ran = check(tmp_path, text)

    assert (ran.exit_code, words in ran.stderr, ran.stdout) == (code, True, ""), ran.output


PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where pip has put `wainwright`


def test_a_real_bash_completes_commands_and_options() -> None:
    script = """
        eval "$(wainwright completions bash)"
        complete -p wainwright
        ask() { COMP_WORDS=(wainwright "$@"); COMP_CWORD=$#; COMPREPLY=(); _wainwright_completion wainwright; }
        ask che; echo "${COMPREPLY[@]}"
        ask deployment pr; echo "${COMPREPLY[@]}"
        ask deployment create --max-; echo "${COMPREPLY[@]}"
        ask completions z; echo "${COMPREPLY[@]}"
    """
    argv = ["bash", "-c", script]
    ran = subprocess.run(argv, check=True, capture_output=True, text=True, env=os.environ | {"PATH": PATH})

    assert ran.stdout.splitlines()[1:] == ["check-config", "promote", "--max-devices --max-failures", "zsh"], ran.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_asks_the_program_by_what_it_answers_to(shell: str) -> None:
    script = CliRunner().invoke(wainwright, ["completions", shell]).stdout
    assert f"_WAINWRIGHT_COMPLETE={shell}_complete" in script

    asks = {"_WAINWRIGHT_COMPLETE": f"{shell}_complete", "COMP_WORDS": "wainwright depl", "COMP_CWORD": "1"}
    asks |= {"COMP_CWORD": "depl"} if shell == "fish" else {}  # fish gives the word itself
    environment = os.environ | asks | {"PATH": PATH}
    ran = subprocess.run(["wainwright"], check=True, capture_output=True, text=True, env=environment)
    assert "deployment" in ran.stdout
