"""The link: an agent process on a real broker, through kills, restarts, refusals and rubbish."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from random import Random

import pytest

from tests.agent.service.peers import Agent, Controller, new_device_id
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, free_port, wait_until
from wainwright_agent.checkin import GAP_S
from wainwright_agent.config import Broker
from wainwright_agent.events import Disconnected, EventQueue
from wainwright_agent.link import Link
from wainwright_common import __version__
from wainwright_common.messages import CheckIn, CheckInReason, CommandName, Presence, Reply
from wainwright_common.topics import Kind, Topic

WAKES_MAX = 10
SOON_S = 20.0  # an agent that does not notice sleeps for 30 s


def test_an_agent_checks_in_when_it_connects(agent: Agent, controller: Controller) -> None:
    agent.start()

    check_in = controller.wait_for(CheckIn)

    assert check_in.reason is CheckInReason.START
    assert check_in.device_type == "press"
    assert check_in.provides == {"artifact_name": "unknown"}
    assert check_in.agent_version == __version__
    assert controller.wait_for_presence(online=True).agent_version == __version__


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_both_versions_of_mqtt_work(tmp_path: Path, mosquitto: Mosquitto, protocol: str) -> None:
    device_id = new_device_id()
    with (
        Agent(tmp_path, mosquitto.url, device_id, broker__protocol=protocol) as agent,
        Controller(mosquitto.port, device_id) as controller,
    ):
        agent.start()
        controller.wait_for(CheckIn)
        controller.wake()

        assert controller.wait_for(CheckIn, 2).reason is CheckInReason.COMMAND
        assert agent.stop() == 0


def test_a_wake_command_leads_to_a_check_in_within_a_second(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    wait_until(lambda: "no offer" in agent.logged(), what="the reply to arrive")
    took: list[float] = []
    while len(took) < WAKES_MAX and min(took, default=math.inf) >= 1:  # what else the machine does may delay some
        begin = time.monotonic()
        controller.wake()
        assert controller.wait_for(CheckIn, len(took) + 2).reason is CheckInReason.COMMAND
        took.append(time.monotonic() - begin)

    assert min(took) < 1


def test_the_broker_tells_when_an_agent_is_killed(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for_presence(online=True)

    agent.kill()

    controller.wait_for_presence(online=False)
    assert len({presence.since for presence in controller.all(Presence)}) == 1, "will and presence of one connection"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_agent_that_is_asked_to_end_says_goodbye_and_exits_cleanly(
    agent: Agent, controller: Controller, number: int
) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    begin = time.monotonic()

    assert agent.stop(number) == 0

    assert time.monotonic() - begin < SOON_S
    controller.wait_for_presence(online=False)
    assert agent.logged().count(" ERROR ") == 0


def test_presence_is_retained_for_a_controller_that_comes_later(
    agent: Agent, controller: Controller, mosquitto: Mosquitto
) -> None:
    agent.start()
    controller.wait_for_presence(online=True)

    with Controller(mosquitto.port, agent.device_id) as late:
        late.wait_for_presence(online=True)
        assert late.heard[0].retained


def test_signals_ask_for_a_check_in_and_the_inventory(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    assert agent.process is not None

    agent.process.send_signal(signal.SIGUSR1)
    controller.wait_for(CheckIn, 2)
    agent.process.send_signal(signal.SIGUSR2)

    wait_until(controller.inventories, what="the inventory")


def test_a_broker_that_is_killed_and_comes_back_finds_its_agent_again(tmp_path: Path, own_mosquitto: Mosquitto) -> None:
    device_id = new_device_id()
    with Agent(tmp_path, own_mosquitto.url, device_id) as agent:
        with Controller(own_mosquitto.port, device_id) as controller:
            agent.start()
            controller.wait_for(CheckIn)
        own_mosquitto.kill()
        wait_until(lambda: "tries again in" in agent.logged(), what="the loss to be noticed")
        own_mosquitto.start()

        with Controller(own_mosquitto.port, device_id) as controller:
            controller.wait_for(CheckIn)
            controller.wait_for_presence(online=True)
            controller.wake()
            controller.wait_for(CheckIn, 2)


def test_an_agent_started_before_its_broker_connects_when_it_comes(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    device_id = new_device_id()
    with Agent(tmp_path, broker.url, device_id) as agent:
        agent.start()
        wait_until(lambda: agent.logged().count("tries again in") >= 2, what="two attempts")
        with broker, Controller(broker.port, device_id) as controller:
            controller.wait_for(CheckIn)  # its second, if it was faster than the controller


def test_a_server_that_is_no_broker_is_given_up_and_tried_again(tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        with Agent(tmp_path, url, new_device_id(), broker__connect_timeout_s=0.2) as agent:
            agent.start()
            wait_until(lambda: "does not answer as an MQTT broker" in agent.logged(), what="the attempt to be given up")
            assert agent.stop() == 0


def test_a_certificate_that_is_renewed_while_the_link_comes_up_is_used_at_once() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        events: EventQueue = EventQueue()
        broker = Broker(url=f"mqtt://127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=PATIENCE_S)
        link = Link(broker, new_device_id(), events, Random(1))
        link.start()
        with silent.accept()[0] as connection:
            assert connection.recv(1), "the agent's first words, so it has read its certificate"
            link.renew()
            assert events.get(timeout=PATIENCE_S) == Disconnected("the certificate was renewed")
            silent.accept()[0].close()
        link.stop()


def test_a_refused_connection_says_why(tmp_path: Path, own_mosquitto: Mosquitto) -> None:
    own_mosquitto.stop()
    config = (own_mosquitto.folder / "mosquitto.conf").read_text(encoding="utf-8")
    own_config = own_mosquitto.folder / "closed.conf"
    own_config.write_text(config.replace("allow_anonymous true", "allow_anonymous false"), encoding="utf-8")
    import subprocess

    with (
        subprocess.Popen([own_mosquitto.program, "-c", str(own_config)]) as broker,
        Agent(tmp_path, own_mosquitto.url, new_device_id()) as agent,
    ):
        agent.start()
        wait_until(lambda: "refuses the connection: not authorized" in agent.logged(), what="the refusal")
        assert "not authorized" in agent.status()["link"]["error"]
        agent.kill()
        broker.terminate()


def test_an_agent_without_a_broker_ends_cleanly(tmp_path: Path) -> None:
    with Agent(tmp_path, f"mqtt://127.0.0.1:{free_port()}", new_device_id()) as agent:
        agent.start()
        wait_until(lambda: "tries again in" in agent.logged(), what="the first attempt")

        assert agent.stop() == 0


def test_rubbish_is_counted_logged_with_its_topic_and_stops_nothing(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    topic = Topic(agent.device_id, Kind.COMMAND).text()
    reply = Topic(agent.device_id, Kind.REPLY).text()

    controller.send_raw(topic, b"not json")
    controller.send_raw(topic, b"\xff\xfe{}")
    controller.send_raw(topic, b"[" * 100_000)
    controller.send_raw(topic, b"{}")
    controller.send_raw(topic, b"x" * 300_000)
    controller.send_raw(topic, b'{"id": "c", "name": "explode"}')
    controller.send_raw(reply, b'{"check_in_id": "x", "check_in_after_s": "soon", "send_inventory": true}')
    controller.send_raw(f"wain/v1/{agent.device_id}/down/unknown", b"{}")
    controller.send_raw(f"wain/v1/{agent.device_id}/down/reply/more", b"{}")
    controller.wake()

    assert controller.wait_for(CheckIn, 2).reason is CheckInReason.COMMAND
    dropped = agent.status()["dropped_messages"]
    assert dropped.pop("bad-topic") == 2
    assert sum(dropped.values()) == 7
    assert set(dropped) <= {"not-json", "not-utf8", "invalid", "too-large"}
    assert f"dropped a message on '{topic}' (not-json)" in agent.logged()


def test_a_retained_command_is_not_obeyed_each_time_the_agent_connects(agent: Agent, controller: Controller) -> None:
    topic = Topic(agent.device_id, Kind.COMMAND).text()
    controller.send_raw(topic, b'{"id": "old", "name": "send-inventory"}', retain=True)

    agent.start()
    controller.wait_for(CheckIn)

    wait_until(lambda: agent.status()["dropped_messages"] == {"retained": 1}, what="the message to be dropped")
    assert not controller.inventories()


def test_a_flood_of_wakes_costs_a_few_check_ins(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    begin = time.monotonic()

    for _ in range(200):
        controller.wake()
    controller.wake(CommandName.SEND_INVENTORY)

    wait_until(controller.inventories, what="the last command of the flood")
    assert len(controller.all(CheckIn)) <= 2 + (time.monotonic() - begin) / GAP_S


def test_a_reply_to_another_check_in_is_ignored(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    controller.send(Kind.REPLY, Reply(check_in_id="another", check_in_after_s=1, send_inventory=True))
    controller.wake()

    controller.wait_for(CheckIn, 2)
    assert "ignored a reply to check-in another" in agent.logged()
    assert not controller.inventories()


def test_the_controllers_time_of_the_next_check_in_is_kept(agent: Agent, controller: Controller) -> None:
    controller.reply = lambda check_in: Reply(check_in_id=check_in.id, check_in_after_s=1, send_inventory=False)
    agent.start()

    assert controller.wait_for(CheckIn, 3).reason is CheckInReason.TIMER


def test_two_agents_of_one_data_folder_do_not_run_together(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    second = agent.wain("run")

    assert second.returncode == 1
    assert "another agent is using this data folder" in second.stderr


def test_a_device_is_known_to_be_there_before_it_asks(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)

    assert [type(heard.message) for heard in controller.heard][:2] == [Presence, CheckIn]
