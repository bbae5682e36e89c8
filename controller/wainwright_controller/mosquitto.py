"""What Mosquitto needs to be this controller's broker: its configuration, access list and limits, each with its reason.

The only place that knows them: `wainwright broker-config` prints them, and docs/protocol.md and the tests are held to
them. Pure: texts from values. All of it is written for Mosquitto 2.0.11 (Debian 12) and later.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from wainwright_common.messages import PAYLOAD_MAX
from wainwright_common.topics import Kind
from wainwright_controller.pki import CONTROLLER, Folder

FOLDER = Path("/etc/wainwright/broker")  # where the files are meant to be, unless told otherwise
STORE = Path("/var/lib/mosquitto")
USER = "mosquitto"  # as Debian's package makes it
PORT = 8883

MARK = "# Made by `wainwright broker-config`"
"""How each of the files begins, so that one that somebody wrote by hand is not replaced unasked."""

PACKET_OVERHEAD = 4096  # bytes beside a payload: MQTT's header, the longest topic (661), properties that nobody sends
FILES_OF_ITS_OWN = 100  # open files of the broker beside its clients: listeners, its store, its log
PASSWORD_ITERATIONS = (
    20_000  # of PBKDF2 with SHA-512; Mosquitto checks a password for each connection, in its one thread
)
PASSWORD_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, or all of them, can cost the broker."""

    connections: int = 10_000
    """Of one listener. With TLS one takes 18 to 25 kB."""
    packet_bytes: int = PAYLOAD_MAX + PACKET_OVERHEAD
    """The largest packet; whoever sends, or announces, a larger one is disconnected."""
    in_flight: int = 1000
    """Messages that a client has been sent and has not acknowledged: those of two batches of a controller."""
    queued_messages: int = 250_000
    """Messages that wait for one client: of 10,000 devices that nobody updates, those of half a day without the
    controller. Each costs some 400 bytes beside its content. More of them would make everybody wait longer for whoever
    floods: a controller takes some 10,000 a second."""
    queued_mib: int = 256
    """Content that waits for one client, in MiB."""
    session_days: int = 14
    """How long a session waits for its client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalListener:
    """A listener without TLS for this machine's loopback: for a controller beside the broker, by name and password."""

    port: int
    user: str
    password: str = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the files depend on. `pki` is the folder of the controller's certificate authority."""

    pki: Path
    prefix: str
    folder: Path = FOLDER
    store: Path = STORE
    user: str = USER
    host: str = ""
    """The address to listen on; "" for all of the machine's."""
    port: int = PORT
    controllers: tuple[str, ...] = (CONTROLLER,)
    """The common names of the controllers' certificates; each controller needs its own."""
    local: LocalListener | None = None
    limits: Limits = Limits()

    @property
    def certificates(self) -> tuple[Path, Path, Path, Path]:
        """The authority's certificates, its revocations, and the broker's certificate and key."""
        folder = Folder(self.pki)
        return folder.ca, folder.crl, folder.broker, folder.broker_key


@dataclass(frozen=True, slots=True)
class File:
    """A file of the folder; `is_secret` is for the broker's user alone."""

    name: str
    text: str
    is_secret: bool


def files(setup: Setup) -> list[File]:
    """Return the files of a setup; the first one is the configuration, which names the others."""
    made = [
        File("mosquitto.conf", configuration(setup), is_secret=False),
        File("acl", access_list(setup), is_secret=True),
    ]
    if setup.local is not None:
        made.append(File("passwords", passwords(setup.local), is_secret=True))
    made += [
        File("mosquitto.service.conf", drop_in(setup), is_secret=False),
        File("wainwright-broker-reload.path", reload_path(setup), is_secret=False),
        File("wainwright-broker-reload.service", _RELOAD_SERVICE.format(mark=MARK), is_secret=False),
    ]
    return made


def configuration(setup: Setup) -> str:
    """Return mosquitto.conf: complete, so that nothing is included and nothing of the distribution's is added."""
    authority, revocations, certificate, key = setup.certificates
    limits = setup.limits
    local = "" if setup.local is None else _LOCAL.format(port=setup.local.port, connections=limits.connections)
    return _CONFIGURATION.format(
        mark=MARK,
        folder=setup.folder,
        store=setup.store,
        user=setup.user,
        names="" if setup.local is None else _NAMES.format(folder=setup.folder),
        listener=f"{setup.port} {setup.host}".rstrip(),
        authority=authority,
        revocations=revocations,
        certificate=certificate,
        key=key,
        connections=limits.connections,
        packet_bytes=limits.packet_bytes,
        in_flight=limits.in_flight,
        queued_messages=limits.queued_messages,
        queued_bytes=limits.queued_mib * 2**20,
        session_days=limits.session_days,
        local=local,
    )


def access_list(setup: Setup) -> str:
    """Return the access list: a device has its own topics, a controller those of all devices."""
    users = [*setup.controllers, *([setup.local.user] if setup.local else [])]
    blocks = [
        f"user {user}\ntopic read  {setup.prefix}/+/up/#\ntopic write {setup.prefix}/+/down/#"
        for user in dict.fromkeys(users)
    ]
    return _ACCESS_LIST.format(mark=MARK, device=device_rules(setup.prefix), controllers="\n\n".join(blocks))


def device_rules(prefix: str) -> str:
    """Return the lines that confine every device to its topics; %u is the common name of its certificate."""
    lines = [f"pattern write {prefix}/%u/{kind}" for kind in Kind if kind.is_up]
    return "\n".join([*lines, f"pattern read {prefix}/%u/down/#"])


def passwords(local: LocalListener) -> str:
    """Return the password file: Mosquitto's form of PBKDF2 (`$7$ITERATIONS$SALT$HASH`)."""
    digest = hashlib.pbkdf2_hmac("sha512", local.password.encode(), local.salt, PASSWORD_ITERATIONS, PASSWORD_BYTES)
    salt, hashed = (base64.b64encode(value).decode() for value in (local.salt, digest))
    return (
        f"{MARK}. The password is broker.password in the controller's configuration.\n"
        f"{local.user}:$7${PASSWORD_ITERATIONS}${salt}${hashed}\n"
    )


def drop_in(setup: Setup) -> str:
    """Return what makes Debian's unit run this configuration, with as many open files as the limits ask for."""
    listeners = 1 if setup.local is None else 2
    return _DROP_IN.format(
        mark=MARK, folder=setup.folder, files=setup.limits.connections * listeners + FILES_OF_ITS_OWN
    )


def reload_path(setup: Setup) -> str:
    """Return what has systemd reload the broker when the controller has revoked or renewed a certificate."""
    return _RELOAD_PATH.format(mark=MARK, changed="\n".join(f"PathChanged={path}" for path in setup.certificates))


_CONFIGURATION = """\
{mark}: make it anew rather than edit it. Reload it with SIGHUP.
# It is complete: run it by itself (`mosquitto -c FILE`), not from conf.d, where Debian's own settings are added to it.

# ---- Who may do what ----

# One set of rules for all listeners. Apart for each, a client that is away would be judged by the listener of its last
# visit.
per_listener_settings false
# Whoever cannot say who he is, is not let in.
allow_anonymous false
# A device has its own topics, a controller those of all devices; nobody has others, nor $SYS. Mosquitto grants every
# subscription and applies the list to each message that it delivers, so a device that asks for # is told yes and gets
# nothing.
acl_file {folder}/acl
{names}
# ---- The listener for devices and controllers ----

listener {listener}
# TLS 1.0 and 1.1 can be broken; of 1.2, only what keeps yesterday's traffic secret when a key becomes known.
tls_version tlsv1.2
ciphers ECDHE+AESGCM:ECDHE+CHACHA20
# The controller's authority, and nobody else, says who is who: no other authority may be in this file.
cafile   {authority}
certfile {certificate}
keyfile  {key}
# Whom the authority has revoked. Mosquitto reads it at the start and at SIGHUP, and leaves connections alone that it
# has already: the controller ends those. When the list itself is out of date, nobody is let in.
crlfile  {revocations}
# Who a client is, is the common name of its certificate, whatever user name or client id it sends. Without the last
# of the three, a device that knows another's id could end its connection and take over its session.
require_certificate true
use_identity_as_username true
use_username_as_clientid true
# A flood of connections ends here, and not with the machine's memory. The slots are for everybody: a limit for each
# address is the firewall's matter.
max_connections {connections}
# Nothing of the protocol needs QoS 2, whose half of a handshake makes the broker remember.
max_qos 1
{local}
# ---- Limits ----

# The largest payload of the protocol, 256 KiB, and its envelope. Whoever announces more is disconnected before he has
# sent it.
max_packet_size {packet_bytes}
# A controller acknowledges what it has stored. By default it would be given 20 messages at a time.
max_inflight_messages {in_flight}
# What waits for one client, by number, because each message costs memory beside its content, and by content. Past
# either limit Mosquitto drops messages that their devices were told to have been taken. An outcome is not lost by that:
# its device repeats it until a controller has acknowledged it.
max_queued_messages {queued_messages}
max_queued_bytes {queued_bytes}
# The queue of a client that never comes back.
persistent_client_expiration {session_days}d
# Nobody may read these, so they need not be made.
sys_interval 0

# ---- Running ----

# The user that a broker started by root becomes, before it reads anything but this file.
user {user}
# A restart does not lose what waits for a controller that is away. By default it is written every half hour.
persistence true
persistence_location {store}
autosave_interval 60
# Without it, connecting by TLS takes 46 ms instead of 3 ms.
set_tcp_nodelay true
# To the journal: what goes wrong, and who comes and goes. What the access list denied is in no log but that of
# `log_type debug`, which has every message in it.
log_dest stderr
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""

_NAMES = """\
# The names that may be used without a certificate, on the listener for this machine.
password_file {folder}/passwords
"""

_LOCAL = """
# ---- The listener for a controller on this machine ----

# Without TLS, so for loopback alone; by the password in the controller's configuration. Clients of this listener choose
# their client id: that is how a controller ends the session of a device whose certificate it has revoked.
listener {port} 127.0.0.1
max_connections {connections}
max_qos 1
"""

_ACCESS_LIST = """\
{mark}. %u is the common name of the client's certificate.

# A device. It writes its topics by name: below a wildcard it could leave any number of retained messages, which stay
# for ever.
{device}

# The controllers. No device may be called like one of them. Where several share their work, `broker.share` must be a
# secret: Mosquitto lets a device join a group whose name it knows, and what falls to it there is lost.
{controllers}
"""

_DROP_IN = """\
{mark}. Install as /etc/systemd/system/mosquitto.service.d/wainwright.conf
[Service]
ExecStart=
ExecStart=/usr/sbin/mosquitto -c {folder}/mosquitto.conf
# Debian's own needs /bin/kill, which a small system has not: revocations would not reach the broker.
ExecReload=
ExecReload=/bin/sh -c "kill -HUP $MAINPID"
# A file for each connection, and some: by default there are 1,024.
LimitNOFILE={files}
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectHome=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""

_RELOAD_PATH = """\
{mark}. The controller's user may not signal the broker, so systemd watches what
# the controller writes.
[Unit]
Description=Revocations and certificates of the Wainwright controller's authority

[Path]
{changed}
Unit=wainwright-broker-reload.service

[Install]
WantedBy=multi-user.target
"""

_RELOAD_SERVICE = """\
{mark}
[Unit]
Description=Have Mosquitto read revocations and certificates again

[Service]
Type=oneshot
ExecStart=systemctl reload mosquitto.service
"""
