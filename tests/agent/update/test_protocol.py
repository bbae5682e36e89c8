"""What a module sees of protocol v3: calls, files, FIFOs; and what becomes of modules that do not keep it."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.agent.update.lab import TAKE_STREAMS, Lab, runs
from tests.support.wait import wait_until
from wainwright_agent.journal import Journal, State
from wainwright_agent.worktree import WorkTree
from wainwright_common.codes import Code

HANG_S = 6.0  # the limit of a call, where one hangs: so long may one that does not be kept from running
HANGS = f"did not finish Download in {HANG_S:g} s"
FILES = {"a.bin": b"first" * 1000, "b.txt": b"", "c.bin": bytes(range(256)) * 1200}
LIST = """find . | sort >$lab/tree-$state
for f in version current_* header/*; do printf '%s=' $f; cat $f; printf ';'; done >$lab/texts-$state"""


def _provide(lab: Lab, **provides: str) -> None:
    with Journal.open(lab.data) as journal:
        journal.change(lambda _: State(provides=provides))


def test_a_module_finds_the_tree_of_the_protocol_byte_for_byte(lab: Lab) -> None:
    (lab.root / "meta.json").write_text('{"a": [1, "b"]}')
    _provide(lab, artifact_name="release-1", artifact_group="g1")
    lab.on("Download", LIST + "\npwd >$lab/pwd; echo $# $2 >$lab/arguments; readlink /proc/$$/fd/0 >$lab/stdin")
    lab.on("ArtifactCommit", LIST)

    lab.update(lab.offer(lab.artifact(files=FILES, args=("-g", "g2", "-m", str(lab.root / "meta.json")))))

    assert lab.text("tree-Download").split() == [
        *(".", "./current_artifact_group", "./current_artifact_name", "./current_device_type", "./header"),
        *("./header/artifact_group", "./header/artifact_name", "./header/header-info", "./header/meta-data"),
        *("./header/payload_type", "./header/type-info", "./stream-next", "./tmp", "./version"),
    ]
    texts = dict(part.split("=", 1) for part in lab.text("texts-Download").split(";")[:-1])
    assert json.loads(texts.pop("header/header-info"))["artifact_provides"]["artifact_name"] == "release-2"
    assert json.loads(texts.pop("header/type-info"))["type"] == "probe"
    assert json.loads(texts.pop("header/meta-data")) == {"a": [1, "b"]}
    assert texts == {
        "version": "3\n",
        "current_artifact_name": "release-1\n",
        "current_artifact_group": "g1\n",
        "current_device_type": "lab\n",
        "header/artifact_name": "release-2",
        "header/artifact_group": "g2",
        "header/payload_type": "probe",
    }
    assert lab.text("pwd").strip() == str(lab.tree)
    assert lab.text("arguments").split() == ["2", str(lab.tree)]
    assert lab.text("stdin").strip() == "/dev/null"
    assert {"./files/a.bin", "./files/b.txt", "./files/c.bin"} <= set(lab.text("tree-ArtifactCommit").split())
    assert "stream" not in lab.text("tree-ArtifactCommit")


def test_what_is_not_set_is_an_empty_file(lab: Lab) -> None:
    lab.on("Download", "wc -c <current_artifact_group >$lab/size; wc -c <header/meta-data >>$lab/size")
    lab.update(lab.offer(lab.artifact()))
    assert lab.text("size").split() == ["0", "0"]


def test_tmp_lives_until_cleanup_and_the_tree_is_gone_after_it(lab: Lab) -> None:
    lab.on("Download", "echo kept >tmp/mine")
    lab.on("Cleanup", "cp tmp/mine $lab/seen")
    lab.update(lab.offer(lab.artifact()))
    assert lab.text("seen") == "kept\n"
    assert not lab.tree.exists()


@pytest.mark.parametrize("sizes", ["No", "Yes"])
def test_a_module_gets_every_file_through_its_stream_in_order(lab: Lab, sizes: str) -> None:
    state = "DownloadWithFileSizes" if sizes == "Yes" else "Download"
    lab.answer(ProvidePayloadFileSizes=sizes)
    lab.on(state, "stat -c '%F %a' stream-next >$lab/fifo\n" + TAKE_STREAMS + "ls >$lab/left")

    lab.update(lab.offer(lab.artifact(files=FILES)))

    assert lab.calls[1] == state
    assert lab.text("fifo") == "fifo 600\n"
    assert {name: (lab.root / "taken" / name).read_bytes() for name in FILES} == FILES
    expected = [f"streams/{name}" + (f" {len(data)}" if sizes == "Yes" else "") for name, data in FILES.items()]
    assert lab.text("lines").splitlines() == expected
    assert "files" not in lab.text("left").split()
    assert lab.state.provides["artifact_name"] == "release-2"


def test_only_the_announced_stream_exists(lab: Lab) -> None:
    lab.on("Download", TAKE_STREAMS.replace('cat "${line', 'ls streams >>$lab/streams; cat "${line'))
    lab.update(lab.offer(lab.artifact(files=FILES)))
    assert lab.text("streams").split() == list(FILES)


def test_a_payload_without_files_is_an_empty_list(lab: Lab) -> None:
    lab.on("Download", "cat stream-next >$lab/lines")
    lab.update(lab.offer(lab.artifact(files={})))
    assert lab.text("lines") == ""
    assert lab.state.provides["artifact_name"] == "release-2"


def test_a_module_that_reads_no_more_than_the_line_of_the_list_gets_its_streams_too(lab: Lab) -> None:
    lab.on("Download", 'read -r line <stream-next; cat "$line" >$lab/got; cat stream-next >$lab/rest')
    lab.update(lab.offer(lab.artifact()))
    assert lab.text("got") == "new software\n"
    assert lab.text("rest") == ""
    assert lab.state.provides["artifact_name"] == "release-2"


def test_files_wait_for_a_module_that_does_not_stream(lab: Lab) -> None:
    lab.on("ArtifactInstall", "cp -r files $lab/installed; stat -c %a files/a.bin >$lab/mode")
    lab.update(lab.offer(lab.artifact(files=FILES)))
    assert {path.name: path.read_bytes() for path in (lab.root / "installed").iterdir()} == FILES
    assert lab.text("mode") == "600\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 1", "ended with status 1 in Download"),
        ("echo why >&2; echo and how >&2; exit 3", "status 3 in Download. Its last words: why | and how"),
        ("kill -9 $$", "was ended by signal 9 in Download"),
        ("cat stream-next; exit 0", "ended before it had read all streams"),
        ("cat stream-next; exit 1", "ended with status 1"),
        ("f=$(cat stream-next); head -c 100000 $f >/dev/null; exit 0", "ended before it had read all streams"),
        ("f=$(cat stream-next); head -c 100000 $f >/dev/null; exit 7", "ended with status 7"),
        ("f=$(cat stream-next); cat $f >/dev/null; exit 0", "ended before it had read all streams"),
        (
            "f=$(cat stream-next); cat $f >/dev/null; f=$(cat stream-next); cat $f >/dev/null; exit 0",
            "ended before it had read all streams",
        ),
        ("f=$(cat stream-next); exec 4<$f; sleep 60", HANGS),
        ("f=$(cat stream-next); sleep 60", HANGS),
        ("exec sleep 60", HANGS),
        ("trap '' TERM; while :; do sleep 0.1; done", HANGS),
        (TAKE_STREAMS + "exit 5", "ended with status 5"),
        (TAKE_STREAMS + "cat stream-next", HANGS),
    ],
)
def test_a_module_that_does_not_take_its_payload_fails_the_update(lab: Lab, script: str, words: str) -> None:
    lab.on("Download", script)
    timeout = HANG_S if words == HANGS else 60.0
    reports = lab.update(
        lab.offer(lab.artifact(files={"a.bin": bytes(300_000), "b.bin": bytes(300_000)})), module_timeout_s=timeout
    )
    assert reports[-1].error
    assert words in reports[-1].error.text
    assert reports[-1].error.code == (Code.TIMEOUT if words == HANGS else Code.INSTALL_FAILED)
    assert lab.calls == ["ProvidePayloadFileSizes", "Download", "Cleanup"]
    assert not lab.tree.exists()


@pytest.mark.parametrize(
    "state", ["ArtifactInstall", "ArtifactVerifyReboot", "ArtifactCommit", "Cleanup", "SupportsRollback"]
)
def test_a_call_that_hangs_is_ended_with_all_its_children(lab: Lab, state: str) -> None:
    lab.answer(NeedsArtifactReboot="Yes", SupportsRollback="Yes")
    lab.on(state, f"trap '' TERM; sleep 60 & echo $! >{lab.root}/child; wait")
    reports = lab.update(lab.offer(lab.artifact()), module_timeout_s=HANG_S)
    assert not runs(int(lab.text("child")))
    assert reports[-1].status == ("success" if state in {"Cleanup", "SupportsRollback"} else "failure")


def test_a_service_that_a_module_starts_does_not_hold_the_update_up(lab: Lab) -> None:
    lab.on("ArtifactInstall", f"sleep 60 & echo $! >{lab.root}/service")
    lab.update(lab.offer(lab.artifact()))
    service = int(lab.text("service"))
    assert lab.state.provides["artifact_name"] == "release-2"
    os.kill(service, 9)  # it still runs, and nobody else ends it


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("", True),
        ("No", True),
        ("No\n", True),
        ("Yes\n", True),
        ("yes", False),
        ("Yes\nYes\n", False),
        ("Yes \n", False),
        ("\n\n", False),
        ("Automatic", False),
        ("Y" * 1_000_000, False),
    ],
)
def test_an_answer_is_one_of_few_words_or_an_error(lab: Lab, answer: str, *, accepted: bool) -> None:
    lab.answer(ProvidePayloadFileSizes=answer)
    reports = lab.update(lab.offer(lab.artifact()))
    assert reports[-1].status == ("success" if accepted else "failure")
    if not accepted:
        assert reports[-1].error
        assert "to ProvidePayloadFileSizes; allowed: No, Yes." in reports[-1].error.text


def test_a_right_answer_with_a_failing_status_is_an_error(lab: Lab) -> None:
    lab.answer(ProvidePayloadFileSizes="Yes")
    lab.on("ProvidePayloadFileSizes", "exit 1")
    reports = lab.update(lab.offer(lab.artifact()))
    assert reports[-1].error
    assert "ended with status 1 in ProvidePayloadFileSizes" in reports[-1].error.text


@pytest.mark.parametrize("how", ["missing", "not executable", "a folder", "no interpreter"])
def test_a_module_that_cannot_be_called_fails_the_update(lab: Lab, how: str) -> None:
    module = lab.modules / "probe"
    if how == "no interpreter":
        module.write_text("#!/does/not/exist\n")
    else:
        module.unlink()
    if how == "not executable":
        module.write_text("#!/bin/sh\n")
    if how == "a folder":
        module.mkdir()
    reports = lab.update(lab.offer(lab.artifact()))
    assert reports[-1].error
    assert reports[-1].error.code == (Code.INSTALL_FAILED if how == "no interpreter" else Code.NO_MODULE)
    assert not lab.tree.exists()


def test_the_first_folder_that_has_the_module_wins(lab: Lab) -> None:
    other = lab.root / "other"
    other.mkdir()
    (other / "probe").write_text(f"#!/bin/sh\necho other-$1 >>{lab.root}/calls\n")
    (other / "probe").chmod(0o755)
    lab.update(lab.offer(lab.artifact()), modules=(lab.root / "none", other, lab.modules))
    assert "other-Download" in lab.calls


def test_stopping_the_agent_ends_the_running_call_and_the_next_agent_rolls_back(lab: Lab) -> None:
    lab.answer(SupportsRollback="Yes")
    lab.on("ArtifactInstall", f"echo $$ >{lab.root}/pid; exec sleep 60")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: (lab.root / "pid").exists() and lab.text("pid"))
        began = time.monotonic()
    assert time.monotonic() - began < 30  # the call would take twice as long
    assert not runs(int(lab.text("pid")))
    with lab.agent() as agent:
        agent.wait_idle()
    assert "ArtifactRollback" in lab.calls
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.INTERRUPTED


def test_stopping_the_agent_lets_a_reboot_go_on(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Yes")
    lab.on(
        "ArtifactReboot",
        f"echo $$ >{lab.root}/pid; while [ ! -e {lab.root}/go ]; do sleep 0.02; done; touch $lab/went-on",
    )
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: (lab.root / "pid").exists() and lab.text("pid"))
    assert runs(int(lab.text("pid")))
    (lab.root / "go").touch()
    wait_until((lab.root / "went-on").exists)
    with lab.agent() as agent:
        agent.wait_idle()
    assert lab.state.provides["artifact_name"] == "release-2"


def test_payload_files_are_written_with_names_that_stay_in_the_tree(lab: Lab) -> None:
    tree = WorkTree(lab.data)
    for name in ("../x", "a/b", "..", "", "/etc/passwd"):
        with pytest.raises(ValueError, match="not the name of a payload file"):
            tree.open_file(name)
    assert list(lab.data.iterdir()) == []
