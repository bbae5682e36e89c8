"""What a controller writes to its log: nobody's forged lines, and nobody's secrets, at any level."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.controller.api.served import artifact
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql
from tests.support.serve import PATIENCE_S, TOKEN, Serve, head
from tests.support.wait import wait_until

FORGED = "2026-01-01 00:00:00,000 INFO wainwright_controller.serve: the fleet is well"
BAD = f"x\n{FORGED}\r\n\x1b[2J{FORGED}\u2028{FORGED}"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: |    ")
BROKER_PASSWORD, STORE_PASSWORD = "pa55-of-the-broker", "pa55-of-the-store"
NOTE = "written-to-the-store-only"


def say_bad_things(controller: Serve, mosquitto: Mosquitto) -> None:
    """Write line ends and terminal controls wherever a device, or a person, or a stranger may write something."""
    prefix = str(controller.settings["broker__prefix"])
    controller.good("POST", "devices/preauthorize", json={"ids": ["evil"]})
    escaped = BAD.encode("unicode_escape").decode().replace("\\x", "\\u00")
    with Device(mosquitto.port, "evil", prefix=prefix) as device:
        before = controller.metric('messages_refused_total{reason="invalid"}')
        for kind in ("report", "check-in", "inventory", "presence", "log"):
            for key in ("id", escaped, "attributes"):
                device.send_raw(f"{prefix}/evil/up/{kind}", f'{{"{key}": "{escaped}"}}'.encode())
        wait_until(
            lambda: controller.metric('messages_refused_total{reason="invalid"}') >= before + 15,
            what="the refusals",
        )
        device.send_raw(f"{prefix}/e\tv\u00a0il\u202e/up/report", b"{}")
    for field in (f"X-Forwarded-For: {BAD}", f"User-Agent: {BAD}", f"Authorization: Bearer {BAD}"):
        controller.say(head("GET", "/api/v1/me", token="").replace(b"\r\n\r\n", f"\r\n{field}\r\n\r\n".encode()))
    for path in ("/%0a" + FORGED.replace(" ", "%20"), "/api/v1/devices/%0d%0a%1b%5b2J", "/api/v1/devices?q=%0ax"):
        controller.say(head("GET", path))
        controller.say(head("DELETE", path))
    controller.call("POST", "groups", json={"name": BAD, "ids": [BAD]})
    controller.call("POST", "deployments", json={"release": BAD, "devices": [BAD], "name": BAD})
    controller.call("POST", "users", json={"name": BAD, "role": BAD})
    controller.call("POST", "artifacts", params={"description": BAD}, data=BAD.encode())


def test_nobody_can_forge_a_line_of_the_log(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Serve(tmp_path, mosquitto.url, log__level="debug") as controller:
        say_bad_things(controller, mosquitto)
        with closing(sqlite3.connect(controller.data_dir / "wainwright.db", timeout=PATIENCE_S)) as store:
            store.executescript("DROP TABLE artifact; CREATE TABLE artifact (id TEXT)")
        for query in (BAD, "x"):
            assert controller.call("GET", "artifacts", params={"name": query}).status_code == 503
        log = controller.log
    assert log.count("\n    ") > 20, "the trace of the broken store"
    assert log.count("refused a message on") >= 10
    for line in log.split("\n")[:-1]:
        assert LINE.match(line), line
        assert line.isprintable(), line
        assert not line.startswith(FORGED[:23])


@pytest.fixture
def secretive(tmp_path: Path, mosquitto: Mosquitto, postgresql: Postgresql) -> Iterator[tuple[Serve, str]]:
    """A controller that has a secret of every kind, and tells all it does; and its database."""
    url = postgresql.database()
    user = re.sub(r"//(\w+)@", rf"//\1:{STORE_PASSWORD}@", url)
    assert STORE_PASSWORD in user
    with Serve(
        tmp_path,
        mosquitto.url,
        log__level="debug",
        store__url=user,
        broker__username="controller",
        broker__password=BROKER_PASSWORD,
    ) as controller:
        yield controller, url


def test_no_secret_is_in_the_log_or_in_a_file(secretive: tuple[Serve, str], mosquitto: Mosquitto) -> None:
    controller, url = secretive
    person = controller.person("anna", "operator")
    controller.good("POST", "artifacts", data=artifact("secret-1"))
    controller.good("POST", "devices/preauthorize", json={"ids": ["d1"]})
    controller.good("POST", "deployments", json={"release": "secret-1", "devices": ["d1"]})
    with Device(mosquitto.port, "d1", prefix=str(controller.settings["broker__prefix"])) as device:
        offer = device.check_in().offer
        assert offer
        uri = offer.artifact.uri
        device.send_raw(f"{controller.settings['broker__prefix']}/d1/up/report", uri.encode())
    target = uri.partition(controller.url)[2]
    assert controller.say(head("GET", target)).startswith(b"HTTP/1.1 200 ")
    assert controller.say(head("GET", target.replace("signature=", "signature=0"))).startswith(b"HTTP/1.1 403 ")
    mistyped = f"{person[:-1]}!"
    for wrong in (mistyped, person.upper(), f"{TOKEN}x"):
        assert controller.call("GET", "me", wrong).status_code == 401
    for path in (f"me?token={person}", f"devices/{person}"):
        controller.call("GET", path, token="")
    with psycopg.connect(url, autocommit=True) as store:
        found = store.execute("SELECT value FROM setting WHERE key = 'link-key'").fetchone()
        assert found
        store.execute("ALTER TABLE token RENAME TO gone")
        assert controller.call("GET", "me", person).status_code in {500, 503}
        store.execute("ALTER TABLE gone RENAME TO token")
        store.execute("ALTER TABLE audit RENAME TO gone")
        assert controller.call("POST", "tokens", json={"user": "anna", "note": NOTE}).status_code in {500, 503}
    secrets = [
        TOKEN,
        person,
        mistyped,
        BROKER_PASSWORD,
        STORE_PASSWORD,
        str(found[0]),
        target.partition("signature=")[2],
    ]
    secrets += [person.split("_", 2)[2], "signature=", NOTE]
    log = wait_until(lambda: "INSERT INTO audit" in controller.log and controller.log, what="the second trace")
    assert log
    assert [secret for secret in secrets if secret in log] == []
    assert [line for line in log.split("\n")[:-1] if not LINE.match(line)] == [], "also what the HTTP server says"
    for file in controller.data_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert [secret for secret in secrets if secret.encode() in content] == [], file
