"""The controller's configuration: every setting with its default, bounds, unit and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from wainwright_common import settings
from wainwright_common.brokers import BadBroker, check_encryption, is_loopback
from wainwright_common.errors import BadTopic
from wainwright_common.settings import ConfigError
from wainwright_common.topics import check_prefix

DEFAULT_FILE = Path("/etc/wainwright/controller.toml")
EMBEDDED = "embedded"
FLEET_MAX = 1_000_000  # devices: beyond any fleet that one store holds, so as a limit it is none
ENV_PREFIX = "WAINWRIGHT_CONTROLLER_"  # of its own: an agent may run in the same environment


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections."""


class Http(Section, frozen=True, kw_only=True):
    """The HTTP API, and the links that devices download from."""

    host: Annotated[
        str, Meta(description="Address to listen on; beyond loopback only with `tls`, or with `allow_plain`.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="TCP port; 0 takes a free one.")] = 8080
    public_url: Annotated[str, Meta(description="How devices reach this server; else `http(s)://HOST:PORT`.")] = ""
    tls: Annotated[
        bool, Meta(description="Serves HTTPS, with a certificate of its own authority or `certificate`.")
    ] = False
    certificate: Annotated[
        str, Meta(description="PEM file of another authority's certificate for this server, with its chain.")
    ] = ""
    key: Annotated[str, Meta(description="PEM file of that certificate's key; both or neither of the two.")] = ""
    token: Annotated[
        str, Meta(description="A token of an admin, called `configuration`; if set, everybody needs one.")
    ] = ""
    require_token: Annotated[
        bool, Meta(description="Asks everybody for a token; always so where more than this machine reaches the API.")
    ] = False
    allow_plain: Annotated[
        bool, Meta(description="Allows to listen beyond loopback without TLS, for example behind a proxy that has it.")
    ] = False
    connections_max: Annotated[
        int, Meta(ge=10, le=100_000, description="Connections that may be open at once; each may need three files.")
    ] = 2000
    connections_per_address_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Of them, or of requests through a proxy on this machine, from one address (IPv6: a /64).",
        ),
    ] = 500
    head_timeout_s: Annotated[
        float, Meta(ge=0.1, le=600, description="How long a peer may take for the head of a request.")
    ] = 20.0
    stall_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="How long a peer may keep a body or an answer waiting, at 0 bytes/s.")
    ] = 120.0


class StoreSection(Section, frozen=True, kw_only=True):
    """The database."""

    url: Annotated[str, Meta(description="`postgresql://USER@HOST/DATABASE`; else a SQLite file in `data_dir`.")] = ""


class BrokerSection(Section, frozen=True, kw_only=True):
    """The MQTT broker; `host` and `port` are for the embedded one, the rest is for any."""

    url: Annotated[str, Meta(description="`embedded`, or `mqtt://HOST:PORT`, or `mqtts://HOST:PORT`.")] = EMBEDDED
    host: Annotated[
        str, Meta(description="Address that the embedded broker listens on; beyond loopback only with `tls`.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port of the embedded broker; 0 takes a free one.")] = 1883
    tls: Annotated[
        bool, Meta(description="The embedded broker speaks TLS, and devices need certificates of the authority.")
    ] = False
    prefix: Annotated[str, Meta(description="First levels of all topics.")] = "wain/v1"
    protocol: Annotated[str, Meta(pattern="^(3.1.1|5)$", description="Version of MQTT: 3.1.1 or 5.")] = "3.1.1"
    client_id: Annotated[str, Meta(description="Session of this controller; each needs its own.")] = (
        "wainwright-controller"
    )
    share: Annotated[str, Meta(description="Share group, where several controllers divide the traffic.")] = ""
    username: Annotated[str, Meta(description="User name, where the broker wants one.")] = ""
    password: Annotated[str, Meta(description="Password of the user name.")] = ""
    ca: Annotated[str, Meta(description="PEM file of the authority that signed the broker's certificate.")] = ""
    certificate: Annotated[str, Meta(description="PEM file of the controller's certificate.")] = ""
    key: Annotated[str, Meta(description="PEM file of the controller's key.")] = ""
    allow_plain: Annotated[
        bool,
        Meta(description="Allows what a network can read: `mqtt://` to another machine, or `host` without `tls`."),
    ] = False
    pid_file: Annotated[
        str, Meta(description="The broker's, to send it SIGHUP when its revocation list is a new one.")
    ] = ""
    reload_command: Annotated[
        tuple[str, ...], Meta(max_length=64, description="Program and arguments that do so, in place of `pid_file`.")
    ] = ()
    takeover_url: Annotated[
        str,
        Meta(description="Listener that lets this controller choose its client id, to end sessions; see enrolment.md."),
    ] = ""
    disconnect_command: Annotated[
        tuple[str, ...],
        Meta(max_length=64, description="Program and arguments that end the session of `{client_id}` in its place."),
    ] = ()


class Devices(Section, frozen=True, kw_only=True):
    """What the controller asks of devices."""

    auto_accept: Annotated[bool, Meta(description="Accepts every new device at once; for trials only.")] = False
    check_in_interval_s: Annotated[
        int, Meta(ge=1, le=7 * 86_400, description="Time between check-ins of a device that nothing wakes.")
    ] = 1800
    pending_max: Annotated[
        int, Meta(ge=0, le=10_000_000, description="Unknown devices that are remembered until somebody decides.")
    ] = 100_000


class Enrolment(Section, frozen=True, kw_only=True):
    """The authority, and the certificates that devices get from it: docs/enrolment.md."""

    enabled: Annotated[bool, Meta(description="Serves EST, so that devices can ask for certificates.")] = False
    folder: Annotated[
        str, Meta(description="Folder of the authority, the same for several controllers; else `pki` in `data_dir`.")
    ] = ""
    name: Annotated[
        str, Meta(min_length=1, max_length=32, description="How the names of a new authority's certificates begin.")
    ] = "Wainwright"
    certificate_lifetime_s: Annotated[
        int, Meta(ge=60, le=398 * 86_400, description="How long a device's certificate holds; renewed at two thirds.")
    ] = 90 * 86_400
    crl_lifetime_s: Annotated[
        int, Meta(ge=60, le=398 * 86_400, description="How long a revocation list holds; written anew at a third.")
    ] = 30 * 86_400


class Deployments(Section, frozen=True, kw_only=True):
    """What deployments must pass before they begin."""

    approval_above: Annotated[
        int,
        Meta(
            ge=0,
            le=FLEET_MAX,
            description="A deployment that may reach more devices than this waits for the approval of another admin.",
        ),
    ] = FLEET_MAX


class Artifacts(Section, frozen=True, kw_only=True):
    """The stored files."""

    folder: Annotated[
        str, Meta(description="Folder of the files, the same for several controllers; else `artifacts` in `data_dir`.")
    ] = ""
    max_bytes: Annotated[int, Meta(ge=1024, description="Largest artifact that is taken, in bytes.")] = 10 * 2**30
    verify_keys: Annotated[
        tuple[str, ...],
        Meta(
            max_length=32,
            description="PEM files of one or more public keys; if there are any, what none signed is not stored.",
        ),
    ] = ()
    total_max_bytes: Annotated[int, Meta(ge=1024, description="What all stored artifacts may have together.")] = 2**40
    keep_free_bytes: Annotated[
        int, Meta(ge=2**20, description="Kept free on the artifacts' disk: the database, too, must be able to write.")
    ] = 256 * 2**20
    link_lifetime_s: Annotated[int, Meta(ge=10, le=30 * 86_400, description="How long a download link is valid.")] = (
        86_400
    )


class Timeline(Section, frozen=True, kw_only=True):
    """How much of the timelines stays. A deployment's own lines, and how each device ended in it, always do."""

    keep_days: Annotated[
        int, Meta(ge=1, le=36_500, description="Steps of devices, and their lines without a deployment, go after it.")
    ] = 365
    device_lines_max: Annotated[
        int, Meta(ge=10, le=1_000_000, description="Lines without a deployment that stay, of each device.")
    ] = 1000


class Log(Section, frozen=True, kw_only=True):
    """What is written to standard error."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning, error.")] = (
        "info"
    )


class Config(Section, frozen=True, kw_only=True):
    """All settings; `load` is what reads and checks them."""

    data_dir: Annotated[Path, Meta(description="Folder of the database, the artifacts and the embedded broker.")] = (
        Path("/var/lib/wainwright-controller")
    )
    http: Http = Http()
    store: StoreSection = StoreSection()
    broker: BrokerSection = BrokerSection()
    devices: Devices = Devices()
    enrolment: Enrolment = Enrolment()
    deployments: Deployments = Deployments()
    artifacts: Artifacts = Artifacts()
    timeline: Timeline = Timeline()
    log: Log = Log()

    @property
    def artifacts_folder(self) -> Path:
        """Where the stored files are."""
        return Path(self.artifacts.folder) if self.artifacts.folder else self.data_dir / "artifacts"

    @property
    def has_authority(self) -> bool:
        """Whether this controller signs certificates: for devices, for its own server or for its own broker."""
        return self.enrolment.enabled or (self.http.tls and not self.http.certificate) or self.broker.tls

    @property
    def scheme(self) -> str:
        """How this controller's own server is spoken to."""
        return "https" if self.http.tls else "http"

    @property
    def pki_folder(self) -> Path:
        """Where the authority's files are."""
        return Path(self.enrolment.folder) if self.enrolment.folder else self.data_dir / "pki"

    @property
    def needs_token(self) -> bool:
        """Whether every request needs a token; else whoever brings none is the local admin (docs/security.md)."""
        http = self.http
        hosts = [http.host, urlsplit(http.public_url).hostname if http.public_url else None]
        return http.require_token or bool(http.token) or not all(is_loopback(host) for host in hosts if host)

    @property
    def store_url(self) -> str:
        """The database's URL."""
        return self.store.url or f"sqlite:///{self.data_dir / 'wainwright.db'}"


def load(path: Path | None, env: Mapping[str, str]) -> Config:
    """Return the configuration of a file with the environment's overrides; raises ConfigError.

    With no path, DEFAULT_FILE is read if it exists, else the defaults hold.
    """
    file, text = settings.text_of(path, DEFAULT_FILE)
    config = settings.read(Config, text, source=str(file), env=env, prefix=ENV_PREFIX)
    check(config)
    return config


def check(config: Config) -> None:
    """Raise ConfigError for values that are right each alone and wrong together."""
    try:
        check_prefix(config.broker.prefix)
        if config.broker.url != EMBEDDED:
            check_encryption(config.broker.url, allow_plain=config.broker.allow_plain)
        if config.broker.takeover_url:
            check_encryption(config.broker.takeover_url, allow_plain=config.broker.allow_plain)
    except BadTopic as error:
        raise ConfigError(f"broker.prefix: {error}") from error
    except BadBroker as error:
        raise ConfigError(str(error)) from error
    if config.broker.url == EMBEDDED and config.broker.share:
        raise ConfigError(
            "broker.share: the embedded broker has no shared subscriptions, so this controller would hear nothing:"
            " leave it out, or set broker.url to a broker that several controllers share."
        )
    if config.broker.tls and config.broker.url != EMBEDDED:
        raise ConfigError("broker.tls: it is for the embedded broker; of another, broker.url says it: mqtts://.")
    if bool(config.http.certificate) != bool(config.http.key):
        raise ConfigError("http.certificate: certificate and key belong together; one of them is missing.")
    if config.http.certificate and not config.http.tls:
        raise ConfigError("http.certificate: it is for HTTPS only: set http.tls = true.")
    for key, host, allowed, other in (
        ("http", config.http.host, config.http.allow_plain or config.http.tls, " or http.tls = true,"),
        ("broker", config.broker.host, config.broker.allow_plain or config.broker.tls, " or broker.tls = true,"),
    ):
        if not allowed and not is_loopback(host):
            raise ConfigError(
                f"{key}.host: {host} is reachable from other machines, without encryption:"
                f" use 127.0.0.1,{other} or set {key}.allow_plain = true if you accept that."
            )
