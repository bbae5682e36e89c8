"""Token buckets: how often something may happen, and in how much memory that is known."""

from __future__ import annotations

import pytest

from wainwright_controller.buckets import Buckets, neighbourhood


def test_a_bucket_holds_its_burst_and_refills_one_by_one() -> None:
    buckets = Buckets(burst=3, refill_s=10.0, keys_max=10)

    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.wait_s("a", 0.0) == 10.0
    assert not buckets.take("a", 9.9)
    assert buckets.take("a", 10.0)
    assert not buckets.take("a", 10.0)
    assert [buckets.take("a", 1000.0) for _ in range(4)] == [True, True, True, False]


def test_one_key_does_not_take_from_another() -> None:
    buckets = Buckets(burst=1, refill_s=10.0, keys_max=10)

    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    assert buckets.wait_s("c", 0.0) == 0


def test_memory_is_bounded_and_the_oldest_keys_are_forgotten_first() -> None:
    buckets = Buckets(burst=1, refill_s=1e9, keys_max=100)

    for number in range(10_000):
        assert buckets.take(str(number), 0.0)

    assert len(buckets) == 100
    assert not buckets.take("9999", 0.0)
    assert buckets.take("0", 0.0)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_addresses_that_one_customer_has_count_as_one(address: str, key: str) -> None:
    assert neighbourhood(address) == key
