"""The technician's commands, by rows of situation and exit code, on a real agent."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.agent.service.peers import Agent, Controller, new_device_id, offer_of, offered
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, free_port, wait_until
from wainwright_agent.config import Config, load
from wainwright_agent.control import CLIENTS_MAX, ask
from wainwright_common import __version__, settings
from wainwright_common.messages import CheckIn

ROWS, COLUMNS = 24, 80  # of a serial console


@pytest.fixture
def lonely(tmp_path: Path) -> Agent:
    """A device whose broker is not there, and whose agent is stopped."""
    return Agent(tmp_path, f"mqtt://127.0.0.1:{free_port()}", new_device_id())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["status"], 0, "stopped; this is its record"),
        (["show-artifact"], 0, "unknown"),
        (["show-provides"], 0, "artifact_name=unknown"),
        (["show-provides", "-o", "json"], 0, '"artifact_name": "unknown"'),
        (["inventory"], 0, "device_type=press"),
        (["inventory", "-o", "json"], 0, '"device_type": "press"'),
        (["config", "check"], 0, "The configuration is valid"),
        (["config", "show"], 0, 'device_type = "press"'),
        (["config", "show", "-o", "json"], 0, '"device_type": "press"'),
        (["--version"], 0, __version__),
        (["check-in"], 3, "The agent cannot be reached"),
        (["inventory", "--send"], 3, "The agent cannot be reached"),
        ([], 2, "the following arguments are required: COMMAND"),
        (["explode"], 2, "invalid choice: 'explode'"),
        (["explode"], 2, "See: wain --help"),
        (["check-in", "--timeout", "0"], 2, "expected more than 0"),
        (["status", "-o", "xml"], 2, "invalid choice: 'xml'"),
        (["--config", "/none.toml", "status"], 2, "/none.toml: there is no such file"),
        (["status", "--config", "/none.toml"], 2, "/none.toml: there is no such file"),
    ],
)
def test_commands_with_the_agent_stopped(lonely: Agent, arguments: list[str], code: int, expected: str) -> None:
    done = lonely.wain(*arguments)

    assert done.returncode == code
    assert expected in (done.stderr if code else done.stdout)
    assert "Traceback" not in done.stderr


def test_check_in_prints_what_the_controller_says_and_why(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    done = agent.wain("check-in")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "No update: No deployment concerns this device (no-deployment).\n"
    assert controller.all(CheckIn)[-1].reason == "local"
    answer = json.loads(agent.wain("check-in", "-o", "json").stdout)
    assert answer["why"]["code"] == "no-deployment"


def test_nobody_is_shown_what_lets_others_fetch_the_artifact(agent: Agent, controller: Controller) -> None:
    link = "http://127.0.0.1:1/download/a1?expires=1&signature=abcdef"
    controller.reply = lambda check_in: offered(check_in, offer_of(link, b"x"))
    agent.start()
    controller.wait_for(CheckIn)

    shown = [agent.wain(*words).stdout for words in (["check-in", "-o", "json"], ["status", "-o", "json"])]

    assert all('"uri": "http://127.0.0.1:1/download/a1?(hidden)"' in text for text in shown), shown
    assert "abcdef" not in "".join(shown)
    assert agent.process is not None
    agent.kill()
    assert "abcdef" not in agent.logged()  # at level debug


def test_check_in_without_an_answer_ends_in_time_with_its_own_code(agent: Agent, controller: Controller) -> None:
    controller.reply = lambda _: None
    agent.start()
    controller.wait_for(CheckIn)

    done = agent.wain("check-in", "--timeout", "0.3")

    assert done.returncode == 8
    assert "did not answer in time" in done.stderr


def test_check_in_without_a_broker_says_so_at_once(lonely: Agent) -> None:
    with lonely:
        lonely.start()
        wait_until(lambda: "tries again in" in lonely.logged(), what="the first attempt")

        done = lonely.wain("check-in")

        assert done.returncode == 3
        assert "Connection refused" in done.stderr
        assert lonely.wain("inventory", "--send").returncode == 3


def test_check_in_brings_the_link_up_without_waiting_for_the_next_attempt(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    device_id = new_device_id()
    slow = {"broker__reconnect_first_s": 600, "broker__reconnect_max_s": 600}
    with Agent(tmp_path, broker.url, device_id, **slow) as agent:
        agent.start()
        wait_until(lambda: "tries again in" in agent.logged(), what="the first attempt")
        with broker, Controller(broker.port, device_id):
            assert agent.wain("check-in").returncode == 0


def test_inventory_is_sent_on_request(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    done = agent.wain("inventory", "--send")

    assert done.returncode == 0, done.stderr
    wait_until(controller.inventories, what="the inventory")
    assert done.stdout == f"Sent {len(controller.inventories()[0].attributes)} attributes.\n"


def test_status_tells_of_the_link_and_the_plans(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    wait_until(lambda: "answered_at" in agent.status()["check_in"], what="the answer to arrive")

    status = agent.status()

    assert status["agent"] == "running"
    assert status["device_id"] == agent.device_id
    assert status["artifact_name"] == "unknown"
    assert status["link"]["connected"] is True
    assert status["check_in"]["reply"]["why"]["code"] == "no-deployment"
    assert 0.85 * 1800 < status["check_in"]["next_in_s"] < 1.15 * 1800
    text = agent.wain("status").stdout
    running = "running    unknown, for no update is on record here"
    assert text.startswith(f"{agent.device_id}   press   agent {__version__}\n  {running}\n")
    assert "  link       connected to mqtt://127.0.0.1:" in text
    assert "  next       check-in in " in text


def test_status_tells_why_the_link_is_down(lonely: Agent) -> None:
    with lonely:
        lonely.start()
        wait_until(lambda: "tries again in" in lonely.logged(), what="the first attempt")

        status = lonely.status()

        assert status["link"]["connected"] is False
        assert "Connection refused" in status["link"]["error"]
        assert "  link       down: cannot connect to mqtt://" in lonely.wain("status").stdout


def test_after_a_kill_the_commands_work_and_the_agent_starts_again(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    agent.kill()
    assert (agent.data_dir / "agent.sock").is_socket()

    assert agent.status()["agent"] == "stopped"
    assert agent.wain("check-in").returncode == 3

    agent.start()
    controller.wait_for(CheckIn, 2)
    assert agent.wain("check-in").returncode == 0


def test_the_socket_is_for_root_and_the_group(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    assert stat.S_IMODE((agent.data_dir / "agent.sock").stat().st_mode) == 0o660
    assert stat.S_IMODE(agent.data_dir.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights_is_refused(mosquitto: Mosquitto) -> None:
    device_id = new_device_id()
    # As root first, so that everything is loaded before the interpreter's own files may be out of reach.
    code = """
import os, sys
from wainwright_agent.cli import main
for words in (["status"], ["check-in"]):
    main([*sys.argv[1:], *words])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print([main([*sys.argv[1:], *words]) for words in (["status"], ["show-artifact"], ["check-in"])])
"""
    with tempfile.TemporaryDirectory() as name, Controller(mosquitto.port, device_id) as controller:
        folder = Path(name)
        folder.chmod(0o755)
        with Agent(folder, mosquitto.url, device_id) as agent:
            agent.start()
            controller.wait_for(CheckIn)
            done = subprocess.run(
                [sys.executable, "-c", code, "--config", str(agent.config)],
                capture_output=True,
                text=True,
                check=True,
            )

    assert done.stdout.splitlines()[-1] == "[4, 4, 4]"
    assert "only root and members of the group wainwright may ask" in done.stderr


def test_an_agent_of_another_data_folder_is_not_asked(agent: Agent, controller: Controller, tmp_path: Path) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    (tmp_path / "other").mkdir()
    socket_path = str(agent.data_dir / "agent.sock")
    other = Agent(tmp_path / "other", "mqtt://127.0.0.1:1", "other", control_socket=socket_path)

    done = other.wain("check-in")

    assert done.returncode == 3
    assert f"This agent works in {agent.data_dir}" in done.stderr


def test_a_second_agent_on_the_machine_listens_in_its_data_folder(
    agent: Agent, controller: Controller, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    (tmp_path / "other").mkdir()
    device_id = new_device_id()
    socket_path = str(agent.data_dir / "agent.sock")
    with (
        Controller(mosquitto.port, device_id) as other_controller,
        Agent(tmp_path / "other", mosquitto.url, device_id, control_socket=socket_path) as other,
    ):
        other.start()
        other_controller.wait_for(CheckIn)

        assert other.status()["device_id"] == device_id
        assert agent.status()["device_id"] == agent.device_id


def test_a_very_long_path_of_the_socket_works(tmp_path: Path, mosquitto: Mosquitto) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    device_id = new_device_id()
    with Controller(mosquitto.port, device_id) as controller, Agent(folder, mosquitto.url, device_id) as agent:
        agent.start()
        controller.wait_for(CheckIn)

        assert agent.status()["agent"] == "running"


BAD_REQUESTS = [
    b"\n",
    b"not json\n",
    b"[]\n",
    b'{"command": "status"}\n',
    b'{"command": "status", "data_dir": "/", "options": 7}\n',
    b"[" * 5000 + b"\n",
    b"x" * 70_000,
    b'{"command": ',
]


def test_bad_requests_are_refused_and_others_are_served(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    for request in BAD_REQUESTS:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(agent.data_dir / "agent.sock"))
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            answer = client.makefile("rb").readline()

        assert json.loads(answer)["error"] == "bad-request", request
    assert agent.status()["agent"] == "running"


def test_an_unknown_command_is_refused(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    answer = next(iter(ask(load(agent.config, {}), "explode", line_s=PATIENCE_S)))

    assert answer["error"] == "bad-request"


def test_silent_clients_cannot_keep_others_out(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(CLIENTS_MAX)]
        for client in silent:
            client.connect(str(agent.data_dir / "agent.sock"))

        answer = next(iter(ask(load(agent.config, {}), "status", line_s=PATIENCE_S)))
        assert answer["agent"] == "running"
        assert all(client.recv(4096) == b"" for client in silent), "each was dropped, without an answer"


def test_many_technicians_at_once_are_all_answered(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    config = load(agent.config, {})
    answers: list[str] = []

    def one() -> None:
        answer = next(iter(ask(config, "check-in", {"timeout_s": PATIENCE_S}, line_s=PATIENCE_S)))
        answers.append(answer["reply"]["why"]["code"])

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert answers == ["no-deployment"] * 12


def test_config_show_hides_the_password_and_is_toml_again(tmp_path: Path) -> None:
    agent = Agent(tmp_path, "mqtt://127.0.0.1:1883", "a", broker__username="u", broker__password="geheim")

    shown = agent.wain("config", "show").stdout

    assert "geheim" not in shown
    again = settings.read(Config, shown, source="shown", env={})
    assert again.broker.password == "(hidden)"
    assert again.device_id == "a"
    assert again.update == load(agent.config, {}).update


def test_config_check_names_files_that_are_missing(tmp_path: Path) -> None:
    agent = Agent(tmp_path, "mqtts://b", "a", broker__ca="/none/ca.pem", update__verify_keys=["/none/key.pem"])

    done = agent.wain("config", "check")

    assert done.returncode == 1
    assert "broker.ca: there is no file /none/ca.pem" in done.stderr
    assert "/none/key.pem" in done.stderr


def test_an_invalid_configuration_stops_every_command(tmp_path: Path) -> None:
    agent = Agent(tmp_path, "mqtt://broker.example", "a b")

    for words in (["run"], ["status"], ["config", "check"]):
        done = agent.wain(*words)
        assert done.returncode == 2
        assert f"{agent.config}:1: device_id: 'a b' is not a device id" in done.stderr
        assert "broker.url: mqtt://broker.example would send everything readable" in done.stderr


def test_help_names_the_commands_that_there_are(lonely: Agent) -> None:
    shown = lonely.wain("--help").stdout

    assert re.findall(r"^    ([a-z-]+)", shown, re.MULTILINE) == [
        "status",
        "check-in",
        "install",
        "commit",
        "rollback",
        "resume",
        "logs",
        "test",
        "diag",
        "enrol",
        "inventory",
        "show-artifact",
        "show-provides",
        "config",
        "run",
    ]
    assert len(shown.splitlines()) < ROWS
    assert max(map(len, shown.splitlines())) < COLUMNS
