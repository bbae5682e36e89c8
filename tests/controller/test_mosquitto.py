"""What `wainwright broker-config` writes, read by the real Mosquitto."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from click.testing import CliRunner, Result
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.authority import Authority
from tests.support.clients import end_client
from tests.support.debian import authority_steps, guides_configuration
from tests.support.mosquitto import Mosquitto
from tests.support.printed_mosquitto import PrintedMosquitto
from tests.support.wait import wait_until
from wainwright_controller import mosquitto
from wainwright_controller.cli.main import wainwright
from wainwright_controller.config import load
from wainwright_controller.mosquitto import MARK, LocalListener, Setup

ROOT = Path(__file__).parents[2]
NAME, PASSWORD = "wainwright-controller-here", "correct horse battery staple"
LOCAL = f'[broker]\nusername = "{NAME}"\npassword = "{PASSWORD}"\n'
SETUP = Setup(pki=Path("/pki"), prefix="wain/v1")
FULL = Setup(
    pki=Path("/pki"),
    prefix="wain/v1",
    controllers=("wainwright-controller", "wainwright-controller-2"),
    local=LocalListener(port=1883, user=NAME, password=PASSWORD, salt=b"salt" * 3),
)


def run(config: Path, *options: str) -> Result:
    return CliRunner().invoke(wainwright, ["broker-config", "--config", str(config), *options])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An empty configuration of a controller."""
    file = tmp_path / "controller.toml"
    file.write_text(f'data_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    return file


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[PrintedMosquitto]:
    """A broker that runs what was written, with a second listener for a controller on its machine."""
    Authority(tmp_path / "pki").issue("127.0.0.1", is_server=True, file_name="broker")
    made = PrintedMosquitto(tmp_path, tmp_path / "pki", "--controller", "wainwright-controller-2")
    made.has_local_listener = True
    made.controller_config.write_text(LOCAL, encoding="utf-8")
    with made:
        yield made


def answer_to(port: int, name: str | None, password: str | None) -> str:
    """Return what the broker says to a client with this name and password, and no certificate."""
    said: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    if name is not None:
        client.username_pw_set(name, password)

    def on_connect(
        _client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        said.append(str(reason))

    client.on_connect = on_connect
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(lambda: said, what="the answer")
    end_client(client)
    return said[0]


def test_mosquitto_takes_it_without_a_warning(broker: PrintedMosquitto) -> None:
    broker.reload()

    assert "Reloading config" in broker.log
    assert not re.search("Warning|Error:|Unknown|Invalid", broker.log)


def test_mosquitto_would_not_take_a_word_that_it_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "mosquitto.conf"
    file.write_text(mosquitto.configuration(SETUP).replace("max_qos", "max_quos"), encoding="utf-8")

    done = subprocess.run(
        [Mosquitto(tmp_path).program, "-c", str(file)], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode != 0
    assert 'Unknown configuration variable "max_quos"' in done.stderr


@pytest.mark.parametrize(
    ("name", "password", "answer"),
    [
        (NAME, PASSWORD, "Success"),
        (NAME, "wrong", "Not authorized"),
        (NAME, None, "Not authorized"),
        ("wainwright-controller", PASSWORD, "Not authorized"),
        ("press-07", None, "Not authorized"),
        (None, None, "Not authorized"),
    ],
)
def test_the_listener_for_this_machine_asks_for_the_password(
    broker: PrintedMosquitto, name: str | None, password: str | None, answer: str
) -> None:
    assert answer_to(broker.port, name, password) == answer


def test_every_setting_is_below_a_reason() -> None:
    for paragraph in mosquitto.configuration(FULL).split("\n\n"):
        lines = paragraph.strip().splitlines()
        assert lines[0].startswith("#") or lines == ["listener 8883", *lines[1:]], paragraph
        assert not lines[-1].startswith("#") or re.match("# (----|It is complete)", lines[-1]), paragraph


def test_the_page_about_the_protocol_has_the_same_rules_for_devices() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

    assert f"```\n{mosquitto.device_rules('wain/v1')}\n```" in page


def test_every_controller_has_its_rights_and_no_device_has_them() -> None:
    rules = mosquitto.access_list(FULL)
    users = re.findall(r"^user (\S+)\ntopic read  wain/v1/\+/up/#\ntopic write wain/v1/\+/down/#$", rules, re.MULTILINE)

    assert users == ["wainwright-controller", "wainwright-controller-2", NAME]
    assert rules.count("\nuser ") == 3
    assert all("%u" in line for line in rules.splitlines() if line.startswith("pattern"))


def test_a_password_is_written_as_mosquitto_passwd_would_and_nowhere_in_the_clear() -> None:
    assert FULL.local is not None
    [*_, line] = mosquitto.passwords(FULL.local).splitlines()

    assert re.fullmatch(rf"{NAME}:\$7\$\d+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]{{88}}", line)
    assert PASSWORD not in "".join(file.text for file in mosquitto.files(FULL)) + repr(FULL)


def test_systemd_takes_the_drop_in_for_debians_unit_and_the_units_that_reload_it(tmp_path: Path) -> None:
    units = tmp_path / "units"
    (units / "mosquitto.service.d").mkdir(parents=True)
    shutil.copy("/lib/systemd/system/mosquitto.service", units)
    made = {file.name: file.text for file in mosquitto.files(SETUP)}
    (units / "mosquitto.service.d" / "wainwright.conf").write_text(made["mosquitto.service.conf"], encoding="utf-8")
    for name in ("wainwright-broker-reload.path", "wainwright-broker-reload.service"):
        (units / name).write_text(made[name], encoding="utf-8")

    files = [str(path) for path in units.iterdir() if path.is_file()]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "LimitNOFILE=10100\n" in made["mosquitto.service.conf"]
    assert "PathChanged=/pki/crl.pem\n" in made["wainwright-broker-reload.path"]
    reload = made["mosquitto.service.conf"].partition("ExecReload=\nExecReload=")[2].partition("\n")[0]
    assert shlex.split(reload)[0] == "/bin/sh"  # and not Debian's /bin/kill, which is not on every Debian


def test_the_guides_controller_keeps_the_list_of_revocations_current(tmp_path: Path) -> None:
    """Without an authority of its own nobody would write the list anew, and the broker would let nobody in one day."""
    file = tmp_path / "controller.toml"
    file.write_text(guides_configuration(), encoding="utf-8")
    config = load(file, {})
    assert config.enrolment.enabled
    assert str(config.pki_folder) in authority_steps()


def test_the_files_are_readable_to_whom_they_must_be(config: Path, tmp_path: Path) -> None:
    config.write_text(LOCAL, encoding="utf-8")
    done = run(config, "--to", str(tmp_path / "to"), "--user", getpass.getuser(), "--local-port", "1883")

    assert done.exit_code == 0, done.stderr
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "to").iterdir()}
    assert modes == {
        "mosquitto.conf": 0o644,
        "acl": 0o600,
        "passwords": 0o600,
        "mosquitto.service.conf": 0o644,
        "wainwright-broker-reload.path": 0o644,
        "wainwright-broker-reload.service": 0o644,
    }
    assert f"acl_file {tmp_path}/to/acl\n" in (tmp_path / "to" / "mosquitto.conf").read_text()


def test_a_file_of_somebody_else_is_replaced_only_when_that_was_said(config: Path, tmp_path: Path) -> None:
    options = "--to", str(tmp_path), "--user", getpass.getuser()
    (tmp_path / "acl").write_text("topic read #\n", encoding="utf-8")

    refused = run(config, *options)
    assert (refused.exit_code, (tmp_path / "acl").read_text()) == (4, "topic read #\n")
    assert f"{tmp_path}/acl was not made by this command" in refused.stderr
    assert not (tmp_path / "mosquitto.conf").exists()

    assert run(config, *options, "--yes").exit_code == 0
    assert run(config, *options).exit_code == 0
    assert (tmp_path / "acl").read_text().startswith(MARK)


def test_what_is_printed_is_what_is_written_with_the_other_files_as_comments(config: Path) -> None:
    table, document = run(config), json.loads(run(config, "-o", "json").stdout)

    assert [file["name"] for file in document] == [
        "mosquitto.conf",
        "acl",
        "mosquitto.service.conf",
        "wainwright-broker-reload.path",
        "wainwright-broker-reload.service",
    ]
    assert table.stdout.startswith(document[0]["text"])
    rest = table.stdout.removeprefix(document[0]["text"]).splitlines()
    assert [line for line in rest if line and not line.startswith("#")] == []
    for line in "".join(file["text"] for file in document[1:]).splitlines():
        assert f"#   {line}".rstrip() in rest


def test_the_controllers_settings_are_its_settings(config: Path, tmp_path: Path) -> None:
    broker = '[broker]\nurl = "mqtts://broker.example:8884"\nprefix = "plant/north"\nshare = "all"\n'
    config.write_text(f'data_dir = "{tmp_path}"\n{broker}', encoding="utf-8")
    done = run(config)

    assert "\nlistener 8884\n" in done.stdout
    assert "pattern write plant/north/%u/up/report" in done.stdout
    assert f"cafile   {tmp_path}/pki/ca.pem\n" in done.stdout
    assert "does not have ca.pem, crl.pem, broker.pem, broker.key yet" in done.stderr
    assert "broker.share can be guessed" in done.stderr


@pytest.mark.parametrize("setting", ["url", "takeover_url"])
def test_a_controller_that_is_configured_for_a_listener_on_its_machine_gets_one(config: Path, setting: str) -> None:
    config.write_text(f'{LOCAL}{setting} = "mqtt://127.0.0.1:1893"\n', encoding="utf-8")
    done = run(config)

    assert done.exit_code == 0, done.stderr
    assert "\nlistener 8883\n" in done.stdout
    assert "\nlistener 1893 127.0.0.1\n" in done.stdout


def test_a_name_of_a_device_does_not_get_a_controllers_rights(config: Path) -> None:
    config.write_text(LOCAL.replace(NAME, "press-07"), encoding="utf-8")
    done = run(config, "--local-port", "1883")

    assert done.exit_code == 2
    assert "'press-07' may be a device's name" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--local-port", "1883"], "set broker.username and broker.password"),
        (["--controller", "wainwright-controller-+"], "nor wainwright-controller-WORD"),
        (["--controller", "press-07"], "nor wainwright-controller-WORD"),
        (["--host", "127.0.0.1\nallow_anonymous true"], "has spaces in it"),
        (["--port", "0"], "not in the range"),
    ],
)
def test_what_cannot_be_meant_is_refused(config: Path, options: list[str], words: str) -> None:
    done = run(config, *options)

    assert done.exit_code == 2
    assert words in done.stderr
