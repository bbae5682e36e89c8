"""Links that expire, servers that stall or send in circles, and downloads that are cut and killed again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace
from pytest_mock import MockerFixture

from tests.agent.update.lab import TAKE_STREAMS, Agent, Lab
from tests.agent.update.scripted import install_own_scripts
from tests.agent.update.web import Manners
from tests.support.wait import wait_until
from wainwright_agent import checkpoint, download, http_stream, space
from wainwright_agent.actions import Limits
from wainwright_agent.download import Job
from wainwright_agent.failure import LinkUseless, UpdateError
from wainwright_agent.fetch import fetch
from wainwright_agent.http_stream import HttpStream
from wainwright_agent.throttle import Throttle, lowest
from wainwright_agent.update import LINKS_MAX
from wainwright_common.codes import Code, is_retryable
from wainwright_common.messages import Offer, Policy, Report, encode

ROOT = Path(__file__).parents[3]
BIG = random.Random(7).randbytes(3 * 1024 * 1024)
AT_ONCE = Limits(
    reboot_command_s=60.0, reboot_wait_s=60.0, link_s=60.0, journal_retry_s=0.05, grace_s=0.3, link_pause_s=0.01
)


def _read(offer: Offer) -> bytes:
    stream = HttpStream(offer.artifact, lambda _: None, (0.0,) * 3)
    data = b""
    try:
        while piece := stream.read(100_000):
            data += piece
    finally:
        stream.close()
    return data


# ---- links that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refused_link_is_renewed_within_the_attempt_and_the_module_gets_its_payload(lab: Lab, status: int) -> None:
    lab.web.manners = Manners(answers=[status])
    offer = lab.offer(lab.artifact(files={"big": BIG}))
    with lab.agent(limits=AT_ONCE) as agent:
        agent.updater.offer(offer)
        wait_until(lambda: agent.updater.needs_link, what="the wish for a fresh link")
        assert lab.state.update is not None
        assert agent.updater.offer(replace(offer, artifact=replace(offer.artifact, uri=offer.artifact.uri + "?fresh")))
        agent.wait_idle()
    assert agent.reports[-1].status == "success"
    assert {report.attempt for report in agent.reports} == {1}


def test_a_link_that_expires_in_the_middle_costs_no_byte_where_the_module_takes_files(lab: Lab) -> None:
    lab.web.manners = Manners(cut_at=[2_000_000], answers=[])
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    lab.web.manners.on_sent = lambda sent: lab.web.manners.answers.append(403) if sent == 2_000_000 else None
    lab.web.sent = 0
    lab.on("ArtifactInstall", "cp files/big $lab/installed")
    _renew_until_idle(lab, offer)
    assert (lab.root / "installed").read_bytes() == BIG
    wait_until(lambda: lab.web.sent >= offer.artifact.size, what="the server to count the last piece")
    assert lab.web.sent == offer.artifact.size
    assert lab.calls.count("Download") == 1


def test_a_person_is_not_asked_again_because_a_link_was_refused(lab: Lab) -> None:
    own = install_own_scripts(lab)
    lab.web.manners = Manners(answers=[403, 403])
    offer = lab.offer(lab.artifact())
    with lab.agent(limits=AT_ONCE, scripts=own) as agent:
        agent.updater.offer(offer)

        def is_over() -> bool:
            if agent.updater.needs_link:
                agent.updater.offer(offer)
            return agent.is_idle()

        wait_until(is_over, what="the end of the update")
    assert agent.reports[-1].status == "success"
    assert [call for call in lab.calls if call.startswith("Download_")] == ["Download_Enter_00", "Download_Leave_00"]


def test_a_module_that_streams_starts_its_stream_again_with_the_fresh_link(lab: Lab) -> None:
    lab.web.manners = Manners(cut_at=[2_000_000], answers=[])
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    lab.web.manners.on_sent = lambda sent: lab.web.manners.answers.append(410) if sent == 2_000_000 else None
    lab.web.sent = 0
    lab.on("Download", TAKE_STREAMS)
    _renew_until_idle(lab, offer)
    assert (lab.root / "taken" / "big").read_bytes() == BIG
    assert [call for call in lab.calls if call in {"Download", "Cleanup"}] == ["Download", "Cleanup"] * 2


def test_links_that_are_refused_again_and_again_end_in_a_retryable_error(lab: Lab) -> None:
    lab.web.manners = Manners(answers=[403] * 99)
    agent = _renew_until_idle(lab, lab.offer(lab.artifact()))
    error = agent.reports[-1].error
    assert error
    assert error.text == (
        f"The server answered 403 Forbidden to the artifact's link. So it was with {LINKS_MAX} fresh links."
    )
    assert is_retryable(error.code)
    assert len(lab.web.requests) == 1 + LINKS_MAX


@pytest.mark.parametrize("status", [403, 503])
def test_a_server_that_says_much_leaves_a_report_and_a_journal_that_can_be_read(
    lab: Lab, mocker: MockerFixture, status: int
) -> None:
    _soon_without_tries(mocker)
    mocker.patch.dict(BaseHTTPRequestHandler.responses, {status: ("no " * 5000, "")})
    lab.web.manners = Manners(answers=[status] * 99)
    agent = _renew_until_idle(lab, lab.offer(lab.artifact()))
    error = agent.reports[-1].error
    assert error
    assert error.text.endswith(f" So it was with {LINKS_MAX} fresh links.")
    assert msgspec.json.decode(encode(agent.reports[-1]), type=Report).error == error
    last = lab.state.last
    assert last is not None
    assert last.error == error


def _soon_without_tries(mocker: MockerFixture) -> None:
    """Have the child give a server up after two tries, without pauses."""
    short = "from wainwright_agent import fetch, http_stream as h; h.HttpStream.__init__.__defaults__ = ((0.0,),)"
    program = (sys.executable, "-c", f"{short}; raise SystemExit(fetch.main())")
    mocker.patch.object(download, "PROGRAM", program)


def test_an_outage_longer_than_the_tries_costs_no_byte_and_no_attempt(lab: Lab, mocker: MockerFixture) -> None:
    _soon_without_tries(mocker)
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    lab.web.manners = Manners(cut_at=[1_000_000, 900_000])
    outage = [503] * (LINKS_MAX + 1)  # two of them use up more links than one download gets without progress
    lab.web.manners.on_sent = lambda sent: (
        lab.web.manners.answers.extend(outage) if sent in {1_000_000, 1_900_000} else None
    )
    lab.web.sent = 0
    lab.on("ArtifactInstall", "cp files/big $lab/installed")
    agent = _renew_until_idle(lab, offer)
    assert agent.reports[-1].status == "success"
    assert (lab.root / "installed").read_bytes() == BIG
    wait_until(lambda: lab.web.sent >= offer.artifact.size, what="the server to count the last piece")
    assert lab.web.sent == offer.artifact.size
    assert lab.calls.count("Download") == 1


def test_an_abort_ends_the_wait_for_a_fresh_link(lab: Lab) -> None:
    lab.web.manners = Manners(answers=[403])
    with lab.agent(limits=AT_ONCE) as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: agent.updater.needs_link, what="the wish for a fresh link")
        agent.updater.abort("d-1")
        agent.wait_idle()
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.ABORTED


def _renew_until_idle(lab: Lab, offer: Offer) -> Agent:
    with lab.agent(limits=AT_ONCE) as agent:
        agent.updater.offer(offer)

        def is_over() -> bool:
            if agent.updater.needs_link:
                agent.updater.offer(offer)
            return agent.is_idle()

        wait_until(is_over, what="the end of the update")
    return agent


# ---- servers that misbehave -----------------------------------------------------------------------------------------


def test_redirects_are_followed_and_keep_the_range(lab: Lab) -> None:
    offer = lab.offer(BIG)
    lab.web.manners = Manners(redirects=["/x", offer.artifact.uri], cut_at=[1_000_000])
    assert _read(offer) == BIG
    assert [request.get("Range") for request in lab.web.requests] == [None, None, None, "bytes=1000000-"]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["/again?signature=abc"] * 99, "more than 5 times"),
        (["file:///etc/passwd"], "file:///etc/passwd is neither http:// nor https://"),
        (["ftp://h/x"], "neither http:// nor https://"),
        (["http://[x/"], "cannot be used"),
    ],
)
def test_a_redirect_that_is_not_to_be_followed_is_a_retryable_error(lab: Lab, targets: list[str], words: str) -> None:
    lab.web.manners = Manners(redirects=targets)
    with pytest.raises(UpdateError, match=words) as caught:
        _read(lab.offer(BIG))
    assert is_retryable(caught.value.code)
    assert "signature" not in str(caught.value)


def test_a_redirect_from_tls_to_none_is_refused_before_a_byte_is_asked_for_there() -> None:
    from requests import Response

    from wainwright_agent.redirects import follow

    asked: list[str] = []

    def get(uri: str) -> Response:
        asked.append(uri)
        response = Response()
        response.status_code, response.headers["Location"], response.raw = 302, "http://h/plain?signature=s", BytesIO()
        return response

    with pytest.raises(UpdateError, match=r"away from https://, to http://h/plain\?\(hidden\)"):
        follow("https://h/a", get)
    assert asked == ["https://h/a"]


def test_the_body_of_a_redirect_is_not_waited_for(lab: Lab) -> None:
    offer = lab.offer(BIG)
    lab.web.manners = Manners(redirects=[offer.artifact.uri], redirect_length=10**9)
    assert _read(offer) == BIG


def test_a_server_that_drips_is_taken_for_a_broken_one(lab: Lab, mocker: MockerFixture) -> None:
    mocker.patch.object(http_stream, "STALL_S", 0.1)
    lab.web.manners = Manners(drip_s=0.02)
    with pytest.raises(LinkUseless, match="stalled: less than 65536 bytes"):
        _read(lab.offer(BIG))


def test_a_slow_server_without_ranges_has_time_for_what_is_known_already(lab: Lab, mocker: MockerFixture) -> None:
    clock = count(0.0, http_stream.STALL_S * 0.4)  # three pieces without progress take too long
    mocker.patch.object(http_stream, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    mocker.patch.object(http_stream, "GOOD_PIECE", 1)
    lab.web.manners = Manners(ranges=False, cut_at=[2_900_000])
    assert _read(lab.offer(BIG)) == BIG


def test_tries_are_counted_anew_after_progress(lab: Lab) -> None:
    lab.web.manners = Manners(cut_at=[100_000] * 20)
    assert _read(lab.offer(BIG)) == BIG


def test_a_refused_link_is_no_failure_of_the_stream(lab: Lab) -> None:
    lab.web.manners = Manners(answers=[403])
    with pytest.raises(LinkUseless, match="answered 403 Forbidden"):
        _read(lab.offer(BIG))


# ---- the speed ------------------------------------------------------------------------------------------------------


def test_a_download_keeps_to_its_limit(lab: Lab) -> None:
    offer = replace(lab.offer(lab.artifact(files={"big": BIG[:300_000]})), policy=Policy(bytes_per_second=200_000))
    reports = lab.update(offer, bytes_per_second=10**9)
    assert reports[-1].status == "success"
    took = [report.at for report in reports if report.status == "downloading"]
    assert (took[-1] - took[0]).total_seconds() > offer.artifact.size / 200_000 - 0.5


def test_no_second_carries_more_than_twice_the_rate() -> None:
    throttle = Throttle(1000, now=0.0)
    now, taken, arrivals = 5.0, 0, list[tuple[float, int]]()  # the server was silent for 5 s
    while now < 20:
        taken += 500
        arrivals.append((now, 500))
        now += throttle.pay(500, now)
    for start, _ in arrivals:
        assert sum(n for at, n in arrivals if start <= at < start + 1) <= 2000
    assert 14_000 <= taken <= 16_500


def test_of_several_limits_the_strictest_holds() -> None:
    assert lowest(0, None) is None
    assert lowest(5, None, 3, 0) == 3


# ---- kills ----------------------------------------------------------------------------------------------------------


def _drive(lab: Lab, offer: Offer, kill_at: list[int]) -> int:
    """Run agents to the end of the update, each killed with all that it runs once so many bytes were sent; count."""
    (lab.root / "config.json").write_bytes(msgspec.json.encode(lab.config(), enc_hook=str))
    (lab.root / "offer.json").write_bytes(msgspec.json.encode(offer))
    due, mutex, marker = sorted(kill_at), threading.Lock(), lab.root / "driver.pid"

    def kill_when_due(sent: int) -> None:
        with mutex:
            if not due or sent < due[0] or not marker.exists():
                return
            due.pop(0)
            groups = [int(record.name) for record in (lab.data / "processes").glob("[0-9]*")]
            os.kill(int(marker.read_text()), signal.SIGKILL)
            marker.unlink()
            for group in groups:
                os.killpg(group, signal.SIGKILL)

    lab.web.manners.on_sent = kill_when_due
    runs = 0
    while True:
        runs += 1
        argv = [sys.executable, "-m", "tests.support.download_driver", str(lab.root)]
        if subprocess.run(argv, check=False, cwd=ROOT, timeout=300).returncode == 0:
            assert not due
            return runs - 1


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_download_that_is_cut_and_killed_fetches_nothing_twice(lab: Lab, compression: str) -> None:
    files = {"first": BIG, "small": b"small", "last": BIG[::-1]}
    offer = lab.offer(lab.artifact(files=files, args=("--compression", compression)))
    lab.on("ArtifactInstall", "cp -r files $lab/installed")
    size = offer.artifact.size
    lab.web.manners = Manners(cut_at=[size // 5, 99**9, size // 4], etags=['"v1"'] * 99, bytes_per_second=4_000_000)
    lab.web.sent = 0
    assert _drive(lab, offer, [size // 3, size // 2, size * 4 // 5]) == 3
    assert {file.name: file.read_bytes() for file in (lab.root / "installed").iterdir()} == files
    assert lab.web.sent <= 1.1 * size
    assert lab.calls.count("Download") == 1
    assert all(request.get("If-Range") == '"v1"' for request in lab.web.requests[1:])
    assert not checkpoint.place(lab.tree).exists()


def _interrupt(lab: Lab, offer: Offer, at: int) -> None:
    """Stop an agent in the middle of a download that has brought so many bytes.

    The server may come to its last request only later: of the list of requests, look at the end.
    """
    # What the agent asks for before it is stopped brings nothing more.
    lab.web.manners = Manners(etags=['"v1"'] * 99, cut_at=[at, *[0] * 98])
    with lab.agent() as agent:
        agent.updater.offer(offer)
        wait_until(lambda: "the connection broke" in _log(lab), what="the cut")
    lab.web.manners = Manners(etags=['"v1"'] * 9)
    lab.web.requests.clear()


def _log(lab: Lab) -> str:
    return "".join(file.read_text() for file in lab.data.glob("logs/*.jsonl"))


def test_after_a_reboot_only_what_was_synced_counts(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    lab.on("ArtifactInstall", "cp files/big $lab/installed")
    _interrupt(lab, offer, 2_500_000)
    lab.boot_id.write_text("boot-2\n")
    mark = msgspec.json.decode((checkpoint.place(lab.tree) / "mark").read_bytes(), type=checkpoint.Mark)
    with (lab.tree / "files" / "big").open("r+b") as file:  # what a power cut leaves of unsynced blocks
        file.seek(mark.synced)
        file.write(b"\0" * 100_000)
    lab.update(offer)
    assert (lab.root / "installed").read_bytes() == BIG
    assert lab.web.requests[-1]["Range"] == f"bytes={mark.synced}-"


def test_a_checkpoint_that_the_medium_has_damaged_costs_a_start_from_the_first_byte(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    lab.on("ArtifactInstall", "cp files/big $lab/installed")
    _interrupt(lab, offer, 2_500_000)
    with (lab.tree / "files" / "big").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    assert lab.update(offer)[-1].status == "success"
    assert (lab.root / "installed").read_bytes() == BIG
    assert [request.get("Range") for request in lab.web.requests][-1] is None


def test_an_object_that_was_replaced_meanwhile_is_noticed(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    _interrupt(lab, offer, 2_000_000)
    lab.web.manners = Manners(etags=['"v2"'] * 9)
    reports = lab.update(offer)
    assert reports[-1].error
    assert reports[-1].error.text == "The file was changed on the server in the middle of the download."
    assert is_retryable(reports[-1].error.code)


def test_an_offer_of_another_file_does_not_go_on_from_the_old_one(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    _interrupt(lab, offer, 2_000_000)
    other = lab.offer(lab.artifact(files={"big": BIG[::-1]}, args=("--compression", "none")))
    lab.on("ArtifactInstall", "cp files/big $lab/installed")
    assert lab.update(other)[-1].status == "success"
    assert (lab.root / "installed").read_bytes() == BIG[::-1]
    assert lab.web.requests[-1].get("Range") is None


def _job(lab: Lab, offer: Offer) -> Job:
    return Job(
        artifact=offer.artifact,
        data_dir=str(lab.data),
        records=str(lab.data / "processes"),
        device_type="lab",
        provides={"artifact_name": "unknown"},
        modules=(str(lab.modules),),
        verify_keys=(),
        module_timeout_s=60.0,
        grace_s=0.3,
        progress_interval_s=1.0,
        boot_id="boot-1",
        parent=os.getpid(),
    )


def test_without_room_for_a_payload_the_figures_are_told_before_it_is_fetched(lab: Lab, mocker: MockerFixture) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}, args=("--compression", "none")))
    there = os.statvfs(lab.data)
    free = there.f_bavail * there.f_frsize
    needed = 2**60
    with pytest.raises(
        UpdateError, match=rf"bytes free; x needs {needed}, and {space.RESERVE} must stay free"
    ) as caught:
        space.require(lab.data, needed, "x")
    assert caught.value.code == Code.NO_SPACE
    assert not is_retryable(caught.value.code)
    space.require(lab.data, free // 2, "x")
    lab.web.sent = 0
    mocker.patch.object(space, "free", return_value=space.RESERVE + offer.artifact.size // 2)
    job = _job(lab, offer)
    lab.web.manners = Manners(bytes_per_second=2_000_000)
    with pytest.raises(UpdateError, match="the payload, with big to be written next, needs 31") as caught:
        fetch(job)
    assert caught.value.code == Code.NO_SPACE
    assert lab.web.sent < offer.artifact.size // 2
    lab.on("Download", TAKE_STREAMS)
    assert fetch(job).payload_type == "probe"


def test_a_compressed_payload_that_fits_once_but_not_twice_is_fetched_without_a_checkpoint(
    lab: Lab, mocker: MockerFixture
) -> None:
    offer = lab.offer(lab.artifact(files={"big": BIG}))
    mocker.patch.object(space, "free", return_value=space.RESERVE + offer.artifact.size * 3 // 2)
    drop = mocker.spy(checkpoint.Checkpoint, "drop")
    fetch(_job(lab, offer))
    assert drop.call_count == 2
    assert (lab.tree / "files" / "big").read_bytes() == BIG


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_200_mb_over_a_link_cut_50_times_and_an_agent_killed_10_times(lab: Lab, compression: str) -> None:
    rng = random.Random(26)
    payload = rng.randbytes(200_000_000)
    offer = lab.offer(lab.artifact(files={"big": payload}, args=("--compression", compression)))
    lab.on("ArtifactInstall", "cp files/big $lab/installed")
    size = offer.artifact.size
    lab.web.manners = Manners(
        cut_at=[rng.randrange(size // 100, size // 65) for _ in range(60)],  # ten of them come to a kill instead
        etags=['"v1"'] * 999,
        bytes_per_second=30_000_000,
    )
    lab.web.sent = 0
    kills = _drive(lab, offer, [size * (i + 1) // 12 for i in range(10)])
    print(f"{compression}: {kills} kills, {len(lab.web.requests)} requests, {lab.web.sent / size:.3f} x the size")
    assert kills == 10
    assert (lab.root / "installed").read_bytes() == payload
    assert lab.web.sent <= 1.1 * size
