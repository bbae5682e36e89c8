"""Commands by rows: command line, situation, exit code, and a word of what is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.common.artifact.build import Recipe, public_pem
from tests.controller.api.served import Served, artifact
from tests.controller.cli.conftest import Run
from tests.support.device import Device
from tests.support.wait import free_port, wait_until
from wainwright_common.messages import Line, LogLines
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind
from wainwright_controller.cli.client import Client
from wainwright_controller.cli.watch import find

# Command line, exit code, a word on stdout or stderr; against a controller with a release panel-2 and no devices.
ROWS = [
    ("--version", 0, "wainwright 0."),
    ("--help", 0, "Exit codes"),
    ("", 2, "Usage"),
    ("nonsense", 2, "No such command"),
    ("device", 2, "Usage"),
    ("device list --state lost", 2, "lost"),
    ("device list -o xml", 2, "xml"),
    ("device list", 0, "No devices"),
    ("device show nobody", 1, "No such device: nobody"),
    ("device accept", 2, "--all"),
    ("device accept nobody --all", 2, "--all"),
    ("device accept nobody", 1, "No such device"),
    ("device accept --all", 5, "No device is pending"),
    ("device preauthorize a/b", 1, "not a device id"),
    ("device decommission nobody --yes", 1, "No such device"),
    ("device history nobody", 1, "No such device"),
    ("device logs nobody", 1, "No such device"),
    ("why nobody", 1, "heard of"),
    ("group list", 0, "No groups"),
    ("group show nobody", 1, "No such group"),
    ("group members nobody", 1, "No such group"),
    ("group delete nobody --yes", 1, "No such group"),
    ("group create g --where x --device y", 2, "a list or a filter"),
    ("group create g --where x==1", 1, "column 2: `==` is written `=` here.\n  x==1\n   ^\n"),
    ("group change nobody --where x=1", 1, "No such group"),
    ("group add nobody press-07", 1, "No such group"),
    ("device list --where x=1", 0, "No devices"),
    ("device list --where x=", 1, "found the end"),
    ("device label press-07", 2, "NAME=VALUE"),
    ("device label site=north", 2, "--where"),
    ("device label nobody site=north", 1, "No such device: nobody"),
    ("device label nobody --where x=1 site=north", 2, "--where"),
    ("device label --where x=1 site=north", 5, "Nothing to change"),
    ("device label nobody a%b=1", 1, "name of a tag"),
    ("device unlabel nobody", 2, "Name the tags"),
    ("device unlabel nobody site", 1, "No such device: nobody"),
    ("artifact list", 0, "panel-2"),
    ("artifact list --release nothing", 0, "No artifacts"),
    ("artifact show panel-2", 0, "sha256"),
    ("artifact show panel-3.mender", 0, "panel-3"),
    ("artifact show nothing", 1, "No such artifact"),
    ("artifact upload nothing.mender", 2, "does not exist"),
    ("artifact verify panel-3.mender", 0, "sound"),
    ("artifact verify nothing.mender", 2, "does not exist"),
    ("artifact download nothing", 1, "No such artifact"),
    ("artifact delete panel-2", 4, "--yes"),
    ("release list", 0, "panel-2"),
    ("release show panel-2", 0, "pi4"),
    ("release show nothing", 1, "No such release"),
    ("release delete panel-2", 4, "--yes"),
    ("deployment list", 0, "No deployments"),
    ("deployment show nothing", 1, "No such deployment"),
    ("deployment show no/thing", 1, "No such deployment"),
    ("deployment watch nothing", 1, "No such deployment"),
    ("deployment start nothing", 1, "No such deployment"),
    ("deployment create panel-2", 2, "--all"),
    ("deployment create panel-2 --all --to plant", 2, "exactly one"),
    ("deployment create panel-2 --all", 1, "no accepted device"),
    ("deployment create panel-2 --to nobody", 1, "No such group"),
    ("deployment create panel-2 --to nobody --batch 5", 1, "No such group"),
    ("deployment create panel-2 --device nobody", 1, "Not an accepted device"),
    ("deployment create nothing --all", 1, "No such release"),
    ("deployment create panel-2 --all --phase ten", 2, "not a phase"),
    ("deployment create panel-2 --all --canary 5% --batch 5%", 2, "give one"),
    ("deployment create panel-2 --all --manual --at 2030-01-01T00:00Z", 2, "give one"),
    ("deployment create panel-2 --all --at noon", 2, "not a time"),
    ("deployment create panel-2 --all --retries 101", 2, "101"),
    ("deployment create panel-2 --all --in-progress-timeout soon", 2, "not a span"),
    ("deployment create panel-2 --all --where x=1", 2, "exactly one"),
    ("deployment create panel-2 --where x==1", 1, "column 2"),
    ("deployment create panel-2 --all --max-failures many", 2, "5% or 3"),
    ("deployment create panel-2 --all --on-failures abort", 2, "--max-failures"),
    ("deployment create panel-2 --all --on-failures panic --max-failures 1", 2, "panic"),
    ("deployment create panel-2 --all --max-failures 1 --min-sample 5", 2, "percentage"),
    ("deployment create panel-2 --all --rate fast", 2, "30/min"),
    ("deployment create panel-2 --all --ramp 2/50", 2, "--rate"),
    ("deployment create panel-2 --all --window noon", 2, "not a window"),
    ("deployment create panel-2 --all --bandwidth 0", 2, "500k"),
    ("deployment create panel-2 --all --soak 1h", 2, "one phase"),
    ("deployment plan panel-2", 2, "exactly one"),
    ("deployment plan panel-2 --all", 1, "no accepted device"),
    ("deployment plan panel-2 --device nobody", 1, "Not an accepted device"),
    ("deployment pause nothing", 1, "No such deployment"),
    ("deployment rollback nothing", 1, "No such deployment"),
    ("deployment list --sort size", 2, "created"),
    ("deployment list --since noon", 2, "not a time"),
    ("deployment list --status finished --strategy canary --creator olga --sort name", 0, "No deployments"),
    ("serve --config nothing.toml", 2, "nothing.toml"),
    ("--controller http://127.0.0.1:1 device list", 3, "wainwright serve"),
    ("--controller nonsense device list", 2, "http://HOST:PORT"),
]


@pytest.mark.parametrize(("line", "code", "said"), ROWS)
def test_a_command_line_comes_to_its_exit_code_and_says_why(run: Run, line: str, code: int, said: str) -> None:
    ran = run(*line.split())
    assert (ran.code, said in ran.out + ran.err) == (code, True), ran
    if code not in {0, 2}:
        assert ran.out == ""


def test_options_of_the_tool_may_stand_before_and_after_the_command(run: Run) -> None:
    assert run("-o json release list").json == run("release list -o json").json
    assert run("release list -o jsonl").json["name"] == "panel-2"
    assert run("-q device list").err == run("device list -q").err == ""


def test_a_list_is_a_table_for_people_and_json_for_programs(run: Run, served: Served) -> None:
    served.accept("list-1", "list-2")
    table = run("device list --search list-").out.splitlines()
    assert table[0].split() == ["ID", "STATE", "LINK", "TYPE", "RUNS", "GROUP", "SEEN"]
    assert [line.split()[:3] for line in table[1:]] == [
        ["list-1", "accepted", "offline"],
        ["list-2", "accepted", "offline"],
    ]
    listed = run("device list --search list- -o json").json
    lines = run("device list --search list- -o jsonl").out.splitlines()
    assert listed == [json.loads(line) for line in lines] == served.get("devices", q="list-")["items"]
    assert len(run("device list --search list- --limit 1 -o json").json) == 1
    assert run("device list --search list- --online -o json").json == []
    assert run("device list --search nothing -o json").json == []


def test_devices_are_accepted_rejected_grouped_and_retired(run: Run, served: Served) -> None:
    with Device(served.broker.port, "shop-1") as device:
        device.announce()
        device.check_in()
        assert run("device list --state pending --online -o json").json[0]["id"] == "shop-1"
        assert "1 device accepted" in run("device accept shop-1").err
        assert run("device accept shop-1").err == "0 devices accepted; 1 device already.\n"
        assert run("device reject shop-1 -o json").json == {"changed": ["shop-1"]}
        assert run("device accept shop-1").code == 0
        device.drain()
        assert run("device check-in shop-1").code == 0
        assert device.woken().name == "check-in"
        assert run("device preauthorize shop-2 shop-3").err == "2 devices accepted in advance.\n"
        assert run("group create shop --device shop-1").err == "Group shop made, with 1 device.\n"
        assert run("group create shop").code == 4
        assert run("group add shop shop-2 shop-3").code == 0
        assert run("group remove shop shop-3").code == 0
        assert run("device label shop-1 shop-2 site=north floor=3").err == "Tags of 2 devices changed.\n"
        assert run("device", "label", "--where", 'tags.site = "north"', "site=south").code == 0
        assert run("device unlabel shop-1 floor").code == 0
        assert "tags:\n  site  south\n" in run("device show shop-1").out
        found = run("device", "list", "--where", 'tags.site = "south" and tags.floor = 3', "-o", "json")
        assert [d["id"] for d in found.json] == ["shop-2"]
        assert (
            run("group", "create", "south", "--where", "tags.site='south'").err == "Group south made, with 2 devices.\n"
        )
        assert run("group", "change", "south", "--where", "tags.site='south' and tags.floor exists").code == 0
        shown = run("group show south").out
        assert 'filter   tags.site = "south" and tags.floor exists' in shown
        assert "members:\n  shop-2\n" in shown
        assert run("group add south shop-1").code == 4
        assert run("group delete south -y").code == 0
        assert [d["id"] for d in run("group members shop -o json").json] == ["shop-1", "shop-2"]
        assert "2" in run("group list").out
        assert "online" in run("device show shop-1").out
    assert run("device decommission shop-3").code == 4
    assert run("device decommission shop-3 --yes").code == 0
    assert run("device show shop-3 -o json").json["state"] == "decommissioned"
    refused = run("device accept shop-3")
    assert refused.code != 0
    assert "wainwright device recommission shop-3" in refused.err
    assert "shop-3 is pending" in run("device recommission shop-3").err
    assert run("device accept shop-3").code == 0
    assert run("group delete shop").code == 4
    assert run("group delete shop -y").code == 0


def test_artifacts_are_uploaded_checked_fetched_and_deleted(run: Run) -> None:
    stored = run("artifact upload panel-3.mender -o json").json
    assert stored["name"] == "panel-3"
    again = run("artifact upload panel-3.mender")
    assert (again.code, "already" in again.err) == (4, True)
    assert run("artifact download panel-3").code == 0
    assert run("artifact", "download", stored["id"][:8], "--to", "copy.mender").code == 0
    assert Path("copy.mender").read_bytes() == Path("panel-3.mender").read_bytes() == artifact("panel-3")
    assert run("artifact download panel-3 --to nowhere/copy.mender").code == 1
    assert sorted(path.name for path in Path().iterdir()) == ["copy.mender", "panel-3.mender"]
    assert "pi4" in run("release show panel-3").out
    assert run("release delete panel-3 --yes").code == 0
    assert run("release delete panel-3 --yes").code == 1


def test_a_damaged_artifact_is_refused_with_the_reason(run: Run) -> None:
    Path("bad.mender").write_bytes(artifact("bad-1")[:-2000])
    for line in ("artifact upload bad.mender", "artifact verify bad.mender"):
        ran = run(line)
        assert (ran.code, "ends" in ran.err, "bad.mender: " in ran.err) == (1, True, True), ran
    Path("folder").mkdir()
    assert run("artifact upload folder").code == 2


def test_a_signature_is_checked_where_a_key_is_given(run: Run) -> None:
    Path("key.pem").write_bytes(public_pem())
    Path("signed.mender").write_bytes(Recipe(signed=True).blob())
    assert run("artifact verify signed.mender -k key.pem").code == 0
    unsigned = run("artifact verify panel-3.mender -k key.pem")
    assert (unsigned.code, "not signed" in unsigned.err) == (4, True)
    Path("nokey.pem").write_text("nonsense")
    assert run("artifact verify signed.mender -k nokey.pem").code == 1


def test_a_failed_device_is_explained(run: Run, served: Served) -> None:
    served.accept("sick-1")
    made = run("deployment create panel-2 --device sick-1 --name sick -o json").json
    served.carry_out(made["id"], "sick-1", status=DeviceStatus.FAILURE)
    assert "  1       no-space  sick-1  disk full\n" in run("deployment show sick").out
    why = run("why sick-1")
    assert "no-space" in why.out
    assert why.err == f"Its log: wainwright device logs sick-1 {made['id'][:8]}\n"
    assert "failure" in run("device history sick-1").out
    assert "sick-1" in run("deployment show sick --devices").out
    assert run("deployment show sick --devices --status failure -o json").json[0]["device_id"] == "sick-1"
    assert run("deployment show sick --devices --status success").err == "It has no such devices.\n"
    assert run("deployment show sick --status success").code == 2
    assert run("deployment logs sick").err.startswith("No log has come yet")
    assert run("device logs sick-1 sick").code == 0
    timeline = run("deployment events sick").out
    assert "created for 1 device" in timeline
    assert "failure (no-space: disk full)" in timeline
    followed = run("deployment events sick --follow -o jsonl").out.splitlines()
    assert [json.loads(line) for line in followed] == run("deployment events sick -o json").json


def test_logs_can_be_of_the_failed_devices_only_and_a_timeline_of_one_device_or_of_none(
    run: Run, served: Served
) -> None:
    served.accept("logs-1", "logs-2")
    made = served.deploy("panel-2", "logs-1", "logs-2", name="logged")
    lines = [Line(at=datetime(2026, 11, 24, 9, tzinfo=UTC), level="info", text="Updating to panel-2.")]
    assert run("deployment logs logged --failed").err == "No device has failed in it.\n"
    for device_id, status in (("logs-1", DeviceStatus.SUCCESS), ("logs-2", DeviceStatus.FAILURE)):
        served.carry_out(made["id"], device_id, status=status)
        with Device(served.broker.port, device_id) as device:
            device.send(Kind.LOG, LogLines(deployment_id=made["id"], attempt=1, first=0, lines=lines))
    wait_until(lambda: len(run("deployment logs logged").out.splitlines()) == 2, what="both logs")

    line = "2026-11-24T09:00:00Z info    Updating to panel-2."
    assert run("deployment logs logged --failed").out.splitlines() == [f"logs-2 {line}"]
    assert run("deployment logs logged --device logs-1").out.splitlines() == [line]
    assert [one["device_id"] for one in run("deployment logs logged -o json").json] == ["logs-1", "logs-2"]
    assert run("deployment logs logged --failed --device logs-1").code == 2
    brief = run("deployment events logged --brief").out
    assert "created for 2 devices" in brief
    assert "DEVICE" not in brief.splitlines()[0]
    assert "logs-1" not in brief
    of_one = run("deployment events logged --device logs-2 -o json").json
    assert {event["device_id"] for event in of_one} == {"logs-2"}
    followed = run("deployment events logged --device logs-2 --follow -o jsonl").out.splitlines()
    assert [json.loads(event) for event in followed] == of_one
    assert "logs-1" not in run("deployment events logged --brief --follow").out
    assert run("deployment events logged --brief --device logs-2").code == 2


def test_a_filter_that_chooses_nobody_says_which_of_its_names_no_device_has(run: Run, served: Served) -> None:
    served.accept("named-1", "named-2")
    run("device", "label", "named-1", "named-2", "room=7")
    assert run("device", "list", "--where", "tags.roam = '7'").err == "No devices: no device has tags.roam.\n"
    assert run("device", "list", "--where", "tags.room = '8'").err == "No devices.\n"
    plan = run("deployment", "plan", "panel-2", "--where", "tags.roam = '7'")
    assert (plan.code, plan.err) == (0, "No devices: no device has tags.roam.\n")
    made = run("deployment", "create", "panel-2", "--where", "tags.roam = '7'", "--name", "nobody")
    assert "for all devices that match, now 0; no device has tags.roam.\n" in made.err
    found = run("deployment", "create", "panel-2", "--where", "tags.room = '7'", "--name", "two")
    assert "for all devices that match, now 2.\n" in found.err
    cut = run("device", "list", "--where", "tags.room = '7'", "--limit", "1")
    assert cut.err == "These are 1 of 2 devices.\n"
    assert run("device", "list", "--where", "tags.room = '7'", "--limit", "2").err == ""
    for name in ("nobody", "two"):
        run("deployment", "abort", name, "--yes")


def test_a_name_that_is_nearly_right_is_answered_with_what_may_be_meant(run: Run, served: Served) -> None:
    served.accept("meant-1")
    made = served.deploy("panel-2", "meant-1", name="autumn rollout")
    refused = run("deployment show autumn")
    told = f"error: No such deployment: autumn. There is autumn rollout ({made['id'][:8]}).\n"
    assert (refused.code, refused.err) == (1, told)


def test_a_devices_history_has_what_was_installed_by_hand_among_its_deployments(run: Run, served: Served) -> None:
    served.accept("touched-2")
    served.release("first-2")
    deployment = served.deploy("first-2", "touched-2")
    served.carry_out(deployment["id"], "touched-2")
    with Device(served.broker.port, "touched-2", running="first-2") as device:
        device.check_in()
        device.running = "second-2"
        device.check_in(by_hand=True)

    heading, newest, oldest = run("device history touched-2").out.splitlines()

    assert heading.split() == ["DEPLOYMENT", "RELEASE", "STATUS", "ATTEMPT", "CHANGED", "NOTE"]
    assert newest.startswith("by-hand ")
    assert newest.endswith("second-2 was installed in place of first-2 by hand")
    assert oldest.split()[:4] == [deployment["id"][:8], "first-2", "success", "1"]
    assert len(run("device history touched-2 --limit 1 -o json").json) == 1


def test_what_a_device_sends_cannot_write_on_the_operators_terminal(run: Run, served: Served) -> None:
    with Device(served.broker.port, "evil-1", running="\x1b[2Jpanel\nx") as device:
        device.check_in()
    shown = run("device list --search evil")
    assert "\x1b" not in shown.out
    assert len(shown.out.splitlines()) == 2


def test_a_promotion_opens_nothing_when_somebody_else_was_faster(
    run: Run, served: Served, mocker: MockerFixture
) -> None:
    served.accept("double-1", "double-2", "double-3")
    devices = "--device double-1 --device double-2 --device double-3"
    run(f"deployment create panel-2 {devices} --name double --phase 1 --phase 1? --phase rest?")

    def slowly(client: Client, reference: str) -> dict[str, Any]:
        found = find(client, reference)
        served.post(f"deployments/{found['id']}/promote")
        return found

    mocker.patch("wainwright_controller.cli.deployment_actions.find", slowly)
    late = run("deployment promote double")

    assert (late.code, "Phase 2 of double is open already" in late.err) == (5, True), late
    phases = run("deployment show double -o json").json["phases"]
    assert ["opened_at" in phase for phase in phases] == [True, True, False]


def test_a_deployment_is_started_promoted_and_aborted(run: Run, served: Served) -> None:
    served.accept("steps-1", "steps-2", "steps-3")
    devices = "--device steps-1 --device steps-2 --device steps-3"
    made = run(f"deployment create panel-2 {devices} --name steps --phase 1 --phase 1? --phase rest? --manual")
    assert (made.code, "deployment start" in made.err) == (0, True)
    assert run("deployment start steps").code == 0
    assert run("deployment start steps").code == 5
    promoted = run("deployment promote steps")
    assert (promoted.code, "Phase 1 still has 1 waiting." in promoted.err) == (0, True), promoted
    assert run("deployment approve-batch steps --reason looks-good").code == 0
    assert run("deployment promote steps").code == 5
    assert "promote: looks-good" in run("deployment events steps").out
    assert run("deployment delete steps --yes").code == 4
    assert run("deployment abort steps").code == 4
    assert run("deployment abort steps --yes").code == 0
    assert run("deployment abort steps --yes").code == 4
    assert run("deployment show steps -o json").json["outcome"] == "aborted"
    shown = run("deployment show steps").out
    assert "closed" not in shown
    assert "to        3 devices\n" in shown
    phases = [line.split() for line in shown.splitlines() if line.startswith(("PHASE", "1 ", "2 ", "3 "))]
    assert phases[0][-1] == "ABORTED"
    assert [row[-2] for row in phases[1:]] == ["1", "1", "1"]
    assert run("deployment delete steps").code == 4
    assert run("deployment delete steps --yes").code == 0


def test_a_device_for_which_no_artifact_fits_is_told_apart_from_a_failed_one(run: Run, served: Served) -> None:
    with Device(served.broker.port, "odd-1", device_type="another") as device:
        device.check_in()
        assert run("device accept odd-1").code == 0
        made = run("deployment create panel-2 --device odd-1 --name odd -o json").json
        device.drain()
        device.check_in()
        wait_until(lambda: served.get(f"deployments/{made['id']}")["status"] == "finished", what="the end")
    assert "NOT FOR IT" in run("deployment show odd").out
    assert run("deployment watch odd").out.splitlines()[-1].endswith("no artifact fits 1 device.")


def test_plans_are_laid_out_as_written(run: Run, served: Served) -> None:
    ids = [f"plan-{number}" for number in range(7)]
    served.accept(*ids)
    run("group", "create", "planned", *(word for i in ids for word in ("--device", i)))
    rows = [
        ("", "immediate", [7], ["now"]),
        ("--canary 10%", "canary", [1, 6], ["now", "approval"]),
        ("--batch 3", "rolling", [3, 3, 1], ["now", "now", "now"]),
        ("--strategy rolling", "rolling", [2, 2, 2, 1], ["now"] * 4),
        ("--phase 2 --phase rest+1h", "phased", [2, 5], ["now", "after"]),
    ]
    for options, strategy, sizes, opens in rows:
        made = run(f"deployment create panel-2 --to planned {options} -o json").json
        assert (made["strategy"], [p["size"] for p in made["phases"]]) == (strategy, sizes)
        assert [p["opens"] for p in made["phases"]] == opens
        run("deployment", "abort", made["id"], "--yes")


def test_what_is_no_controller_is_told_apart_from_one_that_is_away(run: Run, served: Served) -> None:
    away = run(f"--controller http://127.0.0.1:{free_port()} device list")
    assert (away.code, "connection refused" in away.err) == (3, True)
    stranger = run(f"--controller {served.url}/elsewhere device list")
    assert stranger.code in {1, 3}
    broker = run(f"--controller http://127.0.0.1:{served.broker.port} device list")
    assert broker.code == 3
