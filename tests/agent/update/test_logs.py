"""The log of each update: what is in it, how much of it, and that the controller gets all of it once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from msgspec import Struct
from msgspec.json import encode as json_encode
from pytest_mock import MockerFixture

from tests.agent.update.lab import Lab
from tests.support.wait import wait_until
from wainwright_agent import deployment_log, log_sender
from wainwright_agent.deployment_log import BYTES_MAX, FILES_MAX, LINES_MAX, Attempt, logs
from wainwright_agent.journal import State
from wainwright_agent.log_sender import ACK_S, BYTES_MAX_OF_PIECE, PACE_S, LogSender, next_piece
from wainwright_agent.masking import mask
from wainwright_common.messages import Line, LogLines, encode


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]


def _texts(lab: Lab, number: int = -1) -> list[str]:
    return [line["text"] for line in _lines(logs(lab.data)[number])]


def test_a_log_has_the_steps_and_all_that_the_module_says_also_of_a_success(lab: Lab) -> None:
    lab.on("Download", "echo from the download >&2")
    lab.on("ArtifactInstall", "echo on output; echo on errors >&2")
    lab.update(lab.offer(lab.artifact()))
    text = "\n".join(_texts(lab))
    for part in ("Updating to release-2", "from the download", "on output", "on errors", "cleanup: success"):
        assert part in text
    assert text.index("Updating to") < text.index("from the download") < text.index("on errors")
    assert json.loads(logs(lab.data)[0].read_text().splitlines()[0]) == {"deployment_id": "d-1", "attempt": 1}


def test_a_log_has_the_reason_of_a_failure_as_an_error(lab: Lab) -> None:
    lab.on("ArtifactInstall", "echo the disk is upside down >&2; exit 1")
    lab.update(lab.offer(lab.artifact()))
    errors = [line["text"] for line in _lines(logs(lab.data)[-1]) if line["level"] == "error"]
    assert len(errors) == 1
    assert "the disk is upside down" in errors[0]


def test_a_log_goes_on_after_a_restart_and_a_torn_line_is_cut_off(lab: Lab) -> None:
    lab.on("Download", "echo once >&2; touch $lab/asked; while [ ! -e $lab/go ]; do sleep 0.02; done")
    offer = lab.offer(lab.artifact())
    with lab.agent() as agent:
        agent.updater.offer(offer)
        wait_until((lab.root / "asked").exists)
    before = _lines(logs(lab.data)[0])
    with logs(lab.data)[0].open("a") as file:
        file.write('{"at":"2026-')
    (lab.root / "go").touch()
    lab.update(offer)
    assert len(logs(lab.data)) == 1
    after = _lines(logs(lab.data)[0])
    assert after[: len(before)] == before
    assert "cleanup: success." in [line["text"] for line in after]


def test_a_chattering_module_does_not_push_out_what_decides(lab: Lab) -> None:
    both = "yes chatter | head -n 5000; yes chatter | head -n 5000 >&2"
    lab.on("Download", both)
    lab.on("ArtifactInstall", f"{both}; exit 3")
    lab.update(lab.offer(lab.artifact()))
    file = logs(lab.data)[0]
    assert file.stat().st_size <= BYTES_MAX
    assert len(_lines(file)) <= LINES_MAX
    texts = _texts(lab)
    assert sum("chatter" in text for text in texts) < 1600
    assert [text for text in texts if "lines were left out here" in text]
    assert [text for text in texts if "ended with status 3" in text]


def test_of_what_one_call_says_the_first_lines_are_logged_and_its_last_words_told(lab: Lab) -> None:
    lab.on("ArtifactInstall", "seq 5000; echo at last >&2; exit 3")
    error = lab.update(lab.offer(lab.artifact()))[-1].error
    texts = [text.partition(": ")[2] for text in _texts(lab) if "ArtifactInstall: " in text]
    # Sorted, for the two outputs are read as they come.
    assert sorted(texts) == sorted([*map(str, range(1, 501)), "at last", "... 4500 lines left out"])
    assert error
    assert "Its last words: at last" in error.text


def test_what_is_no_text_is_marked_and_does_no_harm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not to pytest's own handlers: a lone surrogate cannot be sent from the process of a test to the one that reports.
    monkeypatch.setattr(logging.getLogger("wainwright_agent"), "propagate", False)
    wait = "while [ ! -e $lab/go ]; do sleep 0.02; done"  # until the test has written to the log
    lab.on("ArtifactInstall", wait + r"; printf 'a\000b\377c\033[31m\td\n' >&2")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        logging.getLogger("wainwright_agent.update").info("a name of a file: %s", os.fsdecode(b"caf\xe9"))
        (lab.root / "go").touch()
        agent.wait_idle()
    assert agent.reports[-1].status == "success"
    texts = "\n".join(_texts(lab))
    assert "a\ufffdb\ufffdc\ufffd[31m\td" in texts
    assert "a name of a file: caf?" in texts


def test_the_logs_of_the_last_five_attempts_are_kept(lab: Lab) -> None:
    artifact = lab.artifact()
    lab.on("Download", "exit 1")
    for attempt in range(1, FILES_MAX + 3):
        lab.update(lab.offer(artifact, attempt=attempt, deployment_id="../d x"))
    kept = [json.loads(file.read_text().splitlines()[0]) for file in logs(lab.data)]
    assert kept == [{"deployment_id": "../d x", "attempt": attempt} for attempt in range(3, FILES_MAX + 3)]
    assert {file.parent for file in logs(lab.data)} == {lab.data / "logs"}


def test_an_update_that_begins_while_the_one_before_ends_has_its_whole_log(lab: Lab, mocker: MockerFixture) -> None:
    first = lab.offer(lab.artifact())
    second = lab.offer(lab.artifact("release-3"), name="release-3", deployment_id="d-2")
    with lab.agent() as agent:
        change = agent.journal.change

        def offer_in_between(edit: Callable[[State], State]) -> State:
            before, after = agent.journal.state, change(edit)
            if before.update is not None and before.update.offer == first and after.update is None:
                service = Thread(target=agent.updater.offer, args=(second,))
                service.start()
                service.join()
            return after

        mocker.patch.object(agent.journal, "change", offer_in_between)
        agent.updater.offer(first)
        wait_until(lambda: agent.is_idle() and agent.reports[-1].deployment_id == "d-2")
    assert ["cleanup: success." in _texts(lab, number) for number in (0, 1)] == [True, True]


def test_without_room_for_a_log_the_update_succeeds_all_the_same(lab: Lab, mocker: MockerFixture) -> None:
    mocker.patch.object(deployment_log, "RESERVE", 2**60)
    assert lab.update(lab.offer(lab.artifact()))[-1].status == "success"
    assert logs(lab.data)[0].stat().st_size == 0
    assert next_piece(lab.data) is None


def test_no_secret_of_a_link_is_in_a_log_or_a_report(lab: Lab) -> None:
    offer = lab.offer(lab.artifact(), uri="http://user:pass-word@127.0.0.1:1/a?expires=1&signature=5ec2e7")
    with lab.agent() as agent:
        agent.updater.offer(offer)
        wait_until(
            lambda: "the server cannot be reached: connection refused; trying again" in logs(lab.data)[0].read_text()
        )
        agent.updater.gone("d-1")
        agent.wait_idle()
    everything = logs(lab.data)[0].read_text() + "".join(encode(report).decode() for report in agent.reports)
    assert "5ec2e7" not in everything
    assert "pass-word" not in everything


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("url: /download/a?expires=1&signature=s (Caused by x)", "url: /download/a?(hidden) (Caused by x)"),
        ("to https://h/p?X-Amz-Signature=s.", "to https://h/p?(hidden)"),
        ("amqp://u:p@h/x", "amqp://(hidden)@h/x"),
        ("is it running? yes", "is it running? yes"),
    ],
)
def test_queries_and_passwords_are_masked_and_plain_questions_are_not(text: str, masked: str) -> None:
    assert mask(text) == masked


@dataclass
class _Broker:
    """Takes pieces, and acknowledges them if it is told to."""

    acknowledges: bool = True
    pieces: list[LogLines] = field(default_factory=list)

    def send(self, lines: LogLines) -> _Broker:
        self.pieces.append(lines)
        return self

    def is_published(self) -> bool:
        return self.acknowledges


def _write_log(data: Path, lines: int, width: int = 10, number: int = 1) -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    rows: list[Struct] = [Attempt(f"d-{number}", 1)]
    rows += [Line(at=at, level="info", text=(str(i) * width)[:width]) for i in range(lines)]
    (data / "logs").mkdir(exist_ok=True)
    (data / f"logs/{number:04d}-d-{number}-1.jsonl").write_bytes(b"".join(json_encode(row) + b"\n" for row in rows))


def _run(sender: LogSender, now: float, seconds: float) -> None:
    """Call the sender for some seconds as the service does."""
    end = now + seconds
    while sender.due_at <= end:
        now = max(now, sender.due_at)
        sender.step(now, more_to_come=False)


def test_all_lines_of_all_logs_are_sent_once_in_order_and_in_pieces(tmp_path: Path) -> None:
    _write_log(tmp_path, 250)
    _write_log(tmp_path, 300, width=1000, number=2)
    broker = _Broker()
    sender = LogSender(tmp_path, broker.send)
    _run(sender, 0.0, 60.0)
    numbers = {1: [], 2: []}  # type: dict[int, list[int]]
    for piece in broker.pieces:
        assert len(piece.lines) <= 100
        assert len(encode(piece)) <= BYTES_MAX_OF_PIECE
        numbers[int(piece.deployment_id[-1])] += range(piece.first, piece.first + len(piece.lines))
    assert numbers == {1: list(range(250)), 2: list(range(300))}
    assert sender.due_at == float("inf")
    assert LogSender(tmp_path, broker.send).due_at == 0.0
    assert next_piece(tmp_path) is None


def test_pieces_keep_the_pace(tmp_path: Path) -> None:
    _write_log(tmp_path, 1000)
    broker = _Broker()
    _run(LogSender(tmp_path, broker.send), 0.0, 4.5 * PACE_S)
    assert len(broker.pieces) == 5


def test_a_piece_that_the_broker_has_not_acknowledged_is_sent_again(tmp_path: Path) -> None:
    _write_log(tmp_path, 150)
    broker = _Broker(acknowledges=False)
    sender = LogSender(tmp_path, broker.send)
    _run(sender, 0.0, ACK_S + 2 * PACE_S)
    assert [piece.first for piece in broker.pieces] == [0, 0]
    sender.link_down()
    sender.notice(100.0)
    broker.acknowledges = True
    _run(LogSender(tmp_path, broker.send), 100.0, 60.0)
    assert [piece.first for piece in broker.pieces] == [0, 0, 0, 100]


def test_sending_goes_on_after_a_restart_where_it_stopped(tmp_path: Path) -> None:
    _write_log(tmp_path, 350)
    broker = _Broker()
    _run(LogSender(tmp_path, broker.send), 0.0, 2.5 * PACE_S)
    _run(LogSender(tmp_path, broker.send), 0.0, 60.0)
    assert [piece.first for piece in broker.pieces] == [0, 100, 200, 200, 300]  # the third was not known to be there


def test_a_damaged_line_keeps_its_number_and_a_damaged_log_does_not_stop_the_next(tmp_path: Path) -> None:
    _write_log(tmp_path, 3)
    file = tmp_path / "logs/0001-d-1-1.jsonl"
    lines = file.read_text().splitlines()
    lines[2] = "\x00\x00garbage"
    file.write_text("\n".join(lines) + "\n")
    piece = next_piece(tmp_path)
    assert piece is not None
    assert [line.text for line in piece.message.lines][1] == "This line of the log is damaged."
    assert len(piece.message.lines) == 3
    file.write_bytes(b"\xff\x00\n\n\n")
    _write_log(tmp_path, 1, number=2)
    piece = next_piece(tmp_path)
    assert piece is not None
    assert piece.message.deployment_id == "d-2"


def test_the_bounds_fit_those_of_the_protocol_and_of_the_controller() -> None:
    from wainwright_controller.ingest.traffic import LOG_LINES_MAX

    assert LINES_MAX <= LOG_LINES_MAX
    assert log_sender.LINES_MAX <= 500
    assert deployment_log.TEXT_MAX <= 4096
