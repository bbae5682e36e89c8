"""The agent's configuration: every setting with its default, bounds, unit and meaning.

`docs/agent.md` lists the settings from the descriptions here; a test holds the two together. What a value must be
alone is said by its type; what values must be together by `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from wainwright_agent.credentials import Credentials
from wainwright_common import settings
from wainwright_common.brokers import BadBroker, Endpoint, check_encryption, endpoint_of, is_loopback
from wainwright_common.errors import BadTopic
from wainwright_common.settings import ConfigError
from wainwright_common.topics import PREFIX, check_device_id, check_prefix

__all__ = [
    "Broker",
    "CheckIn",
    "Config",
    "ConfigError",
    "Endpoint",
    "Enrolment",
    "Inventory",
    "Log",
    "Update",
    "load",
]

DEFAULT_FILE = Path("/etc/wainwright/agent.toml")
OWN_MODULES = Path(__file__).parent / "modules" / "v3"
MENDER_MODULES = Path("/usr/share/mender/modules/v3")
"""The update modules that come with the agent; searched last, so that an administrator can replace each."""

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")
RATE_MAX = 10**12  # bytes per second, beyond any link
KEEP_ALIVE_MAX_S = 65_535  # MQTT 3.1.1 section 3.1.2.10: two bytes


def _seconds(low: float, high: float, description: str) -> Meta:
    return Meta(ge=low, le=high, description=description)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections."""


class Broker(Section, frozen=True, kw_only=True):
    """The MQTT broker, and how the agent stays connected to it."""

    url: Annotated[str, Meta(description="`mqtts://HOST[:8883]`, or `mqtt://HOST[:1883]` without encryption.")] = (
        "mqtt://127.0.0.1:1883"
    )
    allow_plain: Annotated[
        bool, Meta(description="Allows `mqtt://` to another machine: passwords and artifact links are then readable.")
    ] = False
    ca: Annotated[Path | None, Meta(description="PEM file of the authority that signed the broker's certificate.")] = (
        None
    )
    certificate: Annotated[Path | None, Meta(description="PEM file of the device's certificate.")] = None
    key: Annotated[Path | None, Meta(description="PEM file of the device's key; both or neither of the two.")] = None
    username: Annotated[str, Meta(max_length=65_535, description="User name, where the broker wants one.")] = ""
    password: Annotated[str, Meta(max_length=65_535, description="Password of the user name.")] = ""
    prefix: Annotated[str, Meta(description="First levels of all topics; the same for the whole fleet.")] = PREFIX
    protocol: Annotated[Literal["3.1.1", "5"], Meta(description="Version of MQTT.")] = "3.1.1"
    keep_alive_s: Annotated[
        int, Meta(ge=5, le=KEEP_ALIVE_MAX_S, description="Longest silence; a dead link is found within 2.5 times this.")
    ] = 60
    connect_timeout_s: Annotated[
        float, _seconds(0.1, 600, "Limit for each step of connecting: TCP, TLS, MQTT, the subscription.")
    ] = 10
    reconnect_first_s: Annotated[
        float, _seconds(0.05, 600, "The first retry comes after a random time up to this; the bound doubles each time.")
    ] = 2
    reconnect_max_s: Annotated[float, _seconds(0.05, 3600, "Upper end of that doubling.")] = 60

    @property
    def endpoint(self) -> Endpoint:
        """Host, port and encryption of `url`; raises ConfigError when it is not a URL of a broker."""
        try:
            return endpoint_of(self.url)
        except BadBroker as error:
            raise ConfigError(str(error)) from error


class Enrolment(Section, frozen=True, kw_only=True):
    """The controller that gives this device its certificate for the broker: docs/enrolment.md."""

    url: Annotated[str, Meta(description="`https://HOST[:PORT]` of the controller; without it nobody is asked.")] = ""
    ca: Annotated[
        Path | None,
        Meta(description="PEM file of the authority's root, and of whoever else signed the controller's HTTPS."),
    ] = None
    ca_fingerprint: Annotated[
        str,
        Meta(max_length=95, description="SHA-256 of the authority's root, as `wainwright ca show` has it, instead."),
    ] = ""
    token: Annotated[str, Meta(max_length=256, description="Token by which the device is accepted at once.")] = ""
    token_file: Annotated[
        Path | None, Meta(description="File with that token, instead; it may go once it was used.")
    ] = None


class Update(Section, frozen=True, kw_only=True):
    """How an update is carried out."""

    modules: Annotated[
        tuple[Path, ...],
        Meta(
            max_length=32,
            description="Folders searched for update modules, in order; the agent's own come last, or before Mender's.",
        ),
    ] = (
        Path("/etc/wainwright/modules/v3"),
        Path("/usr/lib/wainwright/modules/v3"),
        OWN_MODULES,
        MENDER_MODULES,
    )
    scripts: Annotated[Path, Meta(description="Folder of the device's own state scripts: Idle, Sync and Download.")] = (
        Path("/etc/wainwright/scripts")
    )
    verify_keys: Annotated[
        tuple[Path, ...],
        Meta(
            max_length=32,
            description="PEM files of one or more public keys; if there are any, unsigned artifacts are refused.",
        ),
    ] = ()
    reboot_command: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=64, description="Program and arguments that reboot the device.")
    ] = ("systemctl", "reboot")
    boot_id_file: Annotated[
        Path, Meta(description="Has another content after each boot; a container points it elsewhere.")
    ] = Path("/proc/sys/kernel/random/boot_id")
    module_timeout_s: Annotated[float, _seconds(0.1, WEEK_S, "Limit for each call of an update module.")] = 14_400
    script_timeout_s: Annotated[float, _seconds(0.1, WEEK_S, "Limit for each run of a state script.")] = 3_600
    script_retry_interval_s: Annotated[
        float, _seconds(0.1, WEEK_S, "Pause before a state script that asked for it is run again.")
    ] = 60
    script_retry_timeout_s: Annotated[
        float, _seconds(0.1, WEEK_S, "How long a state script may ask to be run again.")
    ] = 1_800
    progress_interval_s: Annotated[float, _seconds(0.1, 3600, "Shortest time between two progress reports.")] = 1
    bytes_per_second: Annotated[
        int, Meta(ge=0, le=RATE_MAX, description="Most that a download may take of the link, in bytes/s; 0: no limit.")
    ] = 0
    windows: Annotated[
        tuple[str, ...],
        Meta(max_length=32, description="When to install, as `mon-fri 22:00-05:00`; downloads go on at any time."),
    ] = ()
    time_zone: Annotated[
        str, Meta(description="Zone of these times, as `Europe/Berlin`; else the device's own, `/etc/localtime`.")
    ] = ""


class CheckIn(Section, frozen=True, kw_only=True):
    """When the agent asks by itself; a command of the controller is what is fast."""

    interval_s: Annotated[
        float, _seconds(1, WEEK_S, "Time between check-ins, give or take 10 %; the controller may name another.")
    ] = 1_800


class Inventory(Section, frozen=True, kw_only=True):
    """What the device tells of itself."""

    scripts: Annotated[
        Path, Meta(description="Folder of `wainwright-inventory-*`; `mender-inventory-*` are run in Mender's, too.")
    ] = Path("/usr/lib/wainwright/inventory")
    identity: Annotated[Path, Meta(description="Program that prints `key=value`; used when `device_id` is empty.")] = (
        Path("/usr/lib/wainwright/identity")
    )
    script_timeout_s: Annotated[float, _seconds(0.1, 3600, "Limit for each of these programs.")] = 60
    interval_s: Annotated[float, _seconds(10, WEEK_S, "Time between two runs of the scripts, give or take 10 %.")] = (
        28_800
    )


class Log(Section, frozen=True, kw_only=True):
    """What the service writes to standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level that is written.")] = (
        "info"
    )


class Config(Section, frozen=True, kw_only=True):
    """All settings; `load` is what reads and checks them."""

    device_id: Annotated[str, Meta(max_length=128, description="Id of the device; else the identity program's.")] = ""
    device_type: Annotated[
        str, Meta(min_length=1, max_length=256, description="Type of the device, as artifacts name it.")
    ] = "unknown"
    data_dir: Annotated[Path, Meta(description="Folder of the journal; must survive reboots and updates.")] = Path(
        "/var/lib/wainwright"
    )
    control_socket: Annotated[
        Path, Meta(description="Socket of `wain`; where its folder cannot be written, `agent.sock` in `data_dir`.")
    ] = Path("/run/wainwright/agent.sock")
    broker: Broker = Broker()
    enrolment: Enrolment = Enrolment()
    update: Update = Update()
    check_in: CheckIn = CheckIn()
    inventory: Inventory = Inventory()
    log: Log = Log()


def load(path: Path | None, env: Mapping[str, str]) -> Config:
    """Return the configuration of a file, with the environment's overrides; raises ConfigError.

    With no path, DEFAULT_FILE is read if it exists, else the defaults hold.
    """
    file, text = settings.text_of(path, DEFAULT_FILE)
    config = settings.read(Config, text, source=str(file), env=env)
    if found := [_locate(problem, file, text, env) for problem in problems(config)]:
        raise ConfigError("\n".join(found))
    config = _with_credentials(config)
    update = msgspec.structs.replace(config.update, modules=_with_own(config.update.modules))
    return msgspec.structs.replace(config, update=update)


def _with_own(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the folders of modules with our own: the administrator's before them, Mender's after them.

    What Mender's packages bring has names that ours have, too. A module that is to be used in place of ours is put
    where administrators put theirs.
    """
    if OWN_MODULES in folders:
        return folders
    at = folders.index(MENDER_MODULES) if MENDER_MODULES in folders else len(folders)
    return (*folders[:at], OWN_MODULES, *folders[at:])


def _with_credentials(config: Config) -> Config:
    """Return the configuration with the files that enrolment brings, where the device enrols."""
    broker = config.broker
    if not config.enrolment.url:
        return config
    files = Credentials(config.data_dir)
    broker = msgspec.structs.replace(broker, certificate=files.device, key=files.device, ca=broker.ca or files.ca)
    return msgspec.structs.replace(config, broker=broker)


def problems(config: Config) -> Iterator[str]:
    """Return what is wrong with values that are right each alone, as `key: sentence`."""
    broker = config.broker
    if config.device_id:
        yield from _refusal("device_id", check_device_id, config.device_id)
    yield from _refusal("broker.prefix", check_prefix, broker.prefix)
    try:
        tls = broker.endpoint.tls
        check_encryption(broker.url, allow_plain=broker.allow_plain)
    except (BadBroker, ConfigError) as error:
        yield str(error)
    else:
        if not tls and (broker.ca or broker.certificate):
            yield "broker.ca: certificates are for mqtts:// only; broker.url is mqtt://."
    if (broker.certificate is None) != (broker.key is None):
        yield "broker.certificate: certificate and key belong together; one of them is missing."
    if broker.password and not broker.username:
        yield "broker.password: a password needs broker.username."
    if broker.reconnect_max_s < broker.reconnect_first_s:
        yield "broker.reconnect_max_s: less than broker.reconnect_first_s."
    yield from _enrolment_problems(config)
    yield from _window_problems(config.update)
    if not config.data_dir.is_absolute():
        yield "data_dir: expected an absolute path."


def _enrolment_problems(config: Config) -> Iterator[str]:
    enrolment, broker = config.enrolment, config.broker
    if not enrolment.url:
        return
    try:
        parts = urlsplit(enrolment.url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address:
        yield f"enrolment.url: {enrolment.url!r}: expected https://HOST[:PORT]."
    elif parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield "enrolment.url: http:// to another machine would let anybody give this device a certificate: use https://."
    if enrolment.ca_fingerprint and not FINGERPRINT.fullmatch(enrolment.ca_fingerprint.replace(":", "")):
        yield "enrolment.ca_fingerprint: expected the 64 hexadecimal digits of a SHA-256."
    if enrolment.ca and enrolment.ca_fingerprint:
        yield "enrolment.ca_fingerprint: set this or enrolment.ca, not both."
    if enrolment.token and enrolment.token_file:
        yield "enrolment.token_file: set this or enrolment.token, not both."
    if broker.certificate:
        yield "broker.certificate: the device gets one by enrolment.url: set one of the two."
    if broker.url.startswith("mqtt:"):
        yield "enrolment.url: the certificate is for an mqtts:// broker; broker.url is mqtt://."


def _window_problems(update: Update) -> Iterator[str]:
    if not update.windows and not update.time_zone:
        return
    from wainwright_agent import hold  # the calendar is for devices that have a window
    from wainwright_common.windows import parse

    try:
        for text in update.windows:
            parse(text)
    except ValueError as error:
        yield f"update.windows: {error}."
    try:
        hold.zone(update.time_zone)
    except ValueError as error:
        yield f"update.time_zone: {error}."


def _refusal(key: str, check: object, value: str) -> Iterator[str]:
    try:
        check(value)  # type: ignore[operator]  # one of the two checks of topics.py
    except BadTopic as error:
        yield f"{key}: {error}"


def _locate(problem: str, file: Path, text: str, env: Mapping[str, str]) -> str:
    key = problem.partition(":")[0]
    path = tuple(key.split("."))
    variable = settings.ENV_PREFIX + settings.ENV_SECTION_END.join(path).upper()
    if variable in env:
        return f"{variable} (environment): {problem}"
    line = settings.line_of(text, path)
    return f"{file}{f':{line}' if line else ''}: {problem}"
