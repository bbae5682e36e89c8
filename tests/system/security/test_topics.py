"""A device with a valid certificate reaches for topics that are not its own: it gets none of them."""

from __future__ import annotations

import pytest

from tests.support.device import Device
from tests.support.wait import wait_until
from tests.system.security.conftest import Attack, assert_undisturbed
from tests.system.security.secured import READERS, SecureSystem
from wainwright_common.messages import Command, CommandName, Inventory, encode
from wainwright_common.topics import Kind, Topic

WAKE = encode(Command(id="c", name=CommandName.CHECK_IN))
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.mark.parametrize("kind", list(Kind))
def test_publishing_on_another_devices_topic_is_refused_and_reaches_nobody(
    system: SecureSystem, victim: Device, attack: Attack, kind: Kind
) -> None:
    attacker = attack()
    known, refused = system.api.devices()[victim.id], system.refusals()

    assert attacker.publish(Topic(victim.id, kind).text(system.stage.prefix), WAKE) == "Not authorized"

    attacker.ask()
    assert system.refusals() == refused, "the controller was given what was published"
    assert system.api.devices()[victim.id] == known
    assert_undisturbed(victim)


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.ACK, Kind.COMMAND])
def test_a_device_cannot_answer_in_the_controllers_place_not_even_itself(
    system: SecureSystem, attack: Attack, evil: str, kind: Kind
) -> None:
    attacker = attack()

    assert attacker.publish(Topic(evil, kind).text(system.stage.prefix), WAKE) == "Not authorized"
    assert attacker.ask() == []


def test_mqtt_3_1_1_cannot_say_that_it_refuses_and_refuses_all_the_same(
    system: SecureSystem, victim: Device, attack: Attack
) -> None:
    attacker = attack(version="3.1.1")

    for kind in Kind:
        assert attacker.publish(Topic(victim.id, kind).text(system.stage.prefix), WAKE) == "Success"

    attacker.ask()
    assert_undisturbed(victim)


@pytest.mark.parametrize(
    "topic",
    [
        "{prefix}/{evil}/up/nothing",
        "{prefix}/{evil}/up/report/more",
        "{prefix}/{evil}/up",
        "{prefix}/{evil}",
        "{prefix}//up/report",
        "{prefix}/wainwright-controller/down/reply",
        "$SYS/broker/version",
        "$SYS/broker/log/E",
        "$CONTROL/dynamic-security/v1",
        "$share/g/{prefix}/{evil}/up/report",
        "anything",
    ],
)
def test_publishing_where_no_device_has_a_topic_is_refused(
    system: SecureSystem, victim: Device, attack: Attack, evil: str, topic: str
) -> None:
    attacker = attack()

    assert attacker.publish(topic.format(prefix=system.stage.prefix, evil=evil), retain=True) == "Not authorized"
    assert_undisturbed(victim)


@VERSIONS
def test_subscribing_beyond_its_own_topics_gives_a_device_nothing(
    system: SecureSystem, victim: Device, attack: Attack, version: str
) -> None:
    prefix, attacker = system.stage.prefix, attack(version=version)
    for topics in (
        "#",
        "+/#",
        f"{prefix}/#",
        f"{prefix}/+/up/#",
        f"{prefix}/+/down/#",
        f"{prefix}/{victim.id}/#",
        f"{prefix}/{victim.id}/down/reply",
        f"{prefix}/{victim.id}/up/presence",  # a retained one waits there
        "$SYS/#",
        f"$share/g/{prefix}/{victim.id}/down/#",
        f"$share/g/{prefix}/+/up/#",
        "$share/g/#",
    ):
        attacker.subscribe(topics)  # Mosquitto grants them all, and delivers nothing

    assert_undisturbed(victim)
    victim.announce()
    assert attacker.ask() == []


def test_a_group_that_a_device_does_not_know_cannot_be_joined_and_one_that_it_knows_loses_messages(
    system: SecureSystem, victim: Device, attack: Attack
) -> None:
    """Why `broker.share` must be a secret: this is what Mosquitto 2.0 does, and no access list keeps a device out."""
    prefix, attacker = system.stage.prefix, attack()
    secret, guessed = "5b1cfaa0", "guess"
    with (
        system.reader(f"$share/{secret}/{prefix}/+/up/#") as first,
        system.reader(f"$share/{guessed}/{prefix}/+/up/#", READERS[1]) as second,
    ):
        attacker.subscribe(f"$share/{guessed}/{prefix}/+/up/#")

        for number in range(10):
            victim.send(Kind.INVENTORY, Inventory(digest="0" * 64, attributes={"number": number}))
        assert_undisturbed(victim)

        topic = Topic(victim.id, Kind.INVENTORY).text(prefix)
        wait_until(lambda: first.count(topic) == 10, what="all inventories in the group that nobody guessed")
        second.catch_up()
        assert second.count(topic) == 5
        assert attacker.ask() == []


@VERSIONS
def test_a_last_will_on_another_devices_topic_is_not_carried_out(
    system: SecureSystem, victim: Device, attack: Attack, version: str
) -> None:
    presence = Topic(victim.id, Kind.PRESENCE).text(system.stage.prefix)
    attacker = attack(will=presence, version=version)

    attacker.vanish()

    attack().ask()
    assert system.api.devices()[victim.id]["online"] is True
    assert_undisturbed(victim)
    with system.reader(presence) as reader:
        wait_until(lambda: reader.heard, what="the retained presence")
        assert b'"online":true' in reader.heard[0].payload


def test_a_retained_message_on_its_own_topics_does_not_come_again_and_again(
    system: SecureSystem, victim: Device, attack: Attack, evil: str
) -> None:
    """All but a presence is refused when it comes as a retained one, and there are five topics to leave one on."""
    attacker = attack()
    for kind in Kind:
        if kind.is_up:
            attacker.publish(Topic(evil, kind).text(system.stage.prefix), b"{}", retain=True)
    attacker.ask()

    system.processes.stop("controller")
    system.start_controller()

    wait_until(lambda: system.refusals().get("retained") == 4, what="the refusals")
    assert_undisturbed(victim)
