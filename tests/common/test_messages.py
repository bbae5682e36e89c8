"""Messages: encoding and decoding are inverses, and what is not a message is refused with its reason."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wainwright_common import messages as m
from wainwright_common.errors import BadMessage
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind

AT = datetime(2026, 11, 22, 9, 14, 3, tzinfo=UTC)
DIGEST = "a" * 64
ARTIFACT = m.Artifact(id="a1", name="panel-2", size=9, sha256=DIGEST, uri="http://127.0.0.1/x", expires=AT)
SAMPLES: list[tuple[Kind, m.Message]] = [
    (Kind.PRESENCE, m.Presence(online=True, since=AT, agent_version="1")),
    (Kind.INVENTORY, m.Inventory(digest=DIGEST, attributes={"a": "x", "n": 1, "f": 1.5, "l": ["x", "y"]})),
    (
        Kind.CHECK_IN,
        m.CheckIn(
            id="c1",
            reason=m.CheckInReason.START,
            device_type="pi",
            provides={"artifact_name": "panel-1"},
            boot_id="b",
            agent_version="1",
            inventory_digest=DIGEST,
            running=m.Running(deployment_id="d", attempt=1, status=DeviceStatus.DOWNLOADING),
            by_hand=True,
        ),
    ),
    (
        Kind.REPORT,
        m.Report(
            deployment_id="d",
            attempt=1,
            seq=7,
            status=DeviceStatus.FAILURE,
            boot_id="b",
            at=AT,
            substate="x" * 200,
            progress=m.Progress(done=1, total=2),
            error=m.Reason(code="timeout", text="late"),
            artifact_name="panel-1",
            inconsistent=True,
        ),
    ),
    (
        Kind.LOG,
        m.LogLines(deployment_id="d", attempt=1, first=0, lines=[m.Line(at=AT, level="info", text="hello")]),
    ),
    (
        Kind.REPLY,
        m.Reply(
            check_in_id="c1",
            check_in_after_s=1800,
            send_inventory=False,
            offer=m.Offer(
                deployment_id="d",
                attempt=1,
                action=m.Action.INSTALL,
                artifact=ARTIFACT,
                policy=m.Policy(windows=[m.Window(start="22:00", end="05:30", days=[1, 7])], bytes_per_second=1000),
            ),
        ),
    ),
    (Kind.ACK, m.Ack(deployment_id="d", attempt=1, seq=7, verdict=m.Verdict.STALE, status=DeviceStatus.SUCCESS)),
    (Kind.COMMAND, m.Command(id="x", name=m.CommandName.ABORT, deployment_id="d")),
]


@pytest.mark.parametrize(("kind", "message"), SAMPLES, ids=[kind.value for kind, _ in SAMPLES])
def test_decoding_is_the_inverse_of_encoding(kind: Kind, message: m.Message) -> None:
    assert m.decode(kind, m.encode(message)) == message


def test_every_kind_has_a_message_and_a_sample() -> None:
    assert set(Kind) == set(m.MESSAGES) == {kind for kind, _ in SAMPLES}


def test_times_are_utc_with_z_and_other_zones_are_understood() -> None:
    assert b'"2026-11-22T09:14:03Z"' in m.encode(SAMPLES[0][1])
    elsewhere = AT.astimezone(timezone(timedelta(hours=2)))
    payload = m.encode(SAMPLES[0][1]).replace(b"2026-11-22T09:14:03Z", elsewhere.isoformat().encode())
    assert m.decode(Kind.PRESENCE, payload) == SAMPLES[0][1]


@pytest.mark.parametrize(("kind", "message"), SAMPLES, ids=[kind.value for kind, _ in SAMPLES])
def test_unknown_keys_are_ignored_and_absent_optional_keys_are_not_sent(kind: Kind, message: m.Message) -> None:
    document = msgspec.json.decode(m.encode(message))
    assert m.decode(kind, msgspec.json.encode(document | {"later": {"x": [1]}})) == message
    assert b"null" not in m.encode(message)


@pytest.mark.parametrize(("kind", "message"), SAMPLES, ids=[kind.value for kind, _ in SAMPLES])
def test_a_null_or_missing_key_is_refused(kind: Kind, message: m.Message) -> None:
    document = msgspec.json.decode(m.encode(message))
    for key in document:
        with pytest.raises(BadMessage, match=r"Expected|missing") as caught:
            m.decode(kind, msgspec.json.encode(document | {key: None}))
        assert caught.value.reason == "invalid"


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
)


@given(st.sampled_from(Kind), st.binary() | ANY_JSON.map(msgspec.json.encode))
def test_no_payload_raises_anything_but_a_bad_message(kind: Kind, payload: bytes) -> None:
    with contextlib.suppress(BadMessage):
        m.decode(kind, payload)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        (b"[]", "invalid"),
        (b"null", "invalid"),
        (b'"x"', "invalid"),
        (b"{}", "invalid"),
        (b"[" * 100_000, "invalid"),
        (b'{"later":' * 20_000, "not-json"),
        (b'{"online":true,"since":"2026-11-22T09:14:03","agent_version":"1"}', "invalid"),
        (b'{"online":"yes","since":"2026-11-22T09:14:03Z","agent_version":"1"}', "invalid"),
        (b'{"online":1,"since":"2026-11-22T09:14:03Z","agent_version":"1"}', "invalid"),
        (b'{"online":true,"since":"2026-11-22T09:14:03Z","agent_version":""}', "invalid"),
        (b'{"online":true,"since":"2026-11-22T09:14:03Z","agent_version":"1"} x', "not-json"),
        (b" " * (m.PAYLOAD_MAX + 1), "too-large"),
        (b'{"online":true,"since":"0001-01-01T00:00:00+23:59","agent_version":"1"}', "invalid"),
        (b'{"online":true,"since":"9999-12-31T23:59:59-23:59","agent_version":"1"}', "invalid"),
        (b'{"online":true,"since":"2026-11-22T09:14:03Z","agent_version":"1\\u0000"}', "invalid"),
    ],
)
def test_a_bad_presence_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(BadMessage) as caught:
        m.decode(Kind.PRESENCE, payload)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempt", 0),
        ("attempt", "1"),
        ("attempt", 1.5),
        ("seq", 0),
        ("seq", 2**53),
        ("status", "done"),
        ("substate", "x" * 201),
        ("progress", {"done": -1, "total": 1}),
        ("deployment_id", ""),
        ("deployment_id", "x" * 65),
        ("at", "yesterday"),
        ("at", 1795329837),
        ("error", "timeout"),
        ("error", {"code": "timeout", "text": "x" * 2001}),
    ],
)
def test_a_report_out_of_bounds_is_refused_and_the_field_is_named(field: str, value: object) -> None:
    document = msgspec.json.decode(m.encode(dict(SAMPLES)[Kind.REPORT]))
    with pytest.raises(BadMessage, match=field) as caught:
        m.decode(Kind.REPORT, msgspec.json.encode(document | {field: value}))
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_cannot_be_converted_is_refused_in_a_report_and_in_an_offer(time: str) -> None:
    report = msgspec.json.decode(m.encode(dict(SAMPLES)[Kind.REPORT]))
    reply = msgspec.json.decode(m.encode(dict(SAMPLES)[Kind.REPLY]))
    reply["offer"]["artifact"]["expires"] = time
    for kind, document in ((Kind.REPORT, report | {"at": time}), (Kind.REPLY, reply)):
        with pytest.raises(BadMessage) as caught:
            m.decode(kind, msgspec.json.encode(document))
        assert caught.value.reason == "invalid"


@pytest.mark.parametrize("value", ["x" * 100_000, "two\nlines \x1b[31m red \x9b31m", "\u202e\ufeff"])
def test_a_refusal_repeats_little_of_a_payload_and_no_control_characters(value: str) -> None:
    with pytest.raises(BadMessage) as caught:
        m.decode(Kind.COMMAND, msgspec.json.encode({"id": "x", "name": value}))
    said = str(caught.value)
    assert said.startswith("Not a Command: Invalid enum value '")
    assert "$.name" in said
    assert len(said) < 400
    assert said.isprintable()


def test_no_text_with_nul_is_sent_and_the_escape_itself_may_be_text() -> None:
    reason = m.Reason(code="unknown", text="a\0b \\u0000 \\\0")
    sent = m.decode_as(
        m.Report, Kind.REPORT, m.encode(msgspec.structs.replace(dict(SAMPLES)[Kind.REPORT], error=reason))
    )

    assert sent.error is not msgspec.UNSET
    assert sent.error.text == "a\ufffdb \\u0000 \\\ufffd"


def test_a_digest_does_not_end_in_a_line_end() -> None:
    document = msgspec.json.decode(m.encode(dict(SAMPLES)[Kind.CHECK_IN]))
    with pytest.raises(BadMessage, match="inventory_digest"):
        m.decode(Kind.CHECK_IN, msgspec.json.encode(document | {"inventory_digest": DIGEST + "\n"}))


def test_a_message_that_is_too_large_is_not_sent() -> None:
    attributes: m.Attributes = {f"k{i}": "x" * 4096 for i in range(70)}
    with pytest.raises(BadMessage) as caught:
        m.encode(m.Inventory(digest=DIGEST, attributes=attributes))
    assert caught.value.reason == "too-large"


def test_the_inventory_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert m.inventory_digest({"a": 1, "b": "x"}) == m.inventory_digest({"b": "x", "a": 1})
    assert m.inventory_digest({"a": 1}) != m.inventory_digest({"a": 2})
