"""The conditions of a new deployment, from what an operator writes."""

from __future__ import annotations

from typing import Any

import pytest

from wainwright_controller.cli.conditions import first_failures, limits_of, pace_of, policy_of, unlimited
from wainwright_controller.cli.plan import BadOption, with_soak

Json = dict[str, Any]


def limits(
    *failures: str, codes: tuple[str, ...] = (), action: str | None = None, min_sample: int | None = None
) -> list[Json]:
    return limits_of(failures, codes=codes, action=action, min_sample=min_sample)


def test_a_limit_is_a_part_or_a_count_and_all_share_what_is_said_of_them() -> None:
    assert limits() == []
    assert limits("3") == [{"count": 3}]
    assert limits("2.5%") == [{"percent": 2.5}]
    shared = {"codes": ["no-space"], "action": "rollback"}
    assert limits("0", "5%", codes=("no-space",), action="rollback", min_sample=20) == [
        {"count": 0} | shared,
        {"percent": 5.0, "min_sample": 20} | shared,
    ]


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "1.5", "%", "5 %", "1e3"])
def test_what_is_no_number_of_failures_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadOption, match="write"):
        limits(text)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"codes": ("no-space",)}, "--max-failures"),
        ({"action": "abort"}, "--max-failures"),
        ({"min_sample": 5}, "--max-failures"),
    ],
    ids=["code", "action", "sample"],
)
def test_what_says_more_about_a_limit_needs_one(said: Json, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        limits(**said)


@pytest.mark.parametrize(
    ("rate", "per_minute"), [("30/min", 30), ("30/m", 30), ("2/s", 120), ("600/h", 10), ("0.5/min", 0.5)]
)
def test_a_rate_is_in_offers_a_minute(rate: str, per_minute: float) -> None:
    assert pace_of(rate=rate, ramp=None, concurrency=None) == {"per_minute": pytest.approx(per_minute)}


def test_a_ramp_is_a_factor_a_number_of_offers_and_perhaps_an_end() -> None:
    assert pace_of(rate="30/min", ramp="2/50", concurrency=7) == {
        "per_minute": 30,
        "factor": 2,
        "every": 50,
        "concurrency": 7,
    }
    assert pace_of(rate="30/min", ramp="1.5/50/600", concurrency=None)["max_per_minute"] == 600


@pytest.mark.parametrize(
    ("rate", "ramp"),
    [
        ("30", None),
        ("0/min", None),
        ("30/day", None),
        (None, "2/50"),
        ("30/min", "1/50"),
        ("30/min", "2/0"),
        ("30/min", "2"),
    ],
)
def test_what_is_no_pace_is_refused(rate: str | None, ramp: str | None) -> None:
    with pytest.raises(BadOption, match=r"for example|give --rate"):
        pace_of(rate=rate, ramp=ramp, concurrency=None)


@pytest.mark.parametrize(
    ("text", "number"), [("500000", 500_000), ("500k", 500_000), ("1.5M", 1_500_000), ("2MB/s", 2_000_000), ("1/s", 1)]
)
def test_a_bandwidth_is_in_bytes_a_second(text: str, number: int) -> None:
    assert policy_of(window_texts=(), bandwidth=text, download_only=False) == {"bytes_per_second": number}


def test_a_policy_has_windows_as_devices_have_them() -> None:
    policy = policy_of(window_texts=("mon-fri 22:00-04:00", "12:00-13:00"), bandwidth=None, download_only=True)

    assert policy["windows"] == [
        {"start": "22:00", "end": "04:00", "days": [1, 2, 3, 4, 5]},
        {"start": "12:00", "end": "13:00"},
    ]
    assert policy["download_only"] is True
    assert policy_of(window_texts=(), bandwidth=None, download_only=False) == {}


@pytest.mark.parametrize(("window", "bandwidth"), [("noon", None), ("day 1:00-2:00", None), ("", None)])
def test_what_is_no_window_is_refused(window: str, bandwidth: str | None) -> None:
    with pytest.raises(BadOption, match="not a window"):
        policy_of(window_texts=(window,), bandwidth=bandwidth, download_only=False)


@pytest.mark.parametrize("text", ["", "0", "fast", "-1", "0.5", "1T"])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match="not a bandwidth"):
        policy_of(window_texts=(), bandwidth=text, download_only=False)


@pytest.mark.parametrize(
    ("phases", "limits", "is_told"),
    [
        ([{}], [], False),
        ([{"count": 1}, {"opens": "approval"}], [], False),
        ([{"count": 1}, {}], [], True),
        ([{"count": 1}, {"percent": 10, "opens": "approval"}, {"opens": "after", "delay_s": 60}], [], True),
        ([{"count": 1}, {}], [{"count": 3}], False),
    ],
)
def test_a_plan_that_goes_on_by_itself_and_has_no_limit_is_told(
    phases: list[Json], limits: list[Json], *, is_told: bool
) -> None:
    assert ["--max-failures" in told for told in unlimited(phases, limits)] == [True] * is_told


@pytest.mark.parametrize("others", [[], [{}]])
def test_a_phase_at_a_time_is_told_to_open_whatever_has_failed(others: list[Json]) -> None:
    """It waits for no health of the one before, as the others do."""
    (told,) = unlimited([{"count": 1}, {"opens": "at"}, *others], [])

    assert "open then, whatever has failed" in told
    assert ("as long as one device" in told) is bool(others)


def test_a_soak_is_for_every_phase_but_the_last() -> None:
    plan: list[Json] = [{"count": 1}, {"percent": 10}, {}]
    assert with_soak(plan, 60) == [{"count": 1, "soak_s": 60}, {"percent": 10, "soak_s": 60}, {}]
    assert with_soak(plan, None) == plan
    with pytest.raises(BadOption, match="one phase"):
        with_soak([{}], 60)


@pytest.mark.parametrize(
    ("limit", "devices", "words"),
    [
        ({"percent": 5.0}, 120, "--min-sample 20"),
        ({"percent": 5.0}, None, "--min-sample 20"),
        ({"percent": 5.0}, 20, "--min-sample 20"),
        ({"percent": 5.0}, 19, "of 19 devices, 1 is more than 5%"),
        ({"percent": 30.0}, 120, "--min-sample 4"),
        ({"percent": 0.5}, 120, "of 120 devices, 1 is more than 0.5%"),
    ],
)
def test_a_percentage_that_one_failure_breaks_is_told(limit: Json, devices: int | None, words: str) -> None:
    (told,) = first_failures([limit], devices)

    assert words in told


@pytest.mark.parametrize(
    "limit", [{"count": 0}, {"percent": 0.0}, {"percent": 100.0}, {"percent": 5.0, "min_sample": 1}]
)
def test_a_limit_that_says_what_is_meant_is_not_explained(limit: Json) -> None:
    assert first_failures([limit], 120) == []
