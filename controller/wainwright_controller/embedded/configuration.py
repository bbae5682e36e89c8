"""What the embedded broker is told: its configuration file, and the limits of its queues. Pure: texts from values.

Topics are NATS subjects inside it: `/` is written `.`, and `.` is written `//`; `*` stands for one level, `>` for one
or more. A filter that ends in `/#` is two subjects, because it also means the level above.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wainwright_common.topics import Kind
from wainwright_controller.mosquitto import Limits

CONTROLLER, DEVICE, KEEPER = "controller", "device", "keeper"  # users, by their part
ANY = "*"  # a device id that stands for all of them
ASKED = "$SYS.REQ.USER.AUTH"  # where the broker asks whom to let in
TOPIC_MAX = 20_000  # messages that wait on one topic: two seconds of the controller's time
WAIT_S = 3600  # of a message; a controller sends one device 5 a second on a topic at most (ingest/budgets.py)
QUEUES = 4  # times what waits for one client in Mosquitto: this is what waits for all
UNACKNOWLEDGED_MAX = 1000  # messages on their way to the controller; the same bound as ingest/link.py
SUBSCRIPTIONS_MAX = 32  # of one connection: each is a queue on the disk, and a device needs one
UNSENT_MAX = "8MB"  # to one connection that does not read; beyond, it is ended
LOG_BYTES, LOG_FILES = "10MB", 2  # whoever is refused something makes a line
INBOX = "_INBOX.wainwright"  # where answers to the keeper go
TICKETS_S = 5  # for a client to be let in; the doorman needs some milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of the broker's certificate and its authority, and the name of the key that signs who is let in."""

    certificate: Path
    key: Path
    ca: Path
    signer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the file depends on. `secret` is known to the controller alone: its password, and the keeper's."""

    folder: Path
    host: str
    port: int
    prefix: str
    secret: str = field(repr=False)
    tls: Tls | None = None
    limits: Limits = field(default_factory=Limits)


def streams(limits: Limits) -> Mapping[str, Mapping[str, object]]:
    """Return the limits of the queues, by name. Past them the broker refuses: it ends the sender's connection.

    To drop the oldest instead would lose messages of others: NATS 2.15 was seen to pass over them for good when
    messages before them were dropped while it delivered.
    """
    return {
        # What waits. By topic, so that whoever floods is refused and nobody else; and of all, so that the disk is not
        # full: a broker that cannot write refuses everybody, and with them the controller that would empty it. The time
        # bounds what a device that never acknowledges can make the controller leave for it, below the limit of a topic.
        "$MQTT_msgs": {
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": TOPIC_MAX,
            "max_msgs": QUEUES * limits.queued_messages,
            "max_bytes": QUEUES * limits.queued_mib * 2**20,
            "max_age": WAIT_S * 10**9,  # nanoseconds
        },
        # Retained messages: one of each topic, by itself.
        "$MQTT_rmsgs": {"max_bytes": limits.queued_mib * 2**20},
    }


def configuration(setup: Setup) -> str:
    """Return the NATS server's configuration.

    Without TLS whoever gives no name is a program of this machine, which may speak as any device, and as nobody else.
    With it the doorman says who may do what.
    """
    tls, limits = setup.tls, setup.limits
    asks = [ASKED] if tls else []
    queues = [f"$JS.API.STREAM.{act}.{name}" for act in ("INFO", "UPDATE") for name in streams(limits)]
    users = [_user(KEEPER, setup.secret, "STANDARD", publish=queues, subscribe=[f"{INBOX}.>", *asks])]
    if tls is None:
        users.append(_user(CONTROLLER, setup.secret, "MQTT", **controllers_rights(setup.prefix)))
        users.append(_user(DEVICE, setup.secret, "MQTT", **devices_rights(setup.prefix, ANY)))
    return _CONFIGURATION.format(
        folder=_quoted(setup.folder),
        log=_quoted(setup.folder / "nats.log"),
        log_bytes=LOG_BYTES,
        log_files=LOG_FILES,
        users="\n    ".join(users),
        tickets_s=TICKETS_S,
        door="" if tls is None else _DOOR.format(signer=tls.signer, keeper=KEEPER),
        host=_quoted(setup.host),
        port=setup.port,
        who=f"no_auth_user: {DEVICE}" if tls is None else _tls(tls),
        unacknowledged=UNACKNOWLEDGED_MAX,
        idle_h=limits.session_days * 24,
        packet_bytes=limits.packet_bytes,
        connections=limits.connections,
        subscriptions=SUBSCRIPTIONS_MAX,
        unsent=UNSENT_MAX,
    )


def devices_rights(prefix: str, device: str) -> dict[str, list[str]]:
    """Return the subjects of a device, or of ANY."""
    base = f"{subject(prefix)}.{subject(device)}"
    up = [f"{base}.{subject(kind)}" for kind in Kind if kind.is_up]
    return {"publish": up, "subscribe": [f"{base}.down", f"{base}.down.>"]}


def presence_of(prefix: str, device: str) -> list[str]:
    """Return the subject of a device's presence."""
    return [f"{subject(prefix)}.{subject(device)}.{subject(Kind.PRESENCE)}"]


def controllers_rights(prefix: str) -> dict[str, list[str]]:
    """Return the subjects of a controller."""
    base = f"{subject(prefix)}.*"
    down = [f"{base}.{subject(kind)}" for kind in Kind if not kind.is_up]
    return {"publish": down, "subscribe": [f"{base}.up", f"{base}.up.>"]}


def subject(topic: str) -> str:
    """Return a topic, or a part of one, as a NATS subject."""
    return topic.replace(".", "\0").replace("/", ".").replace("\0", "//")


def _user(name: str, password: str, connection: str, *, publish: list[str], subscribe: list[str]) -> str:
    return json.dumps(
        {
            "user": name,
            "password": password,
            "allowed_connection_types": [connection],
            "permissions": {
                "publish": {"allow": publish},
                "subscribe": {"allow": subscribe},
                "allow_responses": connection == "STANDARD",
            },
        }
    )


def _tls(tls: Tls) -> str:
    return _TLS.format(certificate=_quoted(tls.certificate), key=_quoted(tls.key), ca=_quoted(tls.ca))


def _quoted(value: object) -> str:
    return json.dumps(str(value))


_CONFIGURATION = """\
server_name: wainwright
# NATS's own protocol cannot be switched off. Nobody may use it but the keeper: for the limits of the queues, and to say
# who is let in.
listen: "127.0.0.1:-1"
ports_file_dir: {folder}
jetstream {{ store_dir: {folder} }}
log_file: {log}
logfile_size_limit: {log_bytes}
logfile_max_num: {log_files}
authorization {{
  timeout: {tickets_s}
  users: [
    {users}
  ]
  {door}
}}
mqtt {{
  host: {host}
  port: {port}
  {who}
  max_ack_pending: {unacknowledged}
  ack_wait: "60s"
  consumer_inactive_threshold: "{idle_h}h"
}}
max_payload: {packet_bytes}
max_connections: {connections}
max_subscriptions: {subscriptions}
max_pending: {unsent}
"""
_DOOR = "auth_callout {{ issuer: {signer}, auth_users: [{keeper}] }}"
_TLS = """\
tls {{
    cert_file: {certificate}
    key_file: {key}
    ca_file: {ca}
    verify: true
    min_version: "1.2"
  }}"""
