"""Which dynamic deployments a check-in is about where very many are open: the right ones, and no others are loaded."""

from __future__ import annotations

import random

import pytest

from tests.controller.rollouts.world import Device, World
from wainwright_common.messages import Inventory, inventory_digest
from wainwright_controller.facts import load_facts
from wainwright_controller.ledger import Ledger
from wainwright_controller.openings import Openings
from wainwright_controller.rules.filters import attributes_of, parse

SITES = ("north", "south", "east")
NOBODY = "no-deployment"


def _asked(world: World, *ids: str) -> Ledger:
    """Return a ledger as a batch with check-ins of these devices loads it."""
    with world.store.read() as connection:
        ledger = Ledger(connection, world.now)
        ledger.load_devices(ids)
        ledger.load_open_parts(ids)
        ledger.load_joinable(ids)
        for device_id in ids:
            ledger.joinable(ledger.devices[device_id])
        return ledger


def _filters(chance: random.Random) -> list[str]:
    """Return filters as people write them: by an equality, by a number, by what is not so, by a pattern, by a tag."""
    written = []
    for _ in range(60):
        site, size = chance.choice(SITES), chance.choice([1, 2, 3])
        written.append(
            chance.choice(
                [
                    f'inventory.site = "{site}"',
                    f'inventory.site in ("{site}", "{chance.choice(SITES)}") and inventory.size >= {size}',
                    f"inventory.size < {size}",
                    f'inventory.site != "{site}"',
                    f'not inventory.site exists or tags.ring = "{size}"',
                    f'inventory.site ~ "^{site[0]}" or artifact_name = "os-2"',
                ]
            )
        )
    return written


def test_a_check_in_finds_the_deployments_that_trying_every_filter_finds(world: World) -> None:
    chance = random.Random(4)
    devices = [
        Device(world, f"d{n}", runs=chance.choice(["os-1", "os-2"]), site=chance.choice(SITES), size=n % 4).come()
        for n in range(12)
    ]
    devices += [Device(world, "bare").come(), Device(world, "tagged", size=2).come()]
    world.operations.change_tags(["tagged"], {"ring": "2"}, [], "olga")
    ids = [d.id for d in devices]
    made = [world.create("os-2", where=text, pace={"concurrency": 1}) for text in _filters(chance)]
    for device in devices[:3]:
        device.update()  # has a part in the oldest that it matches, and does not join it again

    with world.store.read() as connection:
        ledger = Ledger(connection, world.now)
        ledger.load_devices(ids)
        ledger.load_joinable(ids)
        found = {i: [c.deployment.id for c in ledger.joinable(ledger.devices[i])] for i in ids}
        expected = {}
        for device_id, facts in load_facts(connection, ids).items():
            known = attributes_of(ledger.devices[device_id], facts.inventory, facts.tags, facts.group)
            met = [d.id for d in made if parse(d.filter or "").matches(known)]
            expected[device_id] = [i for i in met if device_id not in world.parts(i)]
    assert found == expected
    assert len({len(one) for one in found.values()}) > 4  # or the filters above would tell nothing apart


def test_only_the_deployments_that_a_device_matches_are_loaded(world: World) -> None:
    for number in range(50):
        world.create("os-2", where=f'inventory.site = "site-{number}"')
    chosen = world.create("os-2", where='inventory.site = "north"')
    Device(world, "n0", site="north").come()
    Device(world, "s0", site="south").come()

    assert set(_asked(world, "n0", "s0").deployments) == {chosen.id}
    assert set(_asked(world, "s0").deployments) == set()


def test_a_deployment_in_which_a_device_has_finished_is_not_loaded_for_it_again(world: World) -> None:
    made = world.create("os-2", where='inventory.site = "north"')
    device = Device(world, "n0", site="north").come()
    assert device.update() == "os-2"

    assert set(_asked(world, "n0").deployments) == set()
    assert (device.update(), list(world.parts(made.id))) == (NOBODY, ["n0"])


@pytest.mark.parametrize("order", ["inventory first", "check-in first"])
def test_what_a_device_says_in_one_batch_decides_what_it_joins_in_it(world: World, order: str) -> None:
    north = world.create("os-2", where='inventory.site = "north"')
    south = world.create("os-2", where='inventory.site = "south"')
    device = Device(world, "d0", site="north").come()
    device.inventory = {"site": "south"}
    inventory = (device.id, Inventory(digest=inventory_digest(device.inventory), attributes=device.inventory))
    question = (device.id, device.question())
    world.sent.clear()

    for _, answer in world.tell(*([inventory, question] if order == "inventory first" else [question, inventory])):
        device.take(answer)

    joins = south if order == "inventory first" else north
    assert device.offer is not None
    assert device.offer.deployment_id == joins.id
    assert [d.id for d in (north, south) if world.parts(d.id)] == [joins.id]


def test_a_deployment_is_open_from_the_moment_it_is_made_until_it_is_closed(world: World) -> None:
    devices = [Device(world, f"n{n}", site="north").come() for n in range(3)]
    assert devices[0].update() == NOBODY
    first = world.create("os-2", where='inventory.site = "north"')
    assert devices[0].update() == "os-2"
    world.operations.finish(first.id, "olga")
    assert devices[1].update() == NOBODY
    world.create("os-2", where='inventory.site = "north"', max_devices=1)
    assert [d.update() for d in devices[1:]] == ["os-2", NOBODY]
    with world.store.read() as connection:
        assert not Openings(connection)


def test_why_names_the_deployment_that_a_device_will_join_and_what_that_waits_for(world: World) -> None:
    device = Device(world, "n0", site="north").come()
    north = 'inventory.site = "north"'

    def why() -> tuple[str, str | None, str]:
        answer = world.operations.why("n0")
        return answer.code, answer.deployment_id, answer.text

    assert why()[:2] == (NOBODY, None)
    held = world.create("os-2", name="held", where=north, approval=True)
    assert why() == ("phase-closed", held.id, "held has not started: it is awaiting approval.")
    later = world.create("os-2", name="later", where=north, phases=[{"opens": "at", "opens_at": world.now + 3600}])
    assert why()[1] == held.id  # the older one
    world.operations.deny(held.id, "anton")
    assert why() == ("phase-closed", later.id, "In later it is in phase 1 of 1, which waits for its time, in 60 min.")
    device.presence(online=False)
    newest = world.create("os-2", name="newest", where=north)
    assert why()[:2] == ("offline", newest.id)  # what has begun does not wait for what has not
    device.presence()
    assert why() == ("due", newest.id, "It gets os-2 at its next check-in.")
    assert device.update() == "os-2"
    assert world.parts(later.id) == {}
