"""When the inventory is sent: when the controller has another, or when somebody asks, and not otherwise."""

from __future__ import annotations

import time
from pathlib import Path

from tests.agent.service.peers import Agent, Controller, no_deployment
from tests.support.wait import wait_until
from wainwright_common.messages import CheckIn, CommandName, Reply, inventory_digest


def script(agent: Agent, name: str, text: str) -> None:
    folder = agent.folder / "inventory"
    folder.mkdir(exist_ok=True)
    file = folder / f"wainwright-inventory-{name}"
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def answer_as_one_who_remembers(controller: Controller) -> None:
    """Let a controller ask for the inventory when its digest is not the one that it has."""

    def reply(check_in: CheckIn) -> Reply:
        known = controller.inventories()[-1].digest if controller.inventories() else ""
        return no_deployment(check_in, send_inventory=check_in.inventory_digest != known)

    controller.reply = reply


def test_the_inventory_is_sent_once_and_again_only_when_it_has_changed(agent: Agent, controller: Controller) -> None:
    site = agent.folder / "site"
    site.write_text("north", encoding="utf-8")
    script(agent, "site", f"echo site=$(cat {site})")
    answer_as_one_who_remembers(controller)
    agent.start()

    wait_until(controller.inventories, what="the first inventory")
    first = controller.inventories()[0]
    assert first.attributes["site"] == "north"
    assert first.attributes["device_type"] == "press"
    assert first.digest == inventory_digest(first.attributes)
    for number in (2, 3, 4):
        controller.wake()
        assert controller.wait_for(CheckIn, number).inventory_digest == first.digest
    assert len(controller.inventories()) == 1

    agent.stop()
    site.write_text("south", encoding="utf-8")
    agent.start()

    wait_until(lambda: len(controller.inventories()) == 2, what="the second inventory")
    assert controller.inventories()[1].attributes["site"] == "south"


def test_without_being_asked_nothing_is_sent(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    controller.wake()
    controller.wait_for(CheckIn, 2)

    assert not controller.inventories()


def test_a_command_has_the_scripts_run_anew(agent: Agent, controller: Controller) -> None:
    script(agent, "time", "echo time=$(date +%s%N)")
    agent.start()
    controller.wait_for(CheckIn)

    controller.wake(CommandName.SEND_INVENTORY)
    wait_until(controller.inventories, what="an inventory")
    controller.wake(CommandName.SEND_INVENTORY)
    wait_until(lambda: len(controller.inventories()) == 2, what="another")

    one, two = controller.inventories()
    assert one.attributes["time"] != two.attributes["time"]


def test_slow_scripts_delay_neither_a_wake_nor_the_end(agent: Agent, controller: Controller, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script(agent, "slow", f"touch {begun}; exec sleep 30")
    agent.start()
    wait_until(begun.exists, what="the script to begin")
    controller.wait_for_presence(online=True)
    controller.wait_for(CheckIn)
    begin = time.monotonic()

    controller.wake()
    controller.wait_for(CheckIn, 2)
    assert agent.stop() == 0

    assert time.monotonic() - begin < 20  # the script sleeps for longer
