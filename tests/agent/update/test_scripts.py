"""State scripts: which are run, in which order, and what their exit statuses and time limits do."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_mock import MockerFixture

from tests.agent.update.lab import TAKE_STREAMS, Lab, statuses
from tests.agent.update.scripted import SCRIPT, Drivers, install_own_scripts, script_arguments, short_calls
from tests.support.wait import wait_until
from wainwright_agent import scripts
from wainwright_agent.config import Config, Update
from wainwright_agent.failure import UpdateError
from wainwright_agent.journal import Waiting
from wainwright_agent.processes import Surroundings
from wainwright_common.codes import Code

AGAIN = "exit 21"
ONCE_AGAIN = 'if [ ! -e "$lab/asked" ]; then touch "$lab/asked"; exit 21; fi'
DEVICE = "device"


class Bench:
    """Scripts of a device, and what they noted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.own = root / DEVICE
        for folder in (self.data, self.own, root / "on"):
            folder.mkdir()
        self.noted: list[Waiting] = []

    def script(self, name: str, does: str = "exit 0") -> Path:
        file = self.own / name
        file.write_text(f'#!/bin/sh\nlab={self.root}\necho {name} >>"$lab/calls"\n{does}\n')
        file.chmod(0o755)
        return file

    def runner(self, **settings: float) -> scripts.Scripts:
        limits = {"script_retry_interval_s": 0.1, "script_retry_timeout_s": 60.0} | settings
        config = Config(data_dir=self.data, update=Update(scripts=self.own, **limits))  # type: ignore[arg-type]  # names of floats
        return scripts.Scripts(config, Surroundings(self.data / "processes", grace_s=0.3), self.noted.append)

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_scripts_run_in_the_order_of_their_names_and_other_files_do_not(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["Download_Enter_10_last", "Download_Enter_00", "Download_Enter_05-x", "Download_Enter_05_b c", "README"]
    names += ["Download_Enter_01_a.sh", "Download_Leave_00", "Download_Enter_1", "xDownload_Enter_00", "Sync_Enter_00"]
    for name in names:
        bench.script(name)
    bench.script("Download_Enter_03_off").chmod(0o644)
    (bench.own / "Download_Enter_04").mkdir()

    bench.runner().run("Download_Enter")

    assert bench.calls == ["Download_Enter_00", "Download_Enter_01_a.sh", "Download_Enter_10_last"]
    assert "Download_Enter_03_off: the state script is skipped, for it is not executable. Run chmod +x" in caplog.text


def test_the_first_failure_ends_a_group_but_not_one_of_error_scripts(bench: Bench) -> None:
    for group in ("Download_Enter", "Download_Error"):
        bench.script(f"{group}_00")
        bench.script(f"{group}_01", "echo the press runs >&2; exit 3")
        bench.script(f"{group}_02")

    with pytest.raises(
        UpdateError, match=r"Download_Enter_01 ended with status 3. Its last words: the press runs"
    ) as e:
        bench.runner().run("Download_Enter")
    bench.runner().run_after_a_failure("Download_Error")

    assert e.value.code == Code.SCRIPT_FAILED
    assert bench.calls == [
        "Download_Enter_00",
        "Download_Enter_01",
        "Download_Error_00",
        "Download_Error_01",
        "Download_Error_02",
    ]


@pytest.mark.parametrize("version", [None, "2", "3", "3\n"])
def test_scripts_of_a_known_version_are_run(bench: Bench, version: str | None) -> None:
    bench.script("Sync_Enter_00")
    if version is not None:
        (bench.own / "version").write_text(version)
    bench.runner().run("Sync_Enter")
    assert bench.calls == ["Sync_Enter_00"]


@pytest.mark.parametrize("version", ["1", "4", "", "3 2", "33"])
def test_scripts_of_another_version_are_refused(bench: Bench, version: str) -> None:
    bench.script("Sync_Enter_00")
    (bench.own / "version").write_text(version)
    with pytest.raises(UpdateError, match="this agent runs those of version 2 and 3"):
        bench.runner().run("Sync_Enter")
    bench.runner().run_after_a_failure("Sync_Enter")
    assert bench.calls == []


def test_a_folder_that_is_not_there_has_no_scripts(bench: Bench) -> None:
    bench.own.rmdir()
    bench.runner().run("Download_Enter")
    bench.runner().check_own_version()
    bench.runner().run("ArtifactInstall_Enter")
    bench.runner().run(None)
    assert bench.calls == []


def test_a_script_that_asks_for_it_is_run_again_later(bench: Bench) -> None:
    bench.script("Download_Enter_00", ONCE_AGAIN)
    bench.script("Download_Enter_01")
    bench.runner().run("Download_Enter")
    assert bench.calls == ["Download_Enter_00", "Download_Enter_00", "Download_Enter_01"]
    assert [(note.script, note.waited_s) for note in bench.noted] == [("Download_Enter_00", 0.0)]


def test_a_script_that_asks_for_ever_has_failed_after_its_time_and_each_has_its_own(
    bench: Bench, mocker: MockerFixture
) -> None:
    now = time.monotonic() // 1 + 1000  # by a clock that goes on while a script waits, and stands while it runs

    def wait(_around: Surroundings, seconds: float, *_: object) -> None:
        nonlocal now
        now += seconds

    mocker.patch.object(scripts, "pause", wait)
    mocker.patch.object(scripts, "time", SimpleNamespace(monotonic=lambda: now))
    bench.script("Download_Enter_00", 'if [ "$(grep -c _00 $lab/calls)" -lt 4 ]; then exit 21; fi')
    bench.script("Download_Enter_01", AGAIN)
    with pytest.raises(UpdateError, match=r"Download_Enter_01 asked to be run again later for more than 4 s") as error:
        bench.runner(script_retry_timeout_s=4.0, script_retry_interval_s=1.0).run("Download_Enter")
    assert error.value.code == Code.SCRIPT_FAILED
    assert bench.calls.count("Download_Enter_00") == 4
    assert bench.calls.count("Download_Enter_01") == 4


def test_the_time_of_a_script_goes_on_after_a_restart(bench: Bench) -> None:
    bench.script("Download_Enter_00", AGAIN)
    runner = bench.runner(script_retry_timeout_s=1000, script_retry_interval_s=0.1)
    with pytest.raises(UpdateError, match="for more than 1000 s"):
        runner.run("Download_Enter", Waiting(script="Download_Enter_00", waited_s=999.95))
    assert bench.calls == ["Download_Enter_00"]
    assert bench.noted[0].waited_s > 999.95


def test_a_script_that_hangs_is_ended_with_its_group(bench: Bench) -> None:
    bench.script("Download_Enter_00", "echo thinking >&2; trap '' TERM; sleep 60 & echo $! >$lab/child; wait")
    with pytest.raises(UpdateError, match=r"did not end in 6 s and was ended. Its last words: thinking") as error:
        bench.runner(script_timeout_s=6.0).run("Download_Enter")
    assert error.value.code == Code.TIMEOUT
    child = Path("/proc") / (bench.root / "child").read_text().strip()
    wait_until(lambda: not child.exists())


def test_what_a_script_says_is_logged_up_to_a_bound(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench.script("Download_Enter_00", "echo to stdout; echo to stderr >&2; yes 0123456789 | head -n 5000")
    bench.runner().run("Download_Enter")
    assert "Download_Enter_00: to stdout" in caplog.text
    assert "Download_Enter_00: to stderr" in caplog.text
    assert 900 < caplog.text.count("Download_Enter_00: 0123456789") < 1000
    assert caplog.text.count("what more it says is left out") == 1


def test_a_script_that_cannot_be_run_has_failed(bench: Bench) -> None:
    bench.script("Download_Enter_00").write_text("#!/no/such/interpreter\n")
    with pytest.raises(UpdateError, match=r"Download_Enter_00 ended with status 12[67]"):
        bench.runner().run("Download_Enter")


def test_an_artifacts_scripts_replace_those_of_the_one_before(tmp_path: Path) -> None:
    scripts.extract(tmp_path, {"ArtifactInstall_Enter_00": b"#!/bin/sh\n", "ArtifactInstall_Enter_01": b""})
    scripts.extract(tmp_path, {"ArtifactCommit_Enter_00": b"#!/bin/sh\nexit 0\n"})
    folder = tmp_path / "scripts"
    assert sorted(file.name for file in folder.iterdir()) == ["ArtifactCommit_Enter_00", "version"]
    assert (folder / "version").read_text() == "3"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ArtifactCommit_Enter_00").stat().st_mode) == 0o700
    assert [file.name for file in scripts.find(folder, "ArtifactCommit_Enter")] == ["ArtifactCommit_Enter_00"]


@pytest.fixture
def drivers() -> Iterator[Drivers]:
    process = Drivers()
    yield process
    process.close()


def _artifact_with(lab: Lab, *names: str) -> bytes:
    options = []
    for name in names:
        (lab.root / name).write_text(SCRIPT)
        options += ["-s", str(lab.root / name)]
    return lab.artifact(args=options).read_bytes()


def test_a_script_that_waits_for_a_person_goes_on_waiting_after_a_kill(lab: Lab, drivers: Drivers) -> None:
    own = install_own_scripts(lab)
    lab.on("Download", TAKE_STREAMS)
    lab.on(
        "Download_Enter_00",
        'case $(grep -c Download_Enter "$lab/calls") in 1|2) exit 21;; '
        '3) cp "$lab/data/journal.json" "$lab/seen"; kill -9 $(cat "$lab/driver.pid"); sleep 60;; 4) exit 21;; esac',
    )
    offer = lab.offer(_artifact_with(lab))

    killed = drivers.run(lab, offer, scripts=own, script_retry_interval_s=0.3)

    assert killed == 1
    assert short_calls(lab) == "dE dE dE dE dE ps D dL I C CU"
    waiting = json.loads(lab.text("seen"))["state"]["update"]["waiting"]
    assert waiting["script"] == "Download_Enter_00"
    assert waiting["waited_s"] >= 0.3
    assert lab.state.provides["artifact_name"] == "release-2"


def test_a_script_whose_name_is_not_text_waits_and_fails_like_others(lab: Lab) -> None:
    own = lab.root / "own"
    own.mkdir()
    script = own / os.fsdecode(b"Download_Enter_00_caf\xe9")
    script.write_text(f"#!/bin/sh\n[ -e {lab.root}/asked ] && exit 1\ntouch {lab.root}/asked\nexit 21\n")
    script.chmod(0o755)

    reports = lab.update(lab.offer(lab.artifact()), scripts=own, script_retry_interval_s=0.1)

    assert reports[-1].error
    assert reports[-1].error.text.startswith("The state script Download_Enter_00_caf? ended with status 1.")
    assert lab.state.last


def test_an_abort_ends_the_wait_for_a_person_before_the_download(lab: Lab) -> None:
    own = install_own_scripts(lab)
    lab.on("Download_Enter_00", AGAIN)
    with lab.agent(scripts=own) as agent:
        agent.updater.offer(lab.offer(_artifact_with(lab)))
        wait_until(lambda: (update := agent.journal.state.update) is not None and update.waiting is not None)
        agent.updater.abort("d-1")
        agent.wait_idle()

    assert short_calls(lab) == "dE"
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.ABORTED


# fmt: off
WAITS = [
    # What waits,               what is called after it, and the state that is left.
    ("ArtifactInstall_Enter_00", "iE iX bE B bL fE F fL CU"),
    ("ArtifactInstall_Leave_00", "iE I iL iX bE B bL fE F fL CU"),
    ("ArtifactCommit_Enter_00",  "iE I iL cE cX bE B bL fE F fL CU"),
]
# fmt: on


@pytest.mark.parametrize(("waits", "expected"), WAITS, ids=[row[0] for row in WAITS])
def test_an_abort_ends_the_wait_for_a_person_wherever_there_is_a_way_back(lab: Lab, waits: str, expected: str) -> None:
    lab.answer(SupportsRollback="Yes")
    lab.on(waits, AGAIN)
    artifact = lab.artifact(args=script_arguments(lab.root / "scripts"))
    with lab.agent(script_retry_interval_s=1000.0, script_retry_timeout_s=10_000.0) as agent:
        agent.updater.offer(lab.offer(artifact))
        wait_until(lambda: (update := agent.journal.state.update) is not None and update.waiting is not None)
        agent.updater.abort("d-1")
        agent.wait_idle()

    assert short_calls(lab).endswith(f"D {expected}")
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.ABORTED
    assert agent.journal.state.last is not None
    assert agent.journal.state.last.rolled_back


def test_an_abort_makes_no_mix_of_a_device_that_waits_in_front_of_what_cannot_be_undone(lab: Lab) -> None:
    lab.on("ArtifactInstall_Enter_00", AGAIN)
    artifact = lab.artifact(args=script_arguments(lab.root / "scripts"))
    with lab.agent(script_retry_interval_s=1000.0, script_retry_timeout_s=10_000.0) as agent:
        agent.updater.offer(lab.offer(artifact))
        wait_until(lambda: (update := agent.journal.state.update) is not None and update.waiting is not None)
        agent.updater.abort("d-1")
        agent.wait_idle()

    assert short_calls(lab).endswith("D iE iX CU")
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.ABORTED
    assert agent.journal.state.last is not None
    assert not agent.journal.state.last.inconsistent


def test_an_abort_makes_no_mix_of_a_device_that_waits_behind_what_cannot_be_undone(lab: Lab) -> None:
    lab.on("ArtifactInstall_Leave_00", 'if [ ! -e "$lab/go" ]; then exit 21; fi')
    artifact = lab.artifact(args=script_arguments(lab.root / "scripts"))
    with lab.agent(script_retry_interval_s=0.1) as agent:
        agent.updater.offer(lab.offer(artifact))
        wait_until(lambda: (update := agent.journal.state.update) is not None and update.waiting is not None)
        agent.updater.abort("d-1")
        (lab.root / "go").touch()
        agent.wait_idle()

    assert short_calls(lab).endswith("iL cE C cL CU")
    assert agent.reports[-1].status == "success"


def test_an_abort_that_is_too_late_ends_no_wait(lab: Lab) -> None:
    lab.on("ArtifactCommit_Leave_00", 'if [ ! -e "$lab/go" ]; then exit 21; fi')
    artifact = lab.artifact(args=script_arguments(lab.root / "scripts"))
    with lab.agent(script_retry_interval_s=0.1) as agent:
        agent.updater.offer(lab.offer(artifact))
        wait_until(lambda: (update := agent.journal.state.update) is not None and update.waiting is not None)
        agent.updater.abort("d-1")
        (lab.root / "go").touch()
        agent.wait_idle()

    assert agent.reports[-1].status == "success"


def test_a_script_that_waits_on_the_way_back_is_waited_for(lab: Lab) -> None:
    lab.answer(SupportsRollback="Yes")
    lab.on("ArtifactInstall_Leave_00", AGAIN)
    lab.on("ArtifactRollback_Enter_00", ONCE_AGAIN)
    artifact = lab.artifact(args=script_arguments(lab.root / "scripts"))
    with lab.agent(script_retry_interval_s=0.1, script_retry_timeout_s=1000.0) as agent:
        agent.updater.offer(lab.offer(artifact))
        wait_until(lambda: (update := agent.journal.state.update) is not None and update.waiting is not None)
        agent.updater.abort("d-1")
        agent.wait_idle()

    assert "bE bE B bL" in short_calls(lab)


def test_software_with_scripts_of_another_version_is_not_kept(lab: Lab) -> None:
    own = install_own_scripts(lab)
    lab.answer(SupportsRollback="Yes")
    lab.on("ArtifactInstall", f"echo 4 >{own}/version")
    reports = lab.update(lab.offer(_artifact_with(lab)), scripts=own)

    assert short_calls(lab) == "dE ps D dL I B F CU"
    assert statuses(reports)[-1] == "failure"
    assert reports[-1].error
    assert reports[-1].error.code == Code.SCRIPT_FAILED
    assert "version '4'" in reports[-1].error.text


def test_scripts_of_an_artifact_that_is_not_trusted_are_not_even_written(lab: Lab) -> None:
    whole = _artifact_with(lab, "ArtifactInstall_Enter_00")
    at = whole.index(b"manifest")
    other = b"1" if whole[at + 600 : at + 601] == b"0" else b"0"
    broken = whole[: at + 600] + other + whole[at + 601 :]
    reports = lab.update(lab.offer(broken))

    assert reports[-1].error
    assert reports[-1].error.code == Code.VERIFICATION_FAILED
    assert not (lab.data / "scripts").exists()
