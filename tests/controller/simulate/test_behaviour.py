"""What a simulated fleet is like."""

from __future__ import annotations

from collections import Counter

import pytest

from wainwright_common.brokers import BadBroker
from wainwright_common.errors import BadTopic
from wainwright_controller.simulate.behaviour import Broker, Fate, FleetSpec, behaviours


def test_equal_specs_give_equal_fleets_and_another_seed_gives_another() -> None:
    spec, other = FleetSpec(devices=50, failing=0.2), FleetSpec(devices=50, failing=0.2, seed=2)
    assert behaviours(spec) == behaviours(spec)
    assert behaviours(spec) != behaviours(other)


def test_exactly_the_given_parts_of_a_fleet_fail_and_are_silent() -> None:
    fates = Counter(b.fate for b in behaviours(FleetSpec(devices=200, failing=0.05, silent=0.1)))
    assert fates == {Fate.SUCCEED: 170, Fate.FAIL: 10, Fate.SILENT: 20}


def test_devices_have_different_ids_that_sort_by_number_and_take_turns_in_their_types() -> None:
    fleet = behaviours(FleetSpec(devices=120, device_types=("press", "lathe")))
    ids = [b.id for b in fleet]
    assert ids == sorted(set(ids))
    assert Counter(b.device_type for b in fleet) == {"press": 60, "lathe": 60}


def test_a_faulty_device_does_well_after_its_faulty_attempts() -> None:
    (device,) = behaviours(FleetSpec(devices=1, failing=1))
    assert [device.fate_of(attempt, 2) for attempt in (1, 2, 3)] == [Fate.FAIL, Fate.FAIL, Fate.SUCCEED]
    assert device.fate_of(100, None) is Fate.FAIL


def test_the_failing_take_turns_in_the_codes_and_the_others_have_none() -> None:
    fleet = behaviours(FleetSpec(devices=40, failing=0.25, fail_codes=("no-space", "install-failed")))
    assert Counter((b.fate, b.fail_code) for b in fleet) == {
        (Fate.FAIL, "no-space"): 5,
        (Fate.FAIL, "install-failed"): 5,
        (Fate.SUCCEED, ""): 30,
    }


def test_exactly_the_given_part_comes_late_and_within_the_given_time() -> None:
    comes = [b.comes_after_s for b in behaviours(FleetSpec(devices=100, late=0.1, late_s=30))]
    assert sum(c > 0 for c in comes) == 10
    assert max(comes) <= 30


def test_every_type_meets_every_value_of_every_attribute() -> None:
    spec = FleetSpec(
        devices=24, device_types=("press", "lathe"), attributes={"site": ["n", "s"], "hall": ["1", "2", "3"]}
    )
    met = Counter((b.device_type, b.attributes["site"], b.attributes["hall"]) for b in behaviours(spec))
    assert set(met.values()) == {2}
    assert len(met) == 12


def test_every_value_of_every_attribute_meets_every_one_that_devices_provide() -> None:
    spec = FleetSpec(devices=12, attributes={"site": ["n", "s"]}, provides={"os": ["4", "5", "6"]})
    met = Counter((b.attributes["site"], b.provides["os"]) for b in behaviours(spec))
    assert set(met.values()) == {2}
    assert len(met) == 6


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"devices": 0}, "1 to 2000"),
        ({"devices": 2001}, "1 to 2000"),
        ({"devices": 1, "failing": 1.5}, "failing"),
        ({"devices": 1, "duplicated": -0.1}, "duplicated"),
        ({"devices": 1, "failing": 0.6, "silent": 0.6}, "more than all"),
        ({"devices": 1, "device_types": ()}, "device type"),
        ({"devices": 1, "late": 2}, "late"),
        ({"devices": 1, "fail_codes": ()}, "one value at least"),
        ({"devices": 1, "attributes": {"site": []}}, "one value at least"),
        ({"devices": 1, "provides": {"os": []}}, "one value at least"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(values: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        FleetSpec(**values)  # type: ignore[arg-type]  # the wrong values are the point


def test_a_fleet_is_not_put_on_a_broker_across_the_network_without_encryption() -> None:
    with pytest.raises(BadBroker, match="mqtts://"):
        Broker.at("mqtt://broker.example")
    with pytest.raises(BadTopic):
        Broker.at("mqtt://127.0.0.1", "a//b")
