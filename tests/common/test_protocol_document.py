"""docs/protocol.md says what the program does: every field, bound, word and number, and its agent works."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

import pytest
from msgspec import inspect

from tests.support.mosquitto import Mosquitto
from tests.support.system import System
from tests.support.wait import wait_until
from wainwright_agent import checkin, journal, link, outbox, pace
from wainwright_agent.config import Config as AgentConfig
from wainwright_common import messages
from wainwright_common.codes import MEANINGS
from wainwright_common.messages import MESSAGES, CommandName, Message, Verdict, WhyCode, decode, encode
from wainwright_common.statuses import DECIDED, FINISHED, REPORTED, DeviceStatus
from wainwright_common.topics import DEVICE_ID_MAX, Kind, Topic, downlinks, uplinks
from wainwright_controller import waker
from wainwright_controller.config import Config as ControllerConfig
from wainwright_controller.ingest import traffic
from wainwright_controller.ingest.budgets import BUDGETS
from wainwright_controller.operations.orders import TIMEOUT_S
from wainwright_controller.rules import reports, retries

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
PARTS = [
    value
    for value in vars(messages).values()
    if isinstance(value, type) and issubclass(value, Message) and value is not Message
]
PATTERNS = {r"^[0-9a-f]{64}\Z": "64 hex digits", r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z": "`HH:MM`"}
SCALARS = {inspect.FloatType: "number", inspect.BoolType: "boolean", inspect.DateTimeType: "time"}
EXAMPLES = re.findall(r"^<!-- example: (\S+) -->\n```json\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
Row = tuple[str, ...]


def section(heading: str) -> str:
    """Return the text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#+ |\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    assert found, f"docs/protocol.md has no section {heading}"
    return found[1]


def table(heading: str, first: str) -> list[Row]:
    """Return the rows of the table in a section whose first column is headed `first`."""
    rows: list[Row] = []
    for line in section(heading).splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | ")) if line.startswith("|") else ()
        if cells and (rows or cells[0] == first):
            rows.append(cells)
        elif rows:
            break
    assert rows, f"{heading} has no table with a column {first}"
    return rows[2:]


def described(kind: inspect.Type) -> str:
    """Print a type with its bounds, as the tables do."""
    match kind:
        case inspect.EnumType(cls=cls):
            every = ", ".join(f"`{word.value}`" for word in cls)
            return "[status](#statuses)" if cls is DeviceStatus else every
        case inspect.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case inspect.ListType(item_type=item, min_length=low, max_length=high):
            return f"list of {low or 0} to {high}: {described(item)}"
        case inspect.DictType(key_type=key, value_type=value, max_length=high):
            return f"object of up to {high}: {described(key)} → {described(value)}"
        case inspect.UnionType(types=types):
            return "; or ".join(described(one) for one in types)
    return described_scalar(kind)


def described_scalar(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType(pattern=str(pattern)):
            return PATTERNS[pattern]
        case inspect.StrType(min_length=low, max_length=high):
            return f"text, up to {high}" if low is None else f"text, {low} to {high}"
        case inspect.IntType(ge=None):
            return "integer"
        case inspect.IntType(ge=low, le=high):
            return f"integer from {low}" if high == messages.SEQ_MAX else f"integer, {low} to {high:,}"
    return SCALARS[type(kind)]


def words(statuses: Collection[DeviceStatus]) -> str:
    return ", ".join(f"`{status}`" for status in DeviceStatus if status in statuses) or "-"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_message_has_a_table_of_its_fields_with_their_bounds(part: type[Message]) -> None:
    info = inspect.type_info(part)
    assert isinstance(info, inspect.StructType)
    expected = [(f"`{field.name}`", "yes" if field.required else "no", described(field.type)) for field in info.fields]

    rows = table(part.__name__, "field")

    assert [row[:3] for row in rows] == expected
    assert all(row[3] for row in rows)


def test_every_example_is_the_message_of_its_topic_and_nothing_more() -> None:
    for kind, text in EXAMPLES:
        assert json.loads(encode(decode(Kind(kind), text.encode()))) == json.loads(text)


def test_every_kind_of_message_has_an_example_and_every_example_is_marked() -> None:
    assert {kind for kind, _ in EXAMPLES} == {kind.value for kind in Kind}
    assert len(EXAMPLES) == DOCUMENT.count("```json")


def test_the_topics_are_the_programs() -> None:
    listed = [(row[0], row[1], row[2].partition(";")[0]) for row in table("Topics", "topic")]

    assert listed == [
        (
            f"`{Topic('DEVICE', kind).text()}`",
            f"[{MESSAGES[kind].__name__}](#{MESSAGES[kind].__name__.lower()})",
            "yes" if kind is Kind.PRESENCE else "no",
        )
        for kind in Kind
    ]
    assert downlinks("DEVICE") in section("Connecting")
    assert uplinks() in section("Topics")
    assert uplinks(share="GROUP") in section("Topics")


@pytest.mark.parametrize(
    ("heading", "first", "words_of_code"),
    [
        ("Why codes", "code", WhyCode),
        ("Reports and their acknowledgement", "verdict", Verdict),
        ("Command", "name", CommandName),
    ],
)
def test_the_closed_lists_are_complete_and_explained(heading: str, first: str, words_of_code: type[StrEnum]) -> None:
    rows = table(heading, first)

    assert [row[0] for row in rows] == [f"`{word.value}`" for word in words_of_code]
    assert all(row[1] for row in rows)


def test_the_statuses_and_what_may_follow_them_are_the_programs() -> None:
    rows = [(row[0], *row[2:]) for row in table("Statuses", "status")]

    assert rows == [
        (
            f"`{status}`",
            "yes" if status in FINISHED else "no",
            words(REPORTED.get(status, ())),
            words(DECIDED.get(status, ())),
        )
        for status in DeviceStatus
    ]


def test_the_error_codes_are_the_programs() -> None:
    assert table("Error codes", "code") == [
        (f"`{code}`", "retryable" if meaning.retryable else "final", meaning.text) for code, meaning in MEANINGS.items()
    ]


def test_the_times_are_the_programs() -> None:
    agent, controller = AgentConfig(), ControllerConfig()

    assert [row[2] for row in table("Times", "who")] == [
        f"{agent.broker.keep_alive_s} s",
        f"{agent.broker.reconnect_first_s} s",
        f"{agent.broker.reconnect_max_s} s",
        f"{link.STABLE_S:g} s",
        f"{agent.check_in.interval_s:,} s",
        f"{checkin.GAP_S:g} s",
        f"{checkin.AFTER_MAX_S:,.0f} s",
        f"{checkin.REPLY_FIRST_S:g} s",
        f"{checkin.REPLY_MAX_S:g} s",
        f"{outbox.RESEND_S:g} s",
        f"{pace.JITTER:.0%}".replace("%", " %"),
        f"{agent.update.progress_interval_s} s",
        f"{controller.devices.check_in_interval_s:,} s",
        f"{controller.artifacts.link_lifetime_s:,} s",
        f"{TIMEOUT_S:,.0f} s",
        f"{retries.BACKOFF_FIRST_S:g} s",
        f"{retries.BACKOFF_MAX_S:,.0f} s",
        f"{retries.BACKOFF_SPREAD:.0%}".replace("%", " %"),
        f"{waker.RATE_PER_S:,.0f}",
    ]
    assert f"after a first burst of {waker.BURST:.0f}" in section("Times")


def test_the_limits_are_the_programs() -> None:
    assert [row[1] for row in table("Limits", "what")] == [
        f"{messages.PAYLOAD_MAX:,} bytes",
        f"{DEVICE_ID_MAX} characters",
        f"{messages.SEQ_MAX:,}",
        f"{journal.SEQ_BLOCK:,}",
        f"{reports.SEEN_BITS}",
        f"{journal.OUTBOX_MAX}",
        f"{traffic.LOG_LINES_MAX:,}",
        f"{ControllerConfig().devices.pending_max:,}",
    ]


def test_the_budgets_are_the_programs() -> None:
    assert table("How much a device may send", "topic") == [
        (f"`{kind.value}`", f"{budget.burst}", f"{budget.per_s:g}", "yes" if budget.keeps_latest else "no")
        for kind, budget in BUDGETS.items()
    ]


def test_the_diagrams_have_no_characters_that_mermaid_takes_for_its_own() -> None:
    diagrams = re.findall(r"^```mermaid\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)

    assert len(diagrams) == 5
    assert not [line for diagram in diagrams for line in diagram.splitlines() if re.search(r"[#;]|:.*\bend\b", line)]


def test_the_links_within_the_document_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", DOCUMENT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]*)\)", DOCUMENT)) <= anchors


def test_the_minimal_agent_carries_out_a_deployment_and_keeps_what_it_did(
    own_mosquitto: Mosquitto, tmp_path: Path
) -> None:
    program = re.search(r"^```python\n(.*?)^```$", section("A minimal agent"), flags=re.MULTILINE | re.DOTALL)
    assert program
    folder = tmp_path / "device"

    with System(tmp_path / "system", own_mosquitto.url, auto_accept=True) as system:
        text = program[1].replace('PREFIX = "wain/v1"', f'PREFIX = "{system.stage.prefix}"')
        (tmp_path / "agent.py").write_text(text, encoding="utf-8")
        port = str(own_mosquitto.port)
        argv = [sys.executable, str(tmp_path / "agent.py"), "127.0.0.1", port, "press.42", "press", str(folder)]
        system.processes.start("press.42", argv, None)
        system.wait_for_devices(["press.42"])
        system.release("panel-2", "press")

        first = system.deploy("panel-2", "press.42")

        assert system.finished(first)["outcome"] == "success"
        uploaded = next(system.stage.folder.glob("panel-2-press.mender"))
        assert (folder / "current").read_bytes() == uploaded.read_bytes()
        memory = folder / "memory.json"
        wait_until(lambda: not json.loads(memory.read_text())["outbox"], what="the last acknowledgement")
        assert json.loads(memory.read_text())["artifact_name"] == "panel-2"
        system.processes.kill("press.42")
        system.wait_for_devices(["press.42"], online=False)
        system.processes.start("press.42", argv, None)
        system.release("panel-3", "press")

        second = system.deploy("panel-3", "press.42")

        assert system.finished(second)["outcome"] == "success"
        system.assert_exact(second, ["press.42"])
        assert not system.refusals()
