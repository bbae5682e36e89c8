"""`wain test`: each check finds what is wrong, and says what to do; none is disturbed by what is missing."""

from __future__ import annotations

import errno
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from tests.agent.service.peers import Agent, Controller, new_device_id, offer_of
from tests.support.mosquitto import Mosquitto
from tests.support.wait import free_port, wait_until
from wainwright_agent.checks import CHECKS, check_all
from wainwright_agent.checks.broker import OTHERWISE, remedy_for
from wainwright_agent.checks.machine import ROOM_MIN, check_clock, check_disk, check_modules, judge_clock, size
from wainwright_agent.checks.trust import check_certificate, check_keys
from wainwright_agent.clock import BORN
from wainwright_agent.config import Broker, Config, Update
from wainwright_agent.journal import Journal
from wainwright_agent.rules import Now, begin
from wainwright_common.messages import CheckIn

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


# ---- clock -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "written", "is_synchronised", "text"),
    [
        (NOON, BORN, True, "2026-06-01 12:00:00 UTC, synchronised"),
        (NOON, NOON, False, "2026-06-01 12:00:00 UTC, not kept by a time service"),
        (NOON, BORN, None, "2026-06-01 12:00:00 UTC"),
        (NOON, NOON + timedelta(seconds=59), None, "2026-06-01 12:00:00 UTC"),
    ],
)
def test_a_clock_that_may_be_right_is_well(
    *, now: datetime, written: datetime, is_synchronised: bool | None, text: str
) -> None:
    finding = judge_clock(now, written, is_synchronised=is_synchronised)

    assert (finding.ok, finding.text) == (True, text)


@pytest.mark.parametrize(
    ("now", "written", "text"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), BORN, "before this program was made"),
        (NOON, NOON + DAY, "before 2026-06-02 12:00:00, when the journal was written"),
    ],
)
def test_a_clock_that_is_certainly_wrong_is_found(now: datetime, written: datetime, text: str) -> None:
    finding = judge_clock(now, written, is_synchronised=True)

    assert text in finding.text
    assert "date -s" in finding.remedy


def test_the_clock_is_compared_with_the_journal_on_disk(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    assert check_clock(config).ok
    (tmp_path / "journal.json").write_text("")
    os.utime(tmp_path / "journal.json", (0, (datetime.now(UTC) + DAY).timestamp()))

    assert not check_clock(config).ok


# ---- disk ------------------------------------------------------------------------------------------------------------


def test_a_disk_with_room_is_well_before_and_after_the_first_start(tmp_path: Path) -> None:
    assert f"free in {tmp_path}, 16.8 MB needed" in check_disk(Config(data_dir=tmp_path / "later" / "data")).text
    assert check_disk(Config(data_dir=tmp_path)).ok
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_does_not_fit_is_found(tmp_path: Path) -> None:
    offer = offer_of("http://127.0.0.1/a", b"x")
    huge = replace(offer, artifact=replace(offer.artifact, size=10**15))
    with Journal.open(tmp_path) as journal:
        journal.change(lambda state: begin(state, huge, Now(at=NOON, boot_id="b", seq=1)))

    finding = check_disk(Config(data_dir=tmp_path))

    assert f"{size(10**15 + ROOM_MIN)} needed" in finding.text
    assert "Free space" in finding.remedy


def test_a_data_folder_that_is_no_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    finding = check_disk(Config(data_dir=tmp_path / "data"))

    assert "cannot be written: Not a directory" in finding.text
    assert finding.remedy


@pytest.mark.parametrize(("number", "remedy"), [(errno.EROFS, "see dmesg"), (errno.ENOSPC, "Free space there.")])
def test_what_to_do_about_a_disk_that_takes_nothing_depends_on_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.open", fail)

    finding = check_disk(Config(data_dir=tmp_path))

    assert f"cannot be written: {os.strerror(number)}" in finding.text
    assert remedy in finding.remedy


# ---- certificate -----------------------------------------------------------------------------------------------------


def make_certificate(folder: Path, name: str = "press-07", *, begins: datetime = NOON - DAY) -> tuple[Path, Path]:
    """Write a certificate that is valid for ten days, and its key; return both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + 10 * DAY)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files[1].chmod(0o600)
    return files


def with_tls(**broker: Path | None) -> Config:
    return Config(broker=Broker(url="mqtts://broker.example", **broker))  # type: ignore[arg-type]  # paths only


def test_a_certificate_that_is_valid_tells_for_whom_and_until_when(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    config = with_tls(ca=certificate, certificate=certificate, key=key)

    finding = check_certificate(config, NOON)

    assert (finding.ok, finding.text) == (True, "valid for CN=press-07 until 2026-06-10 (9 days)")


def test_without_a_certificate_it_is_said_that_there_is_none() -> None:
    assert "none needed" in check_certificate(Config()).text
    assert check_certificate(with_tls()).text.startswith("none configured")


@pytest.mark.parametrize(
    ("now", "text", "remedy"),
    [
        (NOON + 30 * DAY, "press-07.crt expired on 2026-06-10", "Renew it, then: wain check-in"),
        (NOON - 30 * DAY, "press-07.crt is valid only from 2026-05-31 12:00 UTC on", "Set the device's clock."),
    ],
)
def test_a_certificate_that_is_not_valid_now_is_found(tmp_path: Path, now: datetime, text: str, remedy: str) -> None:
    certificate, key = make_certificate(tmp_path)

    finding = check_certificate(with_tls(certificate=certificate, key=key), now)

    assert finding.text.endswith(text)
    assert finding.remedy == remedy


def test_files_that_do_not_belong_together_or_are_none_are_found(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    _, other_key = make_certificate(tmp_path, "other")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    rows: list[tuple[dict[str, Path], str]] = [
        ({"certificate": certificate, "key": other_key}, "is not the key of"),
        ({"certificate": nothing, "key": key}, "holds no certificate"),
        ({"certificate": certificate, "key": nothing}, "holds no key"),
        ({"certificate": certificate, "key": tmp_path / "none"}, "cannot be read: No such file"),
        ({"ca": tmp_path / "none"}, "cannot be read: No such file"),
    ]
    for files, text in rows:
        finding = check_certificate(with_tls(**files), NOON)
        assert text in finding.text
        assert finding.remedy


def test_a_key_that_others_can_read_is_found(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    key.chmod(0o640)

    finding = check_certificate(with_tls(certificate=certificate, key=key), NOON)

    assert finding.remedy == f"chmod 600 {key}"


# ---- keys and modules ------------------------------------------------------------------------------------------------


def test_keys_of_releases_are_named_and_a_file_that_is_none_is_found(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    assert check_keys(Config()).text == "none configured: unsigned artifacts are taken"
    assert check_keys(Config(update=Update(verify_keys=(certificate,)))).text == "press-07.crt (ECDSA-P256)"

    finding = check_keys(Config(update=Update(verify_keys=(certificate, tmp_path / "none.pem"))))

    assert "none.pem: cannot be read" in finding.text
    assert finding.remedy


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        ("#!/bin/sh\n", 0o644, "is not executable"),
        ("#!/usr/bin/lua5.9 -x\n", 0o755, "needs /usr/bin/lua5.9, which is not here"),
        ("#!/usr/bin/env -S lua5.9 -x\n", 0o755, "needs lua5.9, which is not here"),
        ("#!\n", 0o755, "needs an interpreter"),
        ("#!/bin/sh\n", 0o755, None),
        ("#!/usr/bin/env sh\n", 0o755, None),
        ("\x7fELF", 0o755, None),
    ],
)
def test_a_module_that_could_not_be_run_is_found(tmp_path: Path, content: str, mode: int, text: str | None) -> None:
    module = tmp_path / "probe"
    module.write_text(content)
    module.chmod(mode)

    finding = check_modules(Config(update=Update(modules=(tmp_path / "none", tmp_path))))

    assert finding.ok is (text is None)
    assert (text or "probe") in finding.text


# ---- broker, and the command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("cannot connect to mqtt://b: [Errno 111] Connection refused", "Check broker.url, and whether"),
        ("cannot connect to mqtt://b: [Errno -2] Name or service not known", "name servers"),
        ("cannot connect to mqtt://b: [Errno 101] Network is unreachable", "network"),
        ("cannot connect: certificate verify failed: certificate has expired", "Renew the broker's certificate"),
        ("cannot connect: certificate verify failed: unable to get local issuer certificate", "Check broker.ca"),
        ("mqtt://b refuses the connection: not authorized", "broker.username"),
        ("mqtt://b refuses the subscription of x", "its own topics"),
        ("something that nobody has seen yet", OTHERWISE),
    ],
)
def test_a_failed_connection_has_its_remedy(reason: str, remedy: str) -> None:
    assert remedy in remedy_for(reason)


def test_a_device_that_is_well_passes_with_its_agent_running_and_stopped(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    running = agent.wain("test")
    agent.stop()
    stopped = agent.wain("test", "-o", "json")

    assert running.returncode == 0, running.stdout
    lines = running.stdout.splitlines()
    assert [line[:4] for line in lines] == ["  ✓ "] * len(CHECKS)
    assert f"connected as {agent.device_id} since" in lines[2]
    assert stopped.returncode == 0, stopped.stdout
    findings = {finding["name"]: finding for finding in json.loads(stopped.stdout)}
    assert f"could connect as {agent.device_id}; the agent is stopped" in findings["broker"]["text"]
    controller.wait_for_presence(online=False)


def test_without_a_broker_the_line_has_a_cross_a_remedy_and_the_exit_code_one(tmp_path: Path) -> None:
    with Agent(tmp_path, f"mqtt://127.0.0.1:{free_port()}", new_device_id()) as agent:
        stopped = agent.wain("test")
        agent.start()
        wait_until(lambda: "tries again in" in agent.logged(), what="the first attempt")
        running = agent.wain("test")

    for done in (stopped, running):
        assert done.returncode == 1
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        [number] = [index for index, line in enumerate(lines) if line.startswith("  ✗ broker")]
        assert "Connection refused" in lines[number]
        assert lines[number + 1].strip() == "Check broker.url, and whether a broker listens there."


def test_an_agent_that_runs_but_does_not_answer_is_not_pushed_off_the_broker(
    agent: Agent, controller: Controller
) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    assert agent.process is not None
    agent.process.send_signal(signal.SIGSTOP)
    try:
        done = agent.wain("test", "-o", "json")
    finally:
        agent.process.send_signal(signal.SIGCONT)

    [finding] = [one for one in json.loads(done.stdout) if one["name"] == "broker"]
    assert finding["text"] == "unknown: the agent runs, but does not answer"
    assert agent.status()["link"]["connected"] is True


def test_on_a_terminal_without_unicode_the_marks_are_letters(mosquitto: Mosquitto, tmp_path: Path) -> None:
    agent = Agent(tmp_path, mosquitto.url, new_device_id())

    done = agent.wain("test", env={"PYTHONIOENCODING": "ascii"})

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("  ok clock")


def test_a_check_that_meets_what_it_may_not_read_says_so_and_the_others_go_on(tmp_path: Path) -> None:
    config = Config(device_id="press-07", data_dir=tmp_path / ("x" * 256), broker=Broker(url="mqtt://127.0.0.1:1"))

    findings = list(check_all(config))

    assert [finding.name for finding in findings] == list(CHECKS)
    [disk] = [finding for finding in findings if finding.name == "disk"]
    assert disk.text.startswith("cannot be checked: [Errno 36] File name too long")
