"""The journal: what was written is there, whatever else happens."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pytest_mock import MockerFixture

from tests.agent.update.lab import Lab, statuses
from tests.support.wait import wait_until
from wainwright_agent import rules
from wainwright_agent.journal import FILE, PREVIOUS, SCHEMA, SEQ_BLOCK, Journal, JournalError, State
from wainwright_common.codes import Code
from wainwright_common.messages import Action, Artifact, Offer


def _named(name: str) -> State:
    return State(provides={"artifact_name": name})


def _running(state: State) -> State:
    artifact = Artifact(id="a", name="new", size=1, sha256="0" * 64, uri="http://h/", expires=datetime.now(UTC))
    offer = Offer(deployment_id="d", attempt=1, action=Action.INSTALL, artifact=artifact)
    return rules.begin(state, offer, rules.Now(at=datetime.now(UTC), boot_id="b", seq=1))


def test_a_new_device_runs_something_unknown_and_its_folder_is_private(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "data") as journal:
        assert journal.state == _named("unknown")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_change_is_there_after_a_restart(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(_running)
        before = journal.state
    with Journal.open(tmp_path) as journal:
        assert journal.state == before
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_second_agent_is_told_that_the_folder_is_in_use_and_may_still_look(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(lambda _: _named("one"))
        with pytest.raises(JournalError, match="another agent is using this data folder"):
            Journal.open(tmp_path)
        assert Journal.read(tmp_path) == _named("one")


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"sha256":"00","state":{"schema":1}}', None])
def test_a_damaged_journal_falls_back_to_the_generation_before(tmp_path: Path, damage: bytes | None) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(_running)
        first = journal.state
        journal.change(lambda state: replace(state, provides={"artifact_name": "two"}))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.replace(b'"two"', b'"owt"') if damage is None else damage)

    with Journal.open(tmp_path) as journal:
        assert journal.state.provides == first.provides
        assert journal.state.update is not None
        assert first.update is not None
        assert journal.state.update.reserved_seq >= first.update.reserved_seq + SEQ_BLOCK
        journal.change(lambda _: _named("three"))
    assert Journal.read(tmp_path) == _named("three")


UNREADABLE = "/proc/self/mem"  # reading its first byte is an EIO, as of a block that a worn medium has lost


def test_a_journal_that_the_medium_does_not_give_back_falls_back_to_the_generation_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Journal.open(tmp_path) as journal:
        for name in ("one", "two"):
            journal.change(lambda _, name=name: _named(name))  # type: ignore[misc]
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to(UNREADABLE)

    assert Journal.read(tmp_path) == _named("one")
    with Journal.open(tmp_path) as journal:
        assert journal.state == _named("one")
        assert "Input/output error" in caplog.text
        journal.change(lambda _: _named("three"))
    assert Journal.read(tmp_path) == _named("three")


def test_a_journal_that_may_not_be_read_is_no_damage(tmp_path: Path, mocker: MockerFixture) -> None:
    with Journal.open(tmp_path) as journal:
        for name in ("one", "two"):
            journal.change(lambda _, name=name: _named(name))  # type: ignore[misc]
    patch = mocker.patch("pathlib.Path.read_bytes", side_effect=PermissionError(errno.EACCES, "Permission denied"))

    with pytest.raises(JournalError, match="Permission denied"):
        Journal.open(tmp_path)

    mocker.stop(patch)
    assert Journal.read(tmp_path) == _named("two")


def test_a_damaged_journal_that_cannot_be_moved_does_not_take_the_place_of_the_whole_one(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    with Journal.open(tmp_path) as journal:
        for name in ("one", "two"):
            journal.change(lambda _, name=name: _named(name))  # type: ignore[misc]
    (tmp_path / FILE).write_bytes(b"{")
    mocker.patch("os.replace", side_effect=OSError(errno.EROFS, "Read-only file system"))

    with pytest.raises(JournalError, match=r"is damaged, and cannot be moved: Read-only file system. .* see dmesg"):
        Journal.open(tmp_path)

    assert Journal.read(tmp_path) == _named("one")


def test_an_agent_that_ends_before_its_first_write_leaves_the_lost_numbers_unused_for_the_next(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(_running)
        first = journal.state
        journal.change(lambda state: replace(state, provides={"artifact_name": "two"}))
    (tmp_path / FILE).write_bytes(b"{")
    assert first.update is not None

    for _ in range(3):
        with Journal.open(tmp_path) as journal:
            assert journal.state.provides == first.provides
            assert journal.state.update is not None
            assert journal.state.update.reserved_seq >= first.update.reserved_seq + SEQ_BLOCK


def test_with_both_generations_damaged_the_device_starts_anew_and_keeps_the_evidence(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(lambda _: _named("one"))
        journal.change(lambda _: _named("two"))
    for name in (FILE, PREVIOUS):
        (tmp_path / name).write_text("{")
    with Journal.open(tmp_path) as journal:
        assert journal.state == State()
    assert (tmp_path / "journal.json.corrupt").exists()


def _by_newer_agent(folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[State], State]) -> None:
    """Open the journal as an agent of the next schema does, and change it."""
    with monkeypatch.context() as newer:
        newer.setattr("wainwright_agent.journal.SCHEMA", SCHEMA + 1)
        with Journal.open(folder) as journal:
            assert journal.change(change).schema == SCHEMA + 1


def test_an_agent_whose_successor_was_left_goes_on_with_its_own_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(_running)
        before = journal.state
    _by_newer_agent(tmp_path, monkeypatch, lambda s: replace(s, provides={"artifact_name": "two"}))
    _by_newer_agent(tmp_path, monkeypatch, lambda s: replace(s, provides={"artifact_name": "three"}))

    assert Journal.read(tmp_path).provides == before.provides
    for _ in range(2):  # and again after a restart
        with Journal.open(tmp_path) as journal:
            after = journal.state
            assert (after.schema, after.provides) == (SCHEMA, before.provides)
            assert before.update is not None
            assert after.update is not None
            assert replace(after.update, reserved_seq=0) == replace(before.update, reserved_seq=0)
            assert after.update.reserved_seq > before.update.reserved_seq + SEQ_BLOCK  # the successor has used some


def test_a_journal_of_a_newer_agent_without_one_of_ours_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _by_newer_agent(tmp_path, monkeypatch, lambda s: replace(s, provides={"artifact_name": "newer"}))
    content = (tmp_path / FILE).read_bytes()
    for _ in range(2):  # the second time, not because the lock was kept
        with pytest.raises(JournalError, match=r"newer agent .*Install that agent again"):
            Journal.open(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_damaged_journal_of_an_older_agent_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(_running)
        journal.change(lambda s: replace(s, provides={"artifact_name": "two"}))
    (tmp_path / FILE).write_text("{")

    _by_newer_agent(tmp_path, monkeypatch, lambda s: replace(s, provides={"artifact_name": "three"}))

    assert Journal.read(tmp_path).provides == {"artifact_name": "unknown"}


@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "at the next start"])
def test_what_was_kept_for_an_older_agent_goes_with_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_at_once: bool
) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(_running)
    _by_newer_agent(tmp_path, monkeypatch, lambda s: replace(s, provides={"artifact_name": "two"}))
    kept = tmp_path / f"{FILE}.schema-{SCHEMA}"
    content = kept.read_bytes()

    _by_newer_agent(tmp_path, monkeypatch, lambda s: replace(s, update=None))
    if not is_at_once:
        kept.write_bytes(content)
        _by_newer_agent(tmp_path, monkeypatch, lambda s: s)

    assert not kept.exists()
    with pytest.raises(JournalError, match="newer agent"):  # another update's past is no way back
        Journal.open(tmp_path)


@pytest.mark.parametrize(
    ("call", "number", "remedy"),
    [
        *[(call, errno.ENOSPC, "Free space there.") for call in ("write", "fsync", "link")],
        ("open", errno.EROFS, "The medium is failing, or mounted read-only: see dmesg."),
        ("fsync", errno.EIO, "The medium is failing, or mounted read-only: see dmesg."),
        ("open", errno.EMFILE, "Check the folder, its owner and its medium."),
    ],
)
def test_a_disk_that_takes_nothing_changes_nothing_and_what_to_do_is_told(
    tmp_path: Path, mocker: MockerFixture, call: str, number: int, remedy: str
) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(lambda _: _named("one"))
        journal.change(lambda _: _named("two"))
        patch = mocker.patch(f"os.{call}", side_effect=OSError(number, os.strerror(number)))
        with pytest.raises(JournalError, match=f"{os.strerror(number)}. {remedy}$"):
            journal.change(lambda _: _named("three"))
        assert journal.state == _named("two")
        mocker.stop(patch)
        assert Journal.read(tmp_path) == _named("two")
        assert not list(tmp_path.glob("*.new"))
        journal.change(lambda _: _named("four"))
    assert Journal.read(tmp_path) == _named("four")


@pytest.mark.parametrize("before", [[], ["one"], ["one", "two"]], ids=["first", "second", "third"])
def test_a_folder_that_cannot_be_synced_leaves_the_old_state_for_a_restart_to_find(
    tmp_path: Path, mocker: MockerFixture, before: list[str]
) -> None:
    with Journal.open(tmp_path) as journal:
        for name in before:
            journal.change(lambda _, name=name: _named(name))  # type: ignore[misc]
        old = journal.state
        patch = mocker.patch(
            "wainwright_agent.journal.sync_folder", side_effect=OSError(errno.EIO, "Input/output error")
        )
        with pytest.raises(JournalError, match="Input/output error"):
            journal.change(lambda _: _named("refused"))
        mocker.stop(patch)
        assert journal.state == old
    assert Journal.read(tmp_path) == old
    with Journal.open(tmp_path) as journal:
        journal.change(lambda _: _named("next"))
    assert Journal.read(tmp_path) == _named("next")


def test_the_same_state_is_not_written_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.change(lambda _: _named("one"))
        before = (tmp_path / FILE).stat().st_ino
        journal.change(lambda _: _named("one"))
        assert (tmp_path / FILE).stat().st_ino == before


@dataclass
class Disk:
    """Refuses writes of the journal while `full`, and counts them."""

    full: bool = False
    refused: int = 0


@pytest.fixture
def disk(mocker: MockerFixture) -> Disk:
    disk, real = Disk(), os.link

    def link(*args: object, **kwargs: object) -> None:
        if disk.full:
            disk.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args, **kwargs)  # type: ignore[arg-type]  # passed through as they came

    mocker.patch("os.link", link)
    return disk


def test_an_offer_that_cannot_be_stored_is_refused_and_told(lab: Lab, disk: Disk) -> None:
    with Journal.open(lab.data) as journal:
        journal.change(lambda _: _named("one"))
    disk.full = True
    with lab.agent() as agent:
        assert not agent.updater.offer(lab.offer(lab.artifact()))
        assert agent.reports[-1].error
        assert agent.reports[-1].error.code == "journal-failed"
        disk.full = False
    assert lab.calls == []


def test_a_download_whose_end_cannot_be_stored_frees_its_space_and_ends_without_installing(
    lab: Lab, disk: Disk
) -> None:
    lab.on("Download", f"touch {lab.root}/there; while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until((lab.root / "there").exists)
        disk.full = True
        (lab.root / "go").touch()
        wait_until(lambda: disk.refused)
        wait_until(lambda: not (lab.tree / "files").exists())
        disk.full = False
        agent.wait_idle()

    assert "ArtifactInstall" not in lab.calls
    assert lab.calls[-1] == "Cleanup"
    assert statuses(agent.reports)[-1] == "failure"
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == "journal-failed"


def test_a_medium_that_becomes_read_only_in_a_download_does_not_end_the_updater(
    lab: Lab, disk: Disk, mocker: MockerFixture
) -> None:
    lab.on("Download", f"touch {lab.root}/there; while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until((lab.root / "there").exists)
        disk.full = True
        patch = mocker.patch("shutil.rmtree", side_effect=OSError(errno.EROFS, "Read-only file system"))
        (lab.root / "go").touch()
        wait_until(lambda: disk.refused > 1)
        mocker.stop(patch)
        disk.full = False
        agent.wait_idle()

    assert statuses(agent.reports)[-1] == "failure"


def test_a_medium_from_which_nothing_can_be_removed_makes_no_failure_of_what_went_well(
    lab: Lab, mocker: MockerFixture
) -> None:
    real = os.unlink

    def unlink(path: str | Path, *arguments: object, **options: Any) -> None:  # noqa: ANN401  as the function has them
        if "processes" in Path(path).parts:
            raise OSError(errno.EROFS, "Read-only file system")
        real(path, *arguments, **options)

    mocker.patch("os.unlink", unlink)
    lab.answer(SupportsRollback="Yes")
    lab.on("ArtifactInstall", "exit 1")

    lab.update(lab.offer(lab.artifact()))

    assert lab.calls[-3:] == ["ArtifactRollback", "ArtifactFailure", "Cleanup"]
    last = lab.state.last
    assert last is not None
    assert last.error is not None
    assert (last.error.code, last.rolled_back, last.inconsistent) == (Code.INSTALL_FAILED, True, False)


def test_an_installation_that_cannot_be_stored_is_rolled_back_as_soon_as_it_can(lab: Lab, disk: Disk) -> None:
    lab.answer(SupportsRollback="Yes")
    lab.on("ArtifactInstall", f"touch {lab.root}/there; while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until((lab.root / "there").exists)
        disk.full = True
        (lab.root / "go").touch()
        wait_until(lambda: disk.refused)
        assert json.loads((lab.data / FILE).read_bytes())["state"]["update"]["state"] == "install"
        disk.full = False
        agent.wait_idle()

    assert lab.calls[2:] == [
        *("ArtifactInstall", "NeedsArtifactReboot", "SupportsRollback"),
        *("ArtifactRollback", "ArtifactFailure", "Cleanup"),
    ]
    assert statuses(agent.reports)[-1] == "failure"


def test_a_commit_that_cannot_be_stored_waits_until_it_can(lab: Lab, disk: Disk) -> None:
    lab.on("ArtifactCommit", f"touch {lab.root}/there; while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until((lab.root / "there").exists)
        disk.full = True
        (lab.root / "go").touch()
        wait_until(lambda: disk.refused > 1)
        assert agent.journal.state.provides == {"artifact_name": "unknown"}
        disk.full = False
        agent.wait_idle()

    assert lab.state.provides["artifact_name"] == "release-2"
    assert "ArtifactRollback" not in lab.calls
