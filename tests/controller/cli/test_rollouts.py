"""Rollouts from the command line: planned, paused, undone, listed, against a real controller."""

from __future__ import annotations

import inspect
import shlex

import pytest
from pytest_mock import MockerFixture

from tests.controller.api.served import Json, Served
from tests.controller.cli.conftest import Run
from tests.controller.cli.test_watch import in_background, listening
from tests.support.device import Device
from tests.support.wait import wait_until
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.cli import watch


@pytest.fixture(scope="module", autouse=True)
def _former_release(served: Served) -> None:
    served.release("panel-1")


def fleet(served: Served, name: str, count: int) -> list[str]:
    """Devices that no other test uses, known by a check-in."""
    ids = [f"{name}-{number}" for number in range(1, count + 1)]
    served.accept(*ids)
    for device_id in ids:
        with Device(served.broker.port, device_id) as device:
            device.check_in()
    return ids


def to(ids: list[str]) -> list[str]:
    return [word for device_id in ids for word in ("--device", device_id)]


def restored(served: Served, rollback_id: str, *ids: str) -> None:
    """Let devices take the offer of a rollback, and report success."""
    for device_id in ids:
        with Device(served.broker.port, device_id, running="panel-2") as device:
            device.check_in()
            device.report(rollback_id, 1, DeviceStatus.SUCCESS)


def test_every_option_of_a_plan_reaches_the_controller_and_is_shown(run: Run, served: Served) -> None:
    options = (
        "--canary 1 --soak 10m --approval --max-failures 5% --min-sample 20 --failure-code no-space --on-failures abort"
        " --rate 30/min --ramp 2/50/600 --concurrency 10 --bandwidth 500k --download-only --retries 2"
        " --attempt-timeout 1h --rebooting-timeout 5m"
    )
    words = ["deployment", "create", "panel-2", *to(fleet(served, "full", 3)), "--name", "full", *options.split()]

    made = run(*words, "--window", "mon-fri 22:00-04:00")

    assert (made.code, "deployment approve" in made.err) == (0, True), made
    shown = run("deployment show full").out
    for words_ in (
        "awaiting-approval, 0/3 successful",
        "abort when more than 5% of those tried have failed with no-space, once 20 were tried",
        "To let it go on, as another admin: wainwright deployment approve ",
        "30 offers a minute, times 2 after every 50, up to 600 a minute, at most 10 devices at once",
        "attempt at most    60 min",
        "mon,tue,wed,thu,fri 22:00-04:00, by the device's clock",
        "500.0 kB/s for each device",
        "download, and do not install before `deployment install`",
        "approve, deny, abort",
    ):
        assert words_ in shown, shown
    assert run("deployment approve full").code == 4
    assert run("deployment deny full").code == 4
    assert run("deployment deny full --yes --reason no").code == 0
    assert run("deployment show full -o json").json["outcome"] == "aborted"


def test_a_plan_tells_who_would_get_it_who_not_and_why_and_starts_nothing(run: Run, served: Served) -> None:
    ids = fleet(served, "planned", 4)
    with Device(served.broker.port, "planned-4", device_type="other") as device:
        device.check_in()

    told = run("deployment", "plan", "panel-2", *to(ids), *["--canary", "1", "--soak", "1h", "--max-failures", "5%"])

    assert told.code == 0
    assert "would get it  3 of 4 devices, " in told.out, told.out
    assert "would not get it: 1 no-artifact\n" in told.out
    assert "  planned-4  No artifact fits it" in told.out
    assert "limit         pause when more than 5% of those tried have failed\n" in told.out
    assert "The first failure breaks the limit: of 4 devices, 1 is more than 5%.\n" in told.out
    assert [line.split()[:3] for line in told.out.splitlines() if line[:2] in {"1 ", "2 "}] == [
        ["1", "1", "1"],  # phase, devices, and those of them that would get it
        ["2", "3", "2"],
    ]
    assert "60 min  opens now\n" in told.out
    assert "opens when it is promoted\n" in told.out
    assert told.out.endswith("Nothing was started: `deployment create` with the same options does it.\n")
    assert run("deployment list --search planned -o json").json == []
    assert run("deployment", "plan", "panel-2", *to(ids), "-o", "json").json["left_counts"] == {"no-artifact": 1}


def test_a_new_deployment_says_that_its_first_failure_may_stop_it(run: Run, served: Served) -> None:
    ids = fleet(served, "first", 4)

    told = run("deployment", "create", "panel-2", *to(ids), "--max-failures", "25%", "--manual")
    meant = run("deployment", "create", "panel-2", *to(ids), "--max-failures", "25%", "--min-sample", "1", "--manual")

    sentence = "The first failure may break the limit: 1 of 1 tried is more than 25%."
    assert f"{sentence} To have 4 tried before it counts: --min-sample 4.\n" in told.err
    assert (meant.code, "first failure" in meant.err) == (0, False)


def test_a_plan_that_goes_on_by_itself_without_a_limit_is_told_before_and_when_it_is_made(
    run: Run, served: Served
) -> None:
    options = [*to(fleet(served, "alone", 4)), "--canary", "1+1h"]

    assert "No limit on failures" in run("deployment", "plan", "panel-2", *options).out
    assert "No limit on failures" in run("deployment", "create", "panel-2", *options, "--manual").err


def test_a_rollout_to_a_filter_is_paused_resumed_and_finished(run: Run, served: Served) -> None:
    ids = fleet(served, "joins", 2)
    assert run("device", "label", *ids, "line=joins").code == 0
    made = run("deployment", "create", "panel-2", "--where", "tags.line = 'joins'", "--max-devices", "9", "--name", "j")
    assert (made.code, "for all devices that match" in made.err) == (0, True), made
    assert run("deployment pause j --reason lunch").code == 0
    shown = run("deployment show j").out
    assert "lunch" in shown
    assert 'tags.line = "joins"' in shown
    assert run("deployment pause j").code == 4
    assert run("deployment resume j").code == 0
    assert run("deployment resume j").code == 5
    served.carry_out(run("deployment show j -o json").json["id"], *ids)
    assert run("deployment finish j").code == 4
    assert run("deployment finish j --yes").code == 0
    assert run("deployment show j -o json").json["outcome"] == "success"


def test_a_retry_is_a_new_deployment_to_those_that_failed(run: Run, served: Served) -> None:
    ids = fleet(served, "again", 2)
    made = served.deploy("panel-2", *ids, name="again")
    served.carry_out(made["id"], ids[0])
    assert run("deployment retry again").code == 5
    served.carry_out(made["id"], ids[1], status=DeviceStatus.FAILURE)

    retried = run("deployment retry again -o json")

    assert (retried.json["retry_of"], retried.json["device_count"]) == (made["id"], 1)
    assert "deployment watch" in retried.err


def test_a_rollback_says_what_it_does_before_it_asks_and_is_watched_to_its_end(run: Run, served: Served) -> None:
    ids = fleet(served, "undone", 3)
    with Device(served.broker.port, ids[2], running="panel-lost") as device:
        device.check_in()
    made = served.deploy("panel-2", *ids, name="undone")
    served.carry_out(made["id"], *ids[:2])
    with Device(served.broker.port, ids[2], running="panel-lost") as device:
        device.check_in()
        device.report(made["id"], 1, DeviceStatus.SUCCESS)

    asked = run("deployment rollback undone")
    assert (asked.code, "2 devices get panel-1 back" in asked.err) == (4, True), asked
    assert "undone-3: Its former release panel-lost is not in the store." in asked.err
    assert run("deployment rollback undone --yes --reason dark").code == 0
    shown = run("deployment show undone").out
    assert "rolling back, 3/3 successful" in shown
    assert "inprogress, 0/3 successful (" in shown
    assert "needed by  rollback of undone" in run("release show panel-1").out
    child = served.get("deployments/undone")["rollback"]["id"]
    assert "panel-1" in run("deployment", "show", child, "--devices").out

    with in_background(run, "deployment watch undone") as ran:
        listening(served)
        restored(served, child, *ids[:2])

    assert ran[0].code == 1
    assert ran[0].out.splitlines()[-1] == "undone: rolled-back, 2 of 3 devices undone, 1 not for it."
    assert any("2 of 3 finished" in line or "finished: partial" in line for line in ran[0].out.splitlines()), ran
    assert run("deployment rollback undone --yes").code == 4


def test_a_watch_goes_over_to_the_rollback_of_a_deployment_that_is_under_way(
    run: Run, served: Served, mocker: MockerFixture
) -> None:
    followed = mocker.spy(watch, "follow")
    ids = fleet(served, "turned", 3)
    made = served.deploy("panel-2", *ids, name="turned")
    served.carry_out(made["id"], *ids[:2])

    with in_background(run, "deployment watch turned") as ran:
        listening(served)
        child = served.post(f"deployments/{made['id']}/rollback")["rollback"]["id"]
        # Once it is over, there is nothing to go over to.
        wait_until(lambda: followed.call_count == 2, what="the watcher to follow the rollback")
        restored(served, child, *ids[:2])

    lines = ran[0].out.splitlines()
    assert any(line.split(" ")[1] == child[:8] and line.endswith("created to undo turned") for line in lines), lines
    assert lines[-1] == "turned: rolled-back, 2 of 2 devices undone."
    assert {inspect.getgeneratorstate(events) for events in followed.spy_return_list} == {inspect.GEN_CLOSED}


def test_a_list_is_filtered_and_sorted(run: Run, served: Served) -> None:
    (device,) = fleet(served, "listed", 1)
    for name in "bac":
        served.deploy("panel-2", device, name=f"listed {name}")

    def names(options: str) -> list[str]:
        found: list[Json] = run(*f"deployment list --search listed -o json {options}".split()).json
        return [one["name"][-1] for one in found]

    assert names("") == ["c", "a", "b"]
    assert names("--sort name") == ["a", "b", "c"]
    assert names("--sort -name --limit 2") == ["c", "b"]
    assert names("--release panel-2 --creator local --since 2020-01-01T00:00Z --sort created") == ["b", "a", "c"]
    assert names("--until 2020-01-01T00:00Z") == names("--strategy canary") == names("--status finished") == []


def test_a_release_says_how_many_devices_run_it_and_how_to_list_them(run: Run, served: Served) -> None:
    ids = fleet(served, "runs", 2)
    served.release("runs-1")
    for device_id in ids:
        with Device(served.broker.port, device_id, running="runs-1") as device:
            device.check_in()

    shown = run("release show runs-1").out

    assert "runs on   2 devices\n" in shown, shown
    command = shown.split("What runs it: wainwright ")[1].splitlines()[0]
    assert [d["id"] for d in run(*shlex.split(command), "-o", "json").json] == ids
    (row,) = [line for line in run("release list --search runs-1").out.splitlines() if line.startswith("runs-1")]
    assert "2 devices" in row
