"""Maintenance windows: their arithmetic in local time, and updates that wait for them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pytest_mock import MockerFixture

from tests.agent.update.lab import Lab, statuses
from tests.agent.update.web import Manners
from tests.support.wait import wait_until
from wainwright_agent import clock, status, waits
from wainwright_agent.cli.show import table
from wainwright_agent.config import ConfigError, Update, load
from wainwright_agent.hold import hold
from wainwright_agent.windows import opening
from wainwright_common.codes import Code
from wainwright_common.messages import Policy, Window
from wainwright_common.windows import parse

BERLIN = ZoneInfo("Europe/Berlin")  # UTC+1; UTC+2 from 2026-03-29 02:00 to 2026-10-25 03:00 local time
HALF_HOUR = ZoneInfo("Australia/Lord_Howe")  # puts its clocks forward by half an hour


def _opening(now: str, *texts: str, zone: ZoneInfo = BERLIN) -> str | None:
    """When windows open, both in the zone's local time."""
    at = opening([[parse(text) for text in texts]], datetime.fromisoformat(now).replace(tzinfo=zone), zone)
    return None if at is None else at.astimezone(zone).isoformat(timespec="minutes")


# fmt: off
ROWS = [
    # 2026-01-07 is a Wednesday.
    ("2026-01-07T21:59", ["22:00-05:00"],             "2026-01-07T22:00+01:00", "before it"),
    ("2026-01-07T22:00", ["22:00-05:00"],             "2026-01-07T22:00+01:00", "its first minute"),
    ("2026-01-08T04:59", ["22:00-05:00"],             "2026-01-08T04:59+01:00", "its last minute, past midnight"),
    ("2026-01-08T05:00", ["22:00-05:00"],             "2026-01-08T22:00+01:00", "the minute after"),
    ("2026-01-07T12:00", ["00:00-00:00"],             "2026-01-07T12:00+01:00", "a whole day"),
    ("2026-01-07T12:00", ["sat,sun 00:00-00:00"],     "2026-01-10T00:00+01:00", "on the weekend"),
    ("2026-01-12T03:00", ["sun 22:00-05:00"],         "2026-01-12T03:00+01:00", "on Monday, begun on Sunday"),
    ("2026-01-12T03:00", ["mon 22:00-05:00"],         "2026-01-12T22:00+01:00", "on Monday, but begins in the evening"),
    ("2026-01-07T12:00", ["fri-mon 01:00-02:00"],     "2026-01-09T01:00+01:00", "days over the end of the week"),
    ("2026-01-07T12:00", ["wed 11:00-12:00"],         "2026-01-14T11:00+01:00", "a week later"),
    ("2026-01-07T12:00", ["18:00-19:00", "14:00-15:00"], "2026-01-07T14:00+01:00", "the first of two"),
    ("2026-12-31T23:59", ["00:30-01:00"],             "2027-01-01T00:30+01:00", "over the end of the year"),
    # Forward: 02:00 is 03:00.
    ("2026-03-29T01:59", ["02:30-04:00"],             "2026-03-29T03:00+02:00", "begins in the skipped hour"),
    ("2026-03-29T01:59", ["02:10-02:50"],             "2026-03-30T02:10+02:00", "lies in the skipped hour"),
    ("2026-03-29T01:30", ["01:00-02:30"],             "2026-03-29T01:30+01:00", "ends in the skipped hour"),
    ("2026-03-29T03:00", ["01:00-02:30"],             "2026-03-30T01:00+02:00", "has ended when clocks jump"),
    # Back: 03:00 is 02:00.
    ("2026-10-25T01:00", ["02:30-03:30"],             "2026-10-25T02:30+02:00", "begins at the first 02:30"),
]
# fmt: on


@pytest.mark.parametrize(("now", "texts", "opens"), [row[:3] for row in ROWS], ids=[row[3] for row in ROWS])
def test_a_window_opens_when_the_clock_on_the_wall_shows_it(now: str, texts: list[str], opens: str) -> None:
    assert _opening(now, *texts) == opens


def test_a_window_over_the_repeated_hour_is_an_hour_longer() -> None:
    window = [[parse("02:30-03:30")]]
    begins = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert opening(window, begins, BERLIN) == begins
    assert opening(window, begins + timedelta(minutes=119), BERLIN) == begins + timedelta(minutes=119)
    assert opening(window, begins + timedelta(minutes=120), BERLIN) == begins + timedelta(hours=25)


def test_half_an_hour_that_is_skipped_is_no_different() -> None:
    assert _opening("2026-10-04T01:00", "02:15-03:00", zone=HALF_HOUR) == "2026-10-04T02:30+11:00"


def test_the_windows_of_device_and_deployment_must_both_be_open() -> None:
    now = datetime(2026, 1, 7, 12, tzinfo=UTC)
    nights, sundays = [parse("22:00-05:00")], [parse("sun 04:00-08:00")]
    assert opening([nights, sundays], now, UTC) == datetime(2026, 1, 11, 4, tzinfo=UTC)
    assert opening([nights, [parse("08:00-16:00")]], now, UTC) is None
    assert opening([nights, []], now, UTC) == datetime(2026, 1, 7, 22, tzinfo=UTC)
    assert opening([[], []], now, UTC) == now


CLOCKS = st.times().map(lambda at: f"{at:%H:%M}")


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001  the zone is the strategy's next argument
    st.lists(st.builds(Window, start=CLOCKS, end=CLOCKS, days=st.lists(st.integers(1, 7), max_size=7)), max_size=4),
)
def test_what_opens_is_open_then_and_not_a_second_before(at: datetime, some: list[Window]) -> None:
    now = at.replace(tzinfo=UTC)
    opens = opening([some], now, BERLIN)
    if opens is None or opens == now:
        return
    assert opens > now
    assert opening([some], opens, BERLIN) == opens
    assert opening([some], opens - timedelta(seconds=1), BERLIN) == opens


@pytest.mark.parametrize("text", ["", "22:00", "24:00-05:00", "22:00-5:00", "noday 22:00-05:00", "mon-xyz 1:00-2:00"])
def test_a_text_that_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|no day"):
        parse(text)


def test_a_configuration_with_a_bad_window_or_zone_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[update]\nwindows = ["22:00-25:00"]\ntime_zone = "Middle/Earth"\n')
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert f"{file}:2: update.windows: '22:00-25:00' is not a window" in str(caught.value)
    assert f"{file}:3: update.time_zone: this device knows no time zone 'Middle/Earth'" in str(caught.value)


def _closed() -> str:
    """A window of two minutes that opens in twelve hours."""
    at = datetime.now(UTC) + timedelta(hours=12)
    return f"{at:%H:%M}-{at + timedelta(minutes=2):%H:%M}"


def test_an_update_is_downloaded_at_once_and_installed_when_the_window_opens(lab: Lab, mocker: MockerFixture) -> None:
    mocker.patch.object(waits, "CLOCK_S", 0.05)
    with lab.agent(windows=(_closed(),), time_zone="UTC") as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the window")
        assert "ArtifactInstall" not in lab.calls
        assert (lab.tree / "files/app.bin").exists()
        wait_until(lambda: agent.reports[-1].substate == "wait-window", what="the controller to be told")
        shown = status.of_record(lab.config(), "press", agent.journal.state)
        shown["trying"] |= agent.updater.snapshot()
        assert "wait-window: It waits for the maintenance window, which opens at 20" in "\n".join(table(shown))
        mocker.patch("wainwright_agent.waits.hold", return_value=None)  # the clock goes on
        agent.wait_idle()
    assert statuses(agent.reports) == ["downloading", "installing", "success"]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (datetime(1970, 1, 1, 22, 30, tzinfo=UTC), "before this program was made"),
        (datetime(2026, 7, 20, 22, 30, tzinfo=UTC), "before 2026-07-21 09:00:00, when the journal was written"),
    ],
)
def test_no_window_is_open_by_a_clock_that_is_certainly_wrong(lab: Lab, now: datetime, words: str) -> None:
    offer = lab.offer(b"")
    written = datetime(2026, 7, 21, 9, 0, tzinfo=UTC)

    held = hold(offer, Update(windows=("22:00-05:00",), time_zone="UTC"), now, written)

    assert held is not None
    assert words in held.why
    assert held.until is None
    assert hold(offer, Update(), now, written) is None


def test_a_device_that_comes_back_with_a_wrong_clock_waits_until_it_is_set_or_somebody_says_that_it_is_right(
    lab: Lab,
) -> None:
    with lab.agent(windows=(_closed(),), time_zone="UTC") as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the window")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    os.utime(lab.data / "journal.json", (0, tomorrow))
    lab.boot_id.write_text("boot-2\n")
    with lab.agent(windows=("00:00-00:00",), time_zone="UTC") as agent:
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the clock")
        assert "when the journal was written" in agent.updater.snapshot()["hold"]
        assert "ArtifactInstall" not in lab.calls
    with lab.agent(windows=("00:00-00:00",), time_zone="UTC") as agent:
        agent.wait_idle()
    assert lab.calls.count("ArtifactInstall") == 1


def test_a_clock_that_is_set_while_the_agent_runs_is_believed_though_the_journal_was_written_by_a_later_one(
    lab: Lab, mocker: MockerFixture
) -> None:
    """A clock chip without a battery that shows 2099: at each start the journal is written by it, before it is set."""
    mocker.patch.object(waits, "CLOCK_S", 0.05)
    with lab.agent(windows=(_closed(),), time_zone="UTC") as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the window")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    os.utime(lab.data / "journal.json", (0, tomorrow))
    lab.boot_id.write_text("boot-2\n")
    with lab.agent(windows=("00:00-00:00",), time_zone="UTC") as agent:
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the clock")
        assert "when the journal was written" in agent.updater.snapshot()["hold"]
        mocker.patch.object(clock, "booted", return_value=clock.booted() - timedelta(days=1))
        agent.wait_idle()
    assert lab.calls.count("ArtifactInstall") == 1


def test_the_time_at_which_a_window_opens_is_told_by_the_clock_of_the_device(lab: Lab) -> None:
    offer = lab.offer(lab.artifact())
    settings = Update(windows=("mon-fri 22:00-05:00",), time_zone="Europe/Berlin")

    held = hold(offer, settings, datetime(2026, 7, 20, 12, 0, tzinfo=UTC))

    assert held is not None
    assert held.why == "It waits for the maintenance window, which opens at 2026-07-20 22:00 CEST."
    assert held.until == datetime(2026, 7, 20, 20, 0, tzinfo=UTC)


def test_waiting_survives_restarts_and_reboots_without_a_link_or_a_server(lab: Lab) -> None:
    closed = (_closed(),)
    with lab.agent(windows=closed, time_zone="UTC") as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the window")
    lab.web.files.clear()
    for boot in ("boot-1", "boot-2", "boot-3"):
        lab.boot_id.write_text(boot + "\n")
        with lab.agent(windows=closed, time_zone="UTC") as agent:
            wait_until(lambda a=agent: "hold" in a.updater.snapshot(), what="the wait for the window")  # type: ignore[misc]
            assert not agent.updater.needs_link
    with lab.agent() as agent:
        agent.wait_idle()
    assert lab.state.provides["artifact_name"] == "release-2"
    assert lab.calls.count("Download") == 1


def test_an_update_that_waits_gives_a_sign_again_and_again(lab: Lab, mocker: MockerFixture) -> None:
    mocker.patch.object(waits, "CLOCK_S", 0.02)
    mocker.patch.object(waits, "SIGN_S", 0.05)
    with lab.agent(windows=(_closed(),), time_zone="UTC") as agent:
        agent.updater.offer(lab.offer(lab.artifact()))

        def signs() -> list[int]:
            return [report.seq for report in agent.reports if report.substate == "wait-window"]

        wait_until(lambda: len(signs()) >= 4, what="four signs")
    assert signs() == sorted(set(signs()))
    assert lab.state.outbox == ()


def test_an_update_that_waits_can_be_aborted(lab: Lab) -> None:
    with lab.agent(windows=(_closed(),), time_zone="UTC") as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the window")
        agent.updater.abort("d-1")
        agent.wait_idle()
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.ABORTED
    assert "ArtifactInstall" not in lab.calls
    assert lab.calls[-1] == "Cleanup"
    assert not lab.tree.exists()


def test_download_only_waits_for_an_offer_of_the_attempt_that_says_to_install(lab: Lab) -> None:
    offer = lab.offer(lab.artifact())
    only = replace(offer, policy=Policy(download_only=True))
    with lab.agent() as agent:
        agent.updater.offer(only)
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for another offer")
        assert agent.updater.offer(only)
        assert "download only" in agent.updater.snapshot()["hold"]
    with lab.agent() as agent:
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for another offer")
        assert agent.updater.offer(offer)
        agent.wait_idle()
    assert agent.reports[-1].status == "success"


@pytest.mark.parametrize(
    "policy", [Policy(download_only=True), Policy(windows=[parse(_closed())])], ids=["download only", "a window"]
)
def test_a_policy_that_changes_while_the_device_downloads_is_heeded(lab: Lab, policy: Policy) -> None:
    offer = lab.offer(lab.artifact())
    lab.web.manners = Manners(gate=Event())
    assert lab.web.manners.gate
    with lab.agent(time_zone="UTC") as agent:
        agent.updater.offer(replace(offer, policy=policy))
        wait_until(lambda: lab.web.requests, what="the download")
        assert agent.updater.offer(offer)
        lab.web.manners.gate.set()
        agent.wait_idle()
    assert agent.reports[-1].status == "success"


def test_an_offer_with_a_window_of_its_own_waits_for_it(lab: Lab) -> None:
    window = parse(_closed())
    with lab.agent(time_zone="UTC") as agent:
        agent.updater.offer(replace(lab.offer(lab.artifact()), policy=Policy(windows=[window])))
        wait_until(lambda: "hold" in agent.updater.snapshot(), what="the wait for the window")
        assert "ArtifactInstall" not in lab.calls


def test_an_artifact_without_payload_waits_for_nothing(lab: Lab) -> None:
    out = lab.root / "bootstrap.mender"
    from tests.agent.update.lab import run

    run("mender-artifact", "write", "bootstrap-artifact", "-n", "release-2", "-t", "lab", "-o", str(out))
    assert lab.update(lab.offer(out), windows=(_closed(),), time_zone="UTC")[-1].status == "success"
