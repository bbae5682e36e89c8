"""The configuration: defaults, files, the environment, and errors that name file, key and line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from wainwright_agent.config import MENDER_MODULES, OWN_MODULES, Config, ConfigError, load
from wainwright_common import settings

SAMPLE = """\
device_id   = "press-07"
device_type = "raspberrypi4"
data_dir    = "/var/lib/wainwright"
[broker]                          # url = "mqtts://broker.example:8883"
url = "mqtt://127.0.0.1:1883"
[update]
modules   = ["/usr/lib/wainwright/modules/v3", "/usr/share/mender/modules/v3"]
scripts   = "/etc/wainwright/scripts"
verify_keys = []
reboot_command = ["systemctl", "reboot"]
boot_id_file = "/proc/sys/kernel/random/boot_id"
module_timeout_s = 14400
script_timeout_s = 3600
script_retry_interval_s = 60
script_retry_timeout_s = 1800
[check_in]
interval_s = 1800
[inventory]
scripts = "/usr/lib/wainwright/inventory"
identity = "/usr/lib/wainwright/identity"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_documented_configuration_is_read_as_it_stands(tmp_path: Path) -> None:
    config = load(written(tmp_path, SAMPLE), {})

    assert config.device_id == "press-07"
    assert config.update.module_timeout_s == 14400
    assert config.update.reboot_command == ("systemctl", "reboot")
    assert config.inventory.scripts == Path("/usr/lib/wainwright/inventory")


def test_every_key_has_a_default() -> None:
    assert load(None, {}).update.module_timeout_s == 14400
    assert all(default is not msgspec.NODEFAULT for _, _, default in settings.leaves(Config))


def test_the_agents_own_modules_go_before_those_of_menders_packages(tmp_path: Path) -> None:
    config = load(written(tmp_path, '[update]\nmodules = ["/a", "/usr/share/mender/modules/v3", "/b"]'), {})

    assert config.update.modules == (Path("/a"), OWN_MODULES, MENDER_MODULES, Path("/b"))
    assert load(None, {}).update.modules[-2:] == (OWN_MODULES, MENDER_MODULES)


def test_the_agents_own_modules_are_searched_last(tmp_path: Path) -> None:
    config = load(written(tmp_path, '[update]\nmodules = ["/a", "/b"]'), {})

    assert config.update.modules == (Path("/a"), Path("/b"), OWN_MODULES)


def test_a_missing_file_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[update]\n\nmodul_timeout_s = 5\n",
            ":3: update.modul_timeout_s: unknown key (did you mean module_timeout_s?)",
        ),
        ("[uptade]\nmodule_timeout_s = 5\n", ":1: uptade: unknown key (did you mean update?)"),
        ('[update]\nmodule_timeout_s = "5"\n', ":2: update.module_timeout_s: expected a number, got a text"),
        ("[check_in]\ninterval_s = 0\n", ":2: check_in.interval_s: expected a number >= 1"),
        ("device_id = 7\n", ":1: device_id: expected a text, got a whole number"),
        ('device_id = "press 07"\n', ":1: device_id: 'press 07' is not a device id"),
        ("update = 3\n", ":1: update: expected a table"),
        ('data_dir = ""\n', ":1: data_dir: expected a path"),
        ('[update]\nreboot_command = ""\n', ":2: update.reboot_command: expected a list, got a text"),
        ("update.module_timeout_s = true\n", ":1: update.module_timeout_s: expected a number, got true or false"),
        ('[broker]\nurl = "http://x"\n', ":2: broker.url: 'http://x': expected mqtt://HOST[:PORT]"),
        ('[broker]\nurl = "mqtt://me:hush@x:y"\n', ":2: broker.url: user and password do not belong there"),
        ('[broker]\nurl = "mqtt://x:99999"\n', ":2: broker.url: 'mqtt://x:99999': Port out of range"),
        ('[broker]\nurl = "mqtt://broker.example"\n', ":2: broker.url: mqtt://broker.example would send everything"),
        ('[broker]\nprefix = "a/#"\n', ":2: broker.prefix: 'a/#' is not a topic prefix"),
        ('[broker]\nprotocol = "4"\n', ":2: broker.protocol: Invalid enum value '4'"),
        ('[broker]\nurl = "mqtts://b"\nkey = "/k"\n', "broker.certificate: certificate and key belong together"),
        ('[broker]\npassword = "x"\n', ":2: broker.password: a password needs broker.username"),
        ("device_id =\n", "not TOML: Invalid value (at line 1, column 12)"),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    file = written(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load(file, {})

    assert str(caught.value).startswith(str(file))
    assert "hush" not in str(caught.value)
    assert expected in str(caught.value)


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "a = 1\n[check_in]\ninterval_s = -1\n"), {})

    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["a", "check_in.interval_s"]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[update]\nmodule_timeout_s = 9\n")

    config = load(
        file,
        {
            "WAINWRIGHT_UPDATE__MODULE_TIMEOUT_S": "5",
            "WAINWRIGHT_UPDATE__VERIFY_KEYS": '["/a.pem", "/b.pem"]',
            "WAINWRIGHT_BROKER__ALLOW_PLAIN": "true",
            "WAINWRIGHT_DEVICE_ID": "12",
            "WAINWRIGHT_TOKEN": "the operator's tool, not ours",
        },
    )

    assert config.update.module_timeout_s == 5
    assert config.update.verify_keys == (Path("/a.pem"), Path("/b.pem"))
    assert config.broker.allow_plain is True
    assert config.device_id == "12"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WAINWRIGHT_UPDATE__MODULE_TIMEOUT_S", "soon", "expected a number, got a text"),
        ("WAINWRIGHT_UPDATE__MODULE_TIMEOUT", "5", "unknown key (did you mean WAINWRIGHT_UPDATE__MODULE_TIMEOUT_S?)"),
        ("WAINWRIGHT_BROKER__URL", "mqtt://broker.example", "would send everything readable"),
    ],
)
def test_an_error_in_the_environment_names_the_variable(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {name: value})

    assert str(caught.value).startswith(f"{name} (environment): ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "[::1]"])
def test_plain_mqtt_is_allowed_on_this_machine(host: str) -> None:
    assert not load(None, {"WAINWRIGHT_BROKER__URL": f"mqtt://{host}:1884"}).broker.endpoint.tls


def test_plain_mqtt_to_another_machine_is_allowed_when_a_setting_says_so() -> None:
    env = {"WAINWRIGHT_BROKER__URL": "mqtt://broker.example", "WAINWRIGHT_BROKER__ALLOW_PLAIN": "true"}

    assert load(None, env).broker.endpoint == ("broker.example", 1883, False)


def test_every_setting_has_a_description() -> None:
    for path, kind, _ in settings.leaves(Config):
        assert settings.description_of(kind), path
