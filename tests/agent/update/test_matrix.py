"""The error and kill matrix: one thing goes wrong, and this is called, told, and installed.

The rows are those that hold for a Mender client, whose modules and state scripts run here unchanged; where an agent of
ours does otherwise the row says so by DIFFERS, and `docs/differences.md` says why. Each row is run against a real
Updater in a process of its own, which is really killed.

    err:x    x fails, once            kill:x    the agent is killed in x, and the device has booted anew
    err!:x   x fails each time        stop:x    the agent is killed in x, and started again in the same boot
    hang:x   x does not end           x         of the abbreviations of scripted.py

A status that is told twice in a row counts once here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agent.update.lab import QUICK, Lab, run, runs, statuses
from tests.agent.update.scripted import LONG, Drivers, install_own_scripts, reports, script_arguments, short_calls
from tests.agent.update.web import Web
from wainwright_common.messages import Offer, Report, Verdict
from wainwright_common.statuses import DeviceStatus

INSTALLED, ROLLED_BACK, INCONSISTENT = "INSTALLED", "ROLLED-BACK", "INCONSISTENT"
DIFFERS = True
OF_THE_MODULE = {"", "D", "I", "R", "VR", "C", "B", "BR", "VBR", "F", "CU", "NeedsArtifactReboot", "SupportsRollback"}
HANG_S = 3.0  # the limit of a call, where one hangs: so long may one that does not be kept from running

ONCE = 'if [ ! -e "$lab/once-{name}" ]; then touch "$lab/once-{name}"; {what}; fi'
KILL = 'kill -9 $(cat "$lab/driver.pid"); exec sleep 60'
WHAT = {
    "err": "echo broken >&2; exit 1",
    "kill": f'echo boot-2 >"$lab/boot_id"; {KILL}',
    "stop": KILL,
    "hang": "exec sleep 60",
}

DOWN = "downloading"
INSTALL = "downloading,installing"
INSTALL_F = INSTALL + ",failure"
REBOOT_F = INSTALL + ",rebooting,failure"
ALL = INSTALL + ",rebooting,installing"
ALL_F = ALL + ",failure"
GOOD = "dE ps D dL iE I iL rE R VR rL cE C cL CU"
BACK = "bE B bL brE BR VBR brL fE F fL CU"


@dataclass(frozen=True)
class Row:
    """A fault, and what comes of it."""

    faults: str
    calls: str
    statuses: str
    outcome: str
    differs: bool = False


# fmt: off
ROWS = [
    Row("",                                 GOOD, ALL + ",success", INSTALLED),
    Row("no-rollback no-reboot",            "dE ps D dL iE I iL cE C cL CU", INSTALL + ",success", INSTALLED),
    Row("no-rollback",                      GOOD, ALL + ",success", INSTALLED),
    Row("empty",                            "dE dL", DOWN + ",success", INSTALLED),

    Row("err:dE no-rollback",               "dE dX", DOWN + ",failure", ROLLED_BACK),
    Row("err:D no-rollback",                "dE ps D dX CU", DOWN + ",failure", ROLLED_BACK),
    Row("err:dL",                           "dE ps D dL dX CU", DOWN + ",failure", ROLLED_BACK),
    Row("hang:D",                           "dE ps D dX CU", DOWN + ",failure", ROLLED_BACK),
    Row("wrong-type",                       "dE dX", DOWN + ",failure", ROLLED_BACK),
    Row("broken",                           "dE dX", DOWN + ",failure", ROLLED_BACK),
    Row("kill:dE no-rollback",              "dE " + GOOD, ALL + ",success", INSTALLED, DIFFERS),
    Row("kill:D no-rollback",               "dE ps D dE CU ps D dL iE I iL rE R VR rL cE C cL CU",
        ALL + ",success", INSTALLED, DIFFERS),
    Row("kill:dL no-rollback",              "dE ps D dL dE CU ps D dL iE I iL rE R VR rL cE C cL CU",
        ALL + ",success", INSTALLED, DIFFERS),

    Row("err:iE no-rollback",               "dE ps D dL iE iX fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("err:I no-rollback",                "dE ps D dL iE I iX fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("err:iL no-rollback",               "dE ps D dL iE I iL iX fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("err:I",                            "dE ps D dL iE I iX " + BACK, INSTALL_F, ROLLED_BACK),
    Row("hang:I",                           "dE ps D dL iE I iX " + BACK, INSTALL_F, ROLLED_BACK),
    Row("kill:iE no-rollback",              "dE ps D dL iE fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("kill:I no-rollback",               "dE ps D dL iE I fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("kill:iL no-rollback",              "dE ps D dL iE I iL fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("kill:I",                           "dE ps D dL iE I " + BACK, INSTALL_F, ROLLED_BACK),
    Row("err!:NeedsArtifactReboot",         "dE ps D dL iE I iL bE B bL fE F fL CU", INSTALL_F, INCONSISTENT),
    Row("err:I err!:SupportsRollback",      "dE ps D dL iE I iX fE F fL CU", INSTALL_F, INCONSISTENT),

    Row("err:rE",                           "dE ps D dL iE I iL rE rX " + BACK, REBOOT_F, ROLLED_BACK),
    Row("err:R",                            "dE ps D dL iE I iL rE R rX " + BACK, REBOOT_F, ROLLED_BACK),
    Row("err:VR",                           "dE ps D dL iE I iL rE R VR rX " + BACK, REBOOT_F, ROLLED_BACK),
    Row("err:rL",                           "dE ps D dL iE I iL rE R VR rL rX " + BACK, REBOOT_F, ROLLED_BACK),
    Row("kill:rE",                          "dE ps D dL iE I iL rE VR rL cE C cL CU", ALL + ",success", INSTALLED),
    Row("stop:rE",                          "dE ps D dL iE I iL rE rE R VR rL cE C cL CU", ALL + ",success", INSTALLED,
        DIFFERS),
    Row("kill:R",                           GOOD, ALL + ",success", INSTALLED),
    Row("kill:rL",                          "dE ps D dL iE I iL rE R VR rL " + BACK, REBOOT_F, ROLLED_BACK),

    Row("err:cE",                           "dE ps D dL iE I iL rE R VR rL cE cX " + BACK, ALL_F, ROLLED_BACK),
    Row("err:C",                            "dE ps D dL iE I iL rE R VR rL cE C cX " + BACK, ALL_F,
        ROLLED_BACK),
    Row("kill:cE",                          "dE ps D dL iE I iL rE R VR rL cE " + BACK, ALL_F, ROLLED_BACK),
    Row("kill:C",                           "dE ps D dL iE I iL rE R VR rL cE C " + BACK, ALL_F, ROLLED_BACK),
    Row("err:C no-reboot",                  "dE ps D dL iE I iL cE C cX bE B bL fE F fL CU", INSTALL_F,
        ROLLED_BACK),
    Row("kill:C no-reboot",                 "dE ps D dL iE I iL cE C bE B bL fE F fL CU", INSTALL_F,
        ROLLED_BACK),
    Row("err:cL",                           "dE ps D dL iE I iL rE R VR rL cE C cL cX CU", ALL_F,
        INCONSISTENT),
    Row("err:cL no-reboot",                 "dE ps D dL iE I iL cE C cL cX CU", INSTALL_F, INCONSISTENT),
    Row("kill:cL",                          "dE ps D dL iE I iL rE R VR rL cE C cL cL CU", ALL + ",success", INSTALLED),
    Row("kill:CU",                          GOOD + " CU", ALL + ",success", INSTALLED, DIFFERS),
    Row("err:CU",                           GOOD, ALL + ",success", INSTALLED, DIFFERS),

    Row("err:VR err:bE",                    "dE ps D dL iE I iL rE R VR rX " + BACK, REBOOT_F, INCONSISTENT),
    Row("err:VR err:bL",                    "dE ps D dL iE I iL rE R VR rX " + BACK, REBOOT_F, INCONSISTENT),
    Row("err:VR err:B",                     "dE ps D dL iE I iL rE R VR rX bE B bL fE F fL CU", REBOOT_F,
        INCONSISTENT),
    Row("err:VR kill:B",                    "dE ps D dL iE I iL rE R VR rX bE B " + BACK, REBOOT_F,
        ROLLED_BACK),
    Row("err:VR err:brE",                   "dE ps D dL iE I iL rE R VR rX " + BACK, REBOOT_F, INCONSISTENT),
    Row("err:VR kill:brE",                  "dE ps D dL iE I iL rE R VR rX bE B bL brE VBR brL fE F fL CU",
        REBOOT_F, ROLLED_BACK),
    Row("err:VR stop:brE",                  "dE ps D dL iE I iL rE R VR rX bE B bL brE brE BR VBR brL fE F fL CU",
        REBOOT_F, ROLLED_BACK, DIFFERS),
    Row("err:VR err:BR",                    "dE ps D dL iE I iL rE R VR rX " + BACK, REBOOT_F, ROLLED_BACK),
    Row("err:VR err:VBR",                   "dE ps D dL iE I iL rE R VR rX bE B bL brE BR VBR BR VBR brL fE F fL CU",
        REBOOT_F, ROLLED_BACK),
    Row("err:VR err:brL",                   "dE ps D dL iE I iL rE R VR rX bE B bL brE BR VBR brL brX fE F fL CU",
        REBOOT_F, INCONSISTENT),
    Row("err:VR kill:brL",                  "dE ps D dL iE I iL rE R VR rX bE B bL brE BR VBR brL VBR brL fE F fL CU",
        REBOOT_F, ROLLED_BACK),

    Row("err:I err:fE",                     "dE ps D dL iE I iX " + BACK, INSTALL_F, INCONSISTENT),
    Row("err:I err:F",                      "dE ps D dL iE I iX " + BACK, INSTALL_F, INCONSISTENT),
    Row("err:I err:fL",                     "dE ps D dL iE I iX " + BACK, INSTALL_F, INCONSISTENT),
    Row("err:I kill:fE",                    "dE ps D dL iE I iX bE B bL brE BR VBR brL fE fE F fL CU",
        INSTALL_F, ROLLED_BACK),
    Row("err:I kill:F",                     "dE ps D dL iE I iX bE B bL brE BR VBR brL fE F fE F fL CU",
        INSTALL_F, ROLLED_BACK),
    Row("err:VR err:CU",                    "dE ps D dL iE I iL rE R VR rX " + BACK, REBOOT_F, ROLLED_BACK),
    Row("err:VR kill:CU",                   "dE ps D dL iE I iL rE R VR rX " + BACK + " CU", REBOOT_F,
        ROLLED_BACK),
]
# fmt: on


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, web: Web) -> dict[str, bytes]:
    """The artifacts of all rows, written once."""
    root = tmp_path_factory.mktemp("artifacts")
    lab = Lab(root, web)
    scripts = script_arguments(root / "scripts")
    whole = lab.artifact(args=scripts).read_bytes()
    return {
        "": whole,
        "broken": whole[:600],
        "wrong-type": lab.artifact(args=[*scripts, "-t", "other"]).read_bytes(),
        "empty": _bootstrap(root),
    }


def _bootstrap(root: Path) -> bytes:
    out = root / "empty.mender"
    run("mender-artifact", "write", "bootstrap-artifact", "-n", "release-2", "-t", "lab", "-o", str(out))
    return out.read_bytes()


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    process = Drivers()
    yield process
    process.close()


def _prepare(lab: Lab, faults: list[str]) -> dict[str, Any]:
    """Make the faults happen; return the settings of the agent."""
    lab.answer(NeedsArtifactReboot="No" if "no-reboot" in faults else "Yes")
    lab.answer(SupportsRollback="No" if "no-rollback" in faults else "Yes")
    for fault in faults:
        kind, colon, short = fault.partition(":")
        if colon:
            what = WHAT[kind.rstrip("!")]
            lab.on(LONG[short], what if kind.endswith("!") else ONCE.format(name=LONG[short], what=what))
    limit = {"module_timeout_s": HANG_S} if any(fault.startswith("hang:") for fault in faults) else {}
    return {"scripts": install_own_scripts(lab), **limit}


def _cases() -> Iterator[object]:
    """Return the rows; those in which no script fails are also in test_paths and test_power_loss, so they may wait."""
    for row in ROWS:
        is_also_elsewhere = row.faults and all(fault.partition(":")[2] in OF_THE_MODULE for fault in row.faults.split())
        yield pytest.param(row, id=row.faults or "nothing", marks=pytest.mark.long if is_also_elsewhere else ())


@pytest.mark.parametrize("row", list(_cases()))
def test_what_goes_wrong_has_these_calls_statuses_and_outcome(
    lab: Lab, drivers: Drivers, artifacts: dict[str, bytes], row: Row
) -> None:
    faults = row.faults.split()
    settings = _prepare(lab, faults)
    artifact = next((artifacts[fault] for fault in faults if fault in artifacts), artifacts[""])

    killed = drivers.run(lab, lab.offer(artifact), **settings)

    assert killed == sum(fault.startswith(("kill:", "stop:")) for fault in faults)
    told = reports(lab)
    assert (short_calls(lab), ",".join(statuses(told)), _outcome(lab, told)) == (row.calls, row.statuses, row.outcome)
    _assert_clean(lab)


def _outcome(lab: Lab, told: list[Report]) -> str:
    """Return what the device runs, which must be what it has told."""
    state = lab.state
    assert state.last is not None
    assert len({report for report in told if report.status in {"success", "failure"}}) == 1
    is_inconsistent = told[-1].inconsistent is True
    assert state.last.inconsistent is is_inconsistent
    outcome = {
        "release-2": INSTALLED,
        "release-2_INCONSISTENT": INCONSISTENT,
        "unknown": ROLLED_BACK,
    }[state.provides["artifact_name"]]
    assert (outcome == INCONSISTENT) is is_inconsistent
    assert (outcome == INSTALLED) is (told[-1].status == DeviceStatus.SUCCESS)
    return outcome


def _assert_clean(lab: Lab) -> None:
    state = lab.state
    assert state.update is None
    assert state.outbox == ()
    assert not lab.tree.exists()
    assert not list((lab.data / "processes").iterdir())


def _offer(lab: Lab, artifacts: dict[str, bytes]) -> Offer:
    return lab.offer(artifacts[""])


def test_an_abort_before_the_download_calls_nothing(lab: Lab, artifacts: dict[str, bytes]) -> None:
    settings = _prepare(lab, [])
    with lab.agent(acknowledge=False, **settings) as agent:
        agent.on_report = lambda report: agent.verdict(report, Verdict.ABORTED)
        agent.updater.offer(_offer(lab, artifacts))
        agent.wait_idle()

    assert short_calls(lab) == ""
    assert statuses(agent.reports) == ["downloading", "failure"]
    assert _outcome(lab, agent.reports) == ROLLED_BACK


def test_an_abort_before_the_reboot_rolls_back(lab: Lab, artifacts: dict[str, bytes]) -> None:
    settings = _prepare(lab, [])
    with lab.agent(acknowledge=False, **settings) as agent:

        def answer(report: Report) -> None:
            is_reboot = report.status is DeviceStatus.REBOOTING
            agent.verdict(report, Verdict.ABORTED if is_reboot else Verdict.ACCEPTED)

        agent.on_report = answer
        agent.updater.offer(_offer(lab, artifacts))
        agent.wait_idle()

    assert short_calls(lab) == "dE ps D dL iE I iL " + BACK
    assert statuses(agent.reports) == ["downloading", "installing", "rebooting", "failure"]
    assert _outcome(lab, agent.reports) == ROLLED_BACK


def test_new_software_that_reaches_nobody_is_rolled_back(lab: Lab, artifacts: dict[str, bytes]) -> None:
    settings = _prepare(lab, [])
    limits = type(QUICK)(link_s=0.3, grace_s=0.3)
    with lab.agent(acknowledge=False, limits=limits, **settings) as agent:
        agent.updater.offer(_offer(lab, artifacts))
        agent.wait_idle()

    assert short_calls(lab) == "dE ps D dL iE I iL rE R VR rL " + BACK
    assert _outcome(lab, agent.reports) == ROLLED_BACK


def test_software_that_needs_no_reboot_does_not_wait_for_the_controller(lab: Lab, artifacts: dict[str, bytes]) -> None:
    settings = _prepare(lab, ["no-reboot"])
    with lab.agent(acknowledge=False, **settings) as agent:
        agent.updater.offer(_offer(lab, artifacts))
        agent.wait_idle()

    assert short_calls(lab) == "dE ps D dL iE I iL cE C cL CU"
    assert lab.state.provides["artifact_name"] == "release-2"


def test_nothing_of_a_row_is_left_running(lab: Lab, drivers: Drivers, artifacts: dict[str, bytes]) -> None:
    settings = _prepare(lab, ["kill:iE"])
    lab.on("ArtifactInstall_Enter_00", f'echo $$ >"$lab/pid"; {WHAT["kill"]}')
    drivers.run(lab, _offer(lab, artifacts), **settings)

    assert not runs(int(lab.text("pid")))


def test_every_difference_is_documented_with_its_reason_and_nothing_else_is_called_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "differences.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:err|kill|stop):[^`]+)`", page))
    assert named == {row.faults.removesuffix(" no-rollback").removeprefix("err:VR ") for row in ROWS if row.differs}
    for file in set(re.findall(r"`(test_[a-z_]+)`", page)):
        assert list(Path(__file__).parents[1].glob(f"*/{file}.py")), file
