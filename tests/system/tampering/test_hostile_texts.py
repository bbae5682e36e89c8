"""Texts that would write on a terminal, or make up lines of a log: from a module, a device, an artifact, the broker.

Each is sent on its real way; then what the agent and the controller have logged, and what their command lines print, is
looked at as a terminal would.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from tests.support.wiretap import Wiretap
from tests.system.tampering.scene import GUARDED, Scene, build, fresh_name
from wainwright_common.messages import (
    CheckIn,
    CheckInReason,
    Command,
    CommandName,
    Inventory,
    Line,
    LogLines,
    Reason,
    Reply,
    inventory_digest,
)
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind

pytestmark = pytest.mark.timeout(300)
FORGED = "2026-01-01T00:00:00.000Z ERROR   forged: all is well"
HOSTILE = f"\x1b[2J\x1b]0;owned\x07\x9b31m red\r\n{FORGED}\u202e"
AGENT_EVENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +wainwright_agent|    ")
CONTROLLER_EVENT = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) |    ")
ROGUE = "rogue-1"


@pytest.fixture(scope="module")
def scene(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One device, whose module says hostile things."""
    with System(tmp_path_factory.mktemp("hostile"), mosquitto.url, agents=1, auto_accept=True) as system:
        module = system.agent(GUARDED).folder / "modules" / "demo"
        octal = "".join(f"\\{byte:03o}" for byte in HOSTILE.encode())
        program = module.read_text(encoding="utf-8")
        module.write_text(program.replace("set -eu\n", f"set -eu\n[ $1 != Download ] || printf '{octal}\\n' >&2\n", 1))
        system.start_agents()
        yield Scene(system)


def assert_harmless(text: str) -> None:
    assert [one for one in text if not one.isprintable() and one not in "\n\t"] == []


def assert_log_has_no_made_up_events(text: str, event: re.Pattern[str]) -> None:
    assert_harmless(text)
    assert text
    assert [line for line in text.splitlines() if not event.match(line)] == []


def run(module: str, *words: str) -> str:
    """Run a command, return all that it printed, and assert that it can be printed."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert_harmless(done.stdout + done.stderr)
    return done.stdout + done.stderr


def operator(scene: Scene, *words: str) -> str:
    return run("wainwright_controller", "--controller", scene.system.stage.url, *words)


def test_what_a_module_prints_stays_one_line_of_the_log_everywhere(scene: Scene) -> None:
    name, _ = scene.genuine()
    deployment_id = scene.system.deploy(name, GUARDED)
    assert scene.system.finished(deployment_id)["counts"] == {"success": 1}

    assert_log_has_no_made_up_events(scene.said(GUARDED), AGENT_EVENT)
    assert f"demo Download: {FORGED}" in scene.said(GUARDED)
    config = str(scene.system.agent(GUARDED).config)
    assert FORGED in run("wainwright_agent", "--config", config, "logs")
    run("wainwright_agent", "--config", config, "logs", "-o", "json")
    wait_until(lambda: FORGED in operator(scene, "deployment", "logs", deployment_id), PATIENCE_S, "the log to arrive")
    assert FORGED in operator(scene, "device", "logs", GUARDED, deployment_id)
    assert FORGED in operator(scene, "-o", "json", "deployment", "logs", deployment_id)


def test_what_a_device_says_of_itself_is_shown_as_text(scene: Scene, mosquitto: Mosquitto) -> None:
    name = fresh_name()
    scene.upload(name, build(name, "press", scene.trusted))
    attributes = {HOSTILE: HOSTILE, "list": [HOSTILE]}
    with Device(mosquitto.port, ROGUE, "press", HOSTILE, scene.system.stage.prefix) as rogue:
        rogue.announce()
        rogue.check_in()
        deployment_id = scene.system.deploy(name, ROGUE)
        rogue.send(Kind.INVENTORY, Inventory(digest=inventory_digest(attributes), attributes=attributes))  # type: ignore[arg-type]
        check_in = CheckIn(
            id="c1",
            reason=CheckInReason.TIMER,
            device_type="press",
            provides={"artifact_name": HOSTILE, HOSTILE: HOSTILE},
            boot_id=HOSTILE[:60],
            agent_version=HOSTILE[:60],
            inventory_digest=inventory_digest(attributes),  # type: ignore[arg-type]
        )
        rogue.send(Kind.CHECK_IN, check_in)
        assert rogue.receive(Reply).offer is not msgspec.UNSET
        line = Line(at=datetime.now(UTC), level=HOSTILE[:16], text=HOSTILE)
        rogue.send(Kind.LOG, LogLines(deployment_id=deployment_id, attempt=1, first=0, lines=[line]))
        rogue.report(deployment_id, 1, DeviceStatus.DOWNLOADING, substate=HOSTILE)
        error = Reason(code=HOSTILE[:60], text=HOSTILE)
        rogue.report(deployment_id, 2, DeviceStatus.FAILURE, error=error)
        for topic in (f"{ROGUE}/up/report", "\x1b[31m/up/report", f"{ROGUE}/up/\r\nreport"):
            rogue.send_raw(f"{scene.system.stage.prefix}/{topic}", HOSTILE.encode())
    for words in (
        *(("device", "list"), ("device", "show", ROGUE), ("device", "history", ROGUE), ("why", ROGUE)),
        *(("device", "logs", ROGUE, deployment_id), ("deployment", "logs", deployment_id)),
        *(("deployment", "show", deployment_id), ("deployment", "events", deployment_id), ("deployment", "list")),
        ("deployment", "watch", deployment_id),
    ):
        assert operator(scene, *words)
        operator(scene, "-o", "json", *words)
    assert "forged" in operator(scene, "device", "show", ROGUE)
    log = scene.system.processes.log("controller")
    wait_until(lambda: "refused a message" in log.read_text(encoding="utf-8"), PATIENCE_S, "the refusals in the log")
    assert_log_has_no_made_up_events(log.read_text(encoding="utf-8"), CONTROLLER_EVENT)


def test_an_artifact_with_such_a_name_is_not_taken_and_its_refusal_is_text(scene: Scene) -> None:
    path = scene.system.stage.folder / "hostile.mender"
    for version in ('{"format":"mender","version":3,"KEY":1}', '{"format":"KEY","version":3}'):
        path.write_bytes(b"")  # a file of the usual name, for the command's own messages
        blob = artifact_with_version(version.replace("KEY", "\x1b[31m\x9b2J"))
        path.write_bytes(blob)
        said = operator(scene, "artifact", "upload", str(path))
        assert "error: " in said
        assert operator(scene, "artifact", "verify", str(path)).startswith("error: ")
        assert operator(scene, "artifact", "show", str(path)).startswith("error: ")


def artifact_with_version(version: str) -> bytes:
    from tests.fuzz.archives import find, pack, repaired, unpack, with_content

    members = unpack(build(fresh_name(), "press"))
    at = find(members, b"version")
    assert at is not None
    return pack(repaired(with_content(members, at, version.encode())))


def test_what_comes_over_the_broker_makes_up_no_event_of_the_agents_log(scene: Scene, mosquitto: Mosquitto) -> None:
    scene.system.kill_controller()
    with Wiretap(mosquitto.port, scene.system.stage.prefix, GUARDED) as attacker:
        why = Reason(code=HOSTILE[:60], text=HOSTILE)
        attacker.answer = lambda asked: Reply(check_in_id=asked.id, check_in_after_s=600, send_inventory=False, why=why)
        before = len(scene.said(GUARDED))
        attacker.say(Kind.COMMAND, Command(id="x", name=CommandName.CHECK_IN))
        attacker.say(Kind.COMMAND, b'{"id":"x","name":"\x1b[31m"}')
        attacker.say(Kind.COMMAND, msgspec.json.encode({"id": "x", "name": HOSTILE}))
        wait_until(lambda: "no offer: " in scene.said(GUARDED)[before:], PATIENCE_S, "the reply to be logged")
        wait_until(lambda: "dropped a message" in scene.said(GUARDED)[before:], PATIENCE_S, "the drop to be logged")
    assert_log_has_no_made_up_events(scene.said(GUARDED), AGENT_EVENT)
    config = str(scene.system.agent(GUARDED).config)
    for words in (("status",), ("status", "-o", "json")):
        run("wainwright_agent", "--config", config, *words)
