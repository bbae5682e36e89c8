"""What others can make the agent log is bounded, and what was left out is told."""

from __future__ import annotations

import json
import logging
import time

import pytest

from tests.agent.service.peers import Agent, Controller
from tests.support.wait import wait_until
from wainwright_agent.checkin import GAP_S
from wainwright_agent.link import QUEUED_MAX
from wainwright_agent.ration import MOST, PERIOD_S, Ration
from wainwright_common.messages import CheckIn
from wainwright_common.topics import PREFIX

FLOOD = 3000
PART = QUEUED_MAX // 2


def test_a_period_has_its_first_lines_and_the_number_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    ration = Ration(logging.getLogger("wainwright_agent.x"), "things")
    for number in range(100):
        ration.log(10.0 + number / 10, logging.WARNING, "thing %d", number)
    assert caplog.messages == [f"thing {number}" for number in range(MOST)]

    ration.sum_up(10.0 + PERIOD_S - 0.1)
    assert len(caplog.messages) == MOST
    ration.sum_up(10.0 + PERIOD_S)
    ration.sum_up(10.0 + 3 * PERIOD_S)
    assert caplog.messages[MOST:] == ["things: 95 more in the last 60 s"]

    ration.log(10.0 + 4 * PERIOD_S, logging.WARNING, "thing %d", 100)
    assert caplog.messages[-1] == "thing 100"


def test_a_flood_of_rubbish_is_counted_and_not_logged(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    topic = f"{PREFIX}/{agent.device_id}/down/reply"
    for number in range(FLOOD):
        controller.send_raw(topic, b"rubbish %d" % number)

    def counted() -> bool:
        dropped: dict[str, int] = agent.status()["dropped_messages"]
        return sum(dropped.values()) == FLOOD

    wait_until(counted, what="all of it to be counted")
    assert agent.logged().count("dropped a message on") == MOST
    assert json.loads(agent.wain("check-in", "-o", "json").stdout)["why"]["code"] == "no-deployment"


def test_a_flood_of_commands_is_obeyed_within_bounds_and_not_logged(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    begin = time.monotonic()
    for sent in range(PART, FLOOD + 1, PART):  # an agent that is kept waiting may drop what is more than it can queue
        for _ in range(PART):
            controller.wake()
        wait_until(lambda sent=sent: agent.logged().count("received wain/") > sent, what="the commands to arrive")  # type: ignore[misc]
    controller.wait_for(CheckIn, 2)

    lines = [line for line in agent.logged().splitlines() if "service: command check-in" in line]
    assert len(lines) <= MOST
    assert len(controller.all(CheckIn)) <= 2 + (time.monotonic() - begin) / GAP_S
