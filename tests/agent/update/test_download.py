"""Downloads over links that break, servers that misbehave, artifacts of every kind; all with the real tool and HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from tests.agent.update.lab import TAKE_STREAMS, Lab, run, statuses
from tests.agent.update.web import Manners
from tests.common.artifact import build
from tests.common.artifact.damage import Row, damaged
from tests.support.wait import wait_until
from wainwright_agent import http_stream
from wainwright_agent.download import Job
from wainwright_agent.failure import LinkUseless, UpdateError
from wainwright_agent.fetch import fetch
from wainwright_agent.http_stream import HttpStream
from wainwright_agent.journal import Journal, State
from wainwright_common.codes import Code
from wainwright_common.messages import Offer

BIG = bytes(range(256)) * 8192  # 2 MiB
NO_PAUSES = (0.0,) * 4


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    run("openssl", "genrsa", "-traditional", "-out", str(folder / "rsa.pem"), "2048")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "ec.pem"))
    run("openssl", "rsa", "-in", str(folder / "rsa.pem"), "-pubout", "-out", str(folder / "rsa.pub"))
    run("openssl", "ec", "-in", str(folder / "ec.pem"), "-pubout", "-out", str(folder / "ec.pub"))
    return folder


@pytest.mark.parametrize(
    "args",
    [
        ("--compression", "none"),
        ("--compression", "gzip"),
        ("--compression", "lzma"),
        ("-p", "k:v", "--clears-provides", "other.*"),
        ("--no-default-software-version", "--no-default-clears-provides"),
        ("-g", "group-1", "-N", "release-1"),
        ("-t", "other", "-t", "lab"),
    ],
    ids=" ".join,
)
def test_artifacts_of_the_real_tool_install(lab: Lab, args: tuple[str, ...]) -> None:
    with Journal.open(lab.data) as journal:
        journal.change(lambda _: State(provides={"artifact_name": "release-1", "other.x": "1"}))
    files = {"one": BIG, "two": b"2"}
    lab.on("ArtifactInstall", "cp -r files $lab/installed")
    reports = lab.update(lab.offer(lab.artifact(files=files, args=args)))
    assert reports[-1].status == "success"
    assert {path.name: path.read_bytes() for path in (lab.root / "installed").iterdir()} == files
    provides = lab.state.provides
    assert provides["artifact_name"] == "release-2"
    assert provides.get("k") == ("v" if "-p" in args else None)
    assert provides.get("artifact_group") == ("group-1" if "-g" in args else None)
    # Cleared by the pattern, and by an artifact that has neither provides nor patterns.
    assert ("other.x" in provides) is not ("other.*" in args or "--no-default-clears-provides" in args)


def test_state_scripts_in_an_artifact_do_not_hinder_it(lab: Lab) -> None:
    script = lab.root / "ArtifactInstall_Enter_00"
    script.write_text("#!/bin/sh\n")
    assert lab.update(lab.offer(lab.artifact(args=("-s", str(script)))))[-1].status == "success"


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_a_signed_artifact_installs_with_its_key_among_others(lab: Lab, keys: Path, key: str) -> None:
    offer = lab.offer(lab.artifact(args=("-k", str(keys / f"{key}.pem"))))
    reports = lab.update(offer, verify_keys=(keys / "rsa.pub", keys / "ec.pub"))
    assert reports[-1].status == "success"


@pytest.mark.parametrize("trouble", ["unsigned", "other key", "no such key file"])
def test_an_artifact_that_no_trusted_key_signed_is_refused_before_any_module_runs(
    lab: Lab, keys: Path, trouble: str
) -> None:
    offer = lab.offer(lab.artifact(args=() if trouble == "unsigned" else ("-k", str(keys / "rsa.pem"))))
    key = keys / ("missing.pub" if trouble == "no such key file" else "ec.pub")
    reports = lab.update(offer, verify_keys=(key,))
    assert reports[-1].error
    assert reports[-1].error.code == Code.VERIFICATION_FAILED
    assert lab.calls == []
    assert not lab.tree.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-t", "other"), "needs device_type 'other', but the device has 'lab'"),
        (("-N", "release-0"), "needs artifact_name 'release-0', but the device has 'unknown'"),
        (("-d", "x.version:1"), "needs x.version '1', but the device has none"),
    ],
)
def test_an_artifact_for_another_device_is_refused_before_any_module_runs(
    lab: Lab, args: tuple[str, ...], words: str
) -> None:
    reports = lab.update(lab.offer(lab.artifact(args=args)))
    assert statuses(reports) == ["downloading", "failure"]
    assert reports[-1].error
    assert reports[-1].error.code == Code.INCOMPATIBLE
    assert words in reports[-1].error.text
    assert lab.calls == []


def test_an_artifact_that_would_give_the_device_too_many_provides_is_refused(lab: Lab) -> None:
    """Every check-in carries the provides: with too many, the device would never be heard of again."""

    def bringing(name: str, prefix: str) -> Path:
        provides = [word for i in range(200) for word in ("-p", f"{prefix}{i}:v")]
        args = ("--no-default-clears-provides", "--clears-provides", "nothing", *provides)
        return lab.artifact(name, args=args)

    assert statuses(lab.update(lab.offer(bringing("release-2", "a"))))[-1] == "success"
    offer = lab.offer(bringing("release-3", "b"), name="release-3", deployment_id="d-2")
    reports = lab.update(offer)

    assert statuses(reports) == ["downloading", "failure"]
    assert reports[-1].error
    assert reports[-1].error.code == Code.INCOMPATIBLE
    assert "402 provides, more than the limit of 256" in reports[-1].error.text
    assert lab.state.provides["artifact_name"] == "release-2"


def test_an_artifact_without_payload_sets_the_name_and_calls_nobody(lab: Lab) -> None:
    out = lab.root / "bootstrap.mender"
    run("mender-artifact", "write", "bootstrap-artifact", "-n", "release-2", "-t", "lab", "-o", str(out))
    reports = lab.update(lab.offer(out))
    assert statuses(reports) == ["downloading", "success"]
    assert lab.calls == []
    assert lab.state.provides["artifact_name"] == "release-2"


def test_a_file_that_is_not_the_offered_one_is_refused_after_its_module_is_ended(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(), sha256="0" * 64)
    lab.on("Download", TAKE_STREAMS + "echo taken >$lab/finished")
    reports = lab.update(offer)
    assert reports[-1].error
    assert reports[-1].error.code == Code.VERIFICATION_FAILED
    assert "not 000000" in reports[-1].error.text
    assert not (lab.root / "finished").exists()
    assert lab.calls[-1] == "Cleanup"


def test_an_artifact_of_another_release_than_offered_is_refused(lab: Lab) -> None:
    reports = lab.update(lab.offer(lab.artifact(), name="release-3"))
    assert reports[-1].error
    assert "of the release 'release-2'; 'release-3' was offered" in reports[-1].error.text


def _job(lab: Lab, offer: Offer, *keys: Path) -> Job:
    return Job(
        artifact=offer.artifact,
        data_dir=str(lab.data),
        records=str(lab.data / "processes"),
        device_type="press",
        provides={"artifact_name": "unknown"},
        modules=(str(lab.modules),),
        verify_keys=tuple(map(str, keys)),
        module_timeout_s=60.0,
        grace_s=0.3,
        progress_interval_s=1.0,
        boot_id="boot-1",
        parent=os.getpid(),
    )


def test_every_damaged_artifact_is_refused_and_leaves_no_payload(lab: Lab) -> None:
    key = lab.root / "key.pub"
    key.write_bytes(build.public_pem())
    lab.install_module("single-file")
    for number, (name, blob, rule, keys_needed) in enumerate(damaged()):
        # Half of the rows to a module that streams, half to one that takes files.
        lab.on("Download", TAKE_STREAMS if number % 2 else "true")
        with pytest.raises(UpdateError) as caught:
            fetch(_job(lab, lab.offer(blob), *([key] if keys_needed else [])))
        assert (name, caught.value.code) == (name, Code.VERIFICATION_FAILED)
        assert rule in str(caught.value)
        assert not list(lab.tree.glob("files/*"))
        assert not list(lab.tree.glob("streams/*"))
        assert not list((lab.data / "processes").glob("*"))
        shutil.rmtree(lab.tree, ignore_errors=True)


@pytest.mark.parametrize("row", list(damaged())[::30], ids=lambda row: row[0])
def test_a_damaged_artifact_fails_the_update_and_nothing_is_left(lab: Lab, row: Row) -> None:
    _, blob, rule, keys_needed = row
    key = lab.root / "key.pub"
    key.write_bytes(build.public_pem())
    lab.device_type = "press"
    lab.install_module("single-file")
    reports = lab.update(lab.offer(blob), verify_keys=(key,) if keys_needed else ())
    assert statuses(reports) == ["downloading", "failure"]
    assert reports[-1].error
    assert reports[-1].error.code == Code.VERIFICATION_FAILED
    assert rule in reports[-1].error.text
    assert not lab.tree.exists()
    assert lab.state.provides == {"artifact_name": "unknown"}


def test_a_connection_that_breaks_is_taken_up_where_it_broke(lab: Lab) -> None:
    lab.web.manners = Manners(cut_at=[700_000], etags=['"v1"'] * 9)
    lab.on("Download", TAKE_STREAMS)
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    assert lab.update(offer)[-1].status == "success"
    assert (lab.root / "taken" / "big").read_bytes() == BIG
    assert [request.get("Range") for request in lab.web.requests] == [None, "bytes=700000-"]
    assert lab.web.requests[1]["If-Range"] == '"v1"'


class _Quick(HttpStream):
    def __init__(self, offer: Offer, pauses: tuple[float, ...] = NO_PAUSES) -> None:
        super().__init__(offer.artifact, lambda _: None, pauses)

    def whole(self) -> bytes:
        data = b""
        try:
            while piece := self.read(100_000):
                data += piece
            self.check_digest()
        finally:
            self.close()
        return data


def test_a_server_without_ranges_is_read_again_from_the_start(lab: Lab) -> None:
    lab.web.manners = Manners(cut_at=[500_000], ranges=False)
    assert _Quick(lab.offer(BIG)).whole() == BIG


def test_a_server_without_lengths_is_enough(lab: Lab) -> None:
    lab.web.manners = Manners(length=False)
    assert _Quick(lab.offer(BIG)).whole() == BIG


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_that_cannot_answer_now_is_asked_again(lab: Lab, status: int) -> None:
    lab.web.manners = Manners(answers=[status] * 3)
    assert _Quick(lab.offer(BIG)).whole() == BIG


@pytest.mark.parametrize(
    ("manners", "words"),
    [
        (Manners(answers=[503] * 9), "could not be fetched: the server answered 503"),
        (Manners(cut_at=[10] * 9), "could not be fetched: the connection"),
        (Manners(answers=[416]), "answered 416"),
        (Manners(answers=[204]), "answered 204"),
        (Manners(cut_at=[1000], etags=['"a"', '"b"']), "changed on the server"),
        (Manners(cut_at=[1000], wrong_range=True), "answered with the range 'bytes 1001-"),
        (Manners(wrong_length=77), "has 77 bytes for the artifact's link; 2097152 were offered"),
    ],
    ids=str,
)
def test_a_download_that_cannot_be_had_says_why(lab: Lab, manners: Manners, words: str) -> None:
    lab.web.manners = manners
    with pytest.raises((UpdateError, LinkUseless), match=words) as caught:
        _Quick(lab.offer(BIG)).whole()
    if isinstance(caught.value, UpdateError):
        assert caught.value.code == Code.DOWNLOAD_FAILED


def test_a_file_longer_or_shorter_than_offered_is_refused(lab: Lab) -> None:
    lab.web.manners = Manners(length=False)
    with pytest.raises(UpdateError, match="longer than the 100 bytes offered") as caught:
        _Quick(lab.offer(BIG, size=100)).whole()
    assert caught.value.code == Code.VERIFICATION_FAILED
    lab.web.manners = Manners(length=False, ranges=False)
    with pytest.raises(LinkUseless, match="ended 1 bytes early"):
        _Quick(lab.offer(BIG, size=len(BIG) + 1)).whole()


def test_a_silent_server_is_given_up(lab: Lab, mocker: MockerFixture) -> None:
    mocker.patch.object(http_stream, "READ_TIMEOUT_S", 5.0)  # for the beginning of the answer, too
    lab.web.manners = Manners(gate=threading.Event())
    with pytest.raises(LinkUseless, match="the connection broke: no answer in time"):
        _Quick(lab.offer(BIG), pauses=()).whole()
    assert lab.web.manners.gate
    lab.web.manners.gate.set()


def test_a_server_that_is_not_there_is_the_links_fault(lab: Lab) -> None:
    with pytest.raises(LinkUseless, match="the server cannot be reached: connection refused"):
        _Quick(lab.offer(BIG, uri="http://127.0.0.1:1/x")).whole()


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "http://", "nonsense"])
def test_a_link_that_leads_nowhere_says_so(lab: Lab, uri: str) -> None:
    with pytest.raises(UpdateError) as caught:
        _Quick(lab.offer(BIG, uri=uri)).whole()
    assert caught.value.code == Code.DOWNLOAD_FAILED


def test_progress_rises_to_the_whole(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}))
    shown = [report.progress for report in lab.update(offer) if report.progress]
    assert [progress.done for progress in shown] == sorted(progress.done for progress in shown)
    assert shown[-1].done == shown[-1].total == offer.artifact.size


def test_an_abort_ends_a_download_that_stands_still(lab: Lab) -> None:
    lab.web.manners = Manners(gate=threading.Event())
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact(files={"big": BIG})))
        wait_until(lambda: lab.web.requests)
        agent.updater.gone("d-1")
        agent.wait_idle()
    assert agent.reports[-1].error
    assert agent.reports[-1].error.text == "The controller no longer offers this update."


@pytest.fixture
def small_disk(lab: Lab) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(lab.data)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow mounts")
    yield
    subprocess.run(["umount", lab.data], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_payload_that_does_not_fit_is_removed_and_reported(lab: Lab) -> None:
    reports = lab.update(lab.offer(lab.artifact(files={"big": BIG})))
    assert reports[-1].error
    assert reports[-1].error.code == Code.NO_SPACE
    assert lab.calls[-1] == "Cleanup"
    assert lab.state.last is not None


def test_the_memory_of_a_download_does_not_grow_with_the_payload(lab: Lab) -> None:
    peaks = []
    for size in (1_000_000, 96_000_000):
        swallow = TAKE_STREAMS.replace('>"$lab', '>/dev/null; : "$lab')
        lab.on("Download", swallow + "grep VmHWM /proc/$PPID/status >$lab/peak")
        with (lab.root / "zeros").open("wb") as file:
            file.truncate(size)
        out = lab.root / "zeros.mender"
        options = ["-T", "probe", "-t", "lab", "-n", "release-2", "--compression", "none"]
        run("mender-artifact", "write", "module-image", *options, "-f", str(lab.root / "zeros"), "-o", str(out))
        lab.update(lab.offer(out, deployment_id=f"d-{size}"))
        peaks.append(int(lab.text("peak").split()[1]))
    assert peaks[1] - peaks[0] < 4000, peaks  # KiB


def test_the_idle_agent_does_not_load_what_only_a_download_needs() -> None:
    code = (
        "import sys, wainwright_agent.update\n"
        "heavy = {'requests', 'urllib3', 'cryptography', 'http.client', 'ssl', 'lzma', 'asyncio', 'tarfile',\n"
        "         'wainwright_common.artifact', 'wainwright_agent.fetch', 'wainwright_agent.streams', 'ctypes'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code).strip() == "[]"
