"""Requests that are too large, ambiguous, nonsense, or of methods that nobody asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support.serve import TOKEN, Json, Serve, head, read_all
from tests.support.wait import wait_until
from wainwright_controller.api.envelope import FIELDS_MAX, FIELDS_MAX_BYTES, HEADERS, TARGET_MAX
from wainwright_controller.api.routing import FLEET_BODY, SMALL_BODY

OF_FLEETS = re.compile(r"/(accept|reject|preauthorize|tags|check-in|groups|add|remove|deployments|plan)$")
MEMORY_MAX = 200 * 2**20  # bytes that an attack may make the process grow by; 20 bodies of 16 MiB would be 320


def operations(controller: Serve) -> list[tuple[str, str, Json]]:
    document = controller.good("GET", "openapi.json")
    return [(m.upper(), re.sub(r"{\w+}", "x", p), o) for p, ms in document["paths"].items() for m, o in ms.items()]


def status(answer: bytes) -> int:
    """Return the status of the only answer; another one after it fails the test."""
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    return int(answer[9:12])


def code(answer: bytes) -> str:
    """Return the code of the problem that is the only answer."""
    status(answer)
    assert b"\r\ncontent-type: application/problem+json\r\n" in answer.lower(), answer
    problem: Json = json.loads(answer.partition(b"\r\n\r\n")[2])
    return str(problem["code"])


# ---- sizes --------------------------------------------------------------------------------------------------------


def test_every_route_refuses_a_body_that_is_larger_than_any_of_its_requests(controller: Serve) -> None:
    """It says so without waiting for the body, and a route that reads none is not begun, either."""
    tried = 0
    for method, path, operation in operations(controller):
        if (method, path) == ("POST", "/api/v1/artifacts"):
            continue  # artifacts.max_bytes: tests/controller/api/test_artifacts.py
        takes_many = method == "POST" and OF_FLEETS.search(path)
        limit = FLEET_BODY if takes_many else SMALL_BODY
        too_large = controller.say(head(method, path, "Content-Type: application/json", f"Content-Length: {limit + 1}"))
        assert (method, path, code(too_large)) == (method, path, "body-too-large")
        assert b"\r\n\r\n" in too_large
        assert "body-too-large" in operation["x-problem-codes"] or not path.startswith("/api/v1")
        tried += 1
    assert tried > 60


def test_a_body_without_a_length_is_cut_off_where_it_is_too_large(controller: Serve) -> None:
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    with controller.socket() as connection:
        connection.sendall(head("POST", "/api/v1/users", *fields))
        for _ in range(2 * SMALL_BODY // 4096):
            try:
                connection.sendall(b"1000\r\n%b\r\n" % (b" " * 4096))
            except OSError:  # it has enough
                break
        assert code(read_all(connection)) == "body-too-large"


def test_strangers_cannot_make_the_controller_hold_what_they_send(controller: Serve) -> None:
    """Each sends as much as the largest request may have; nobody has asked who they are yet."""
    process = psutil.Process(controller.process.pid)
    before = process.memory_info().rss

    def attack(_: int) -> int:
        fields = ("Content-Type: application/json", f"Content-Length: {FLEET_BODY}")
        with controller.socket() as connection:
            connection.sendall(head("POST", "/api/v1/devices/accept", *fields, token=""))
            said = connection.recv(65536)
            try:
                for _ in range(FLEET_BODY // 2**20):
                    connection.sendall(b" " * 2**20)
            except OSError:
                pass
        return status(said)

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(attack, range(40))) == {401}
    assert process.memory_info().rss - before < MEMORY_MAX


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (head("GET", "/api/v1/devices?q=" + "x" * TARGET_MAX), "target-too-long"),
        (head("GET", "/" + "x" * TARGET_MAX), "target-too-long"),
        (head("GET", "/healthz", *(f"X-{n}: x" for n in range(FIELDS_MAX + 1))), "head-too-large"),
        (head("GET", "/healthz", "X-Long: " + "x" * FIELDS_MAX_BYTES), "head-too-large"),
        (head("GET", "/healthz", "Cookie: " + "x" * (FIELDS_MAX_BYTES // 2), *["Via: x"] * 90), "200"),
        (b"GET /" + b"x" * 200_000, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 10_000_000, "bad-request"),
        (b"x" * 100_000, "bad-request"),
    ],
    ids=["query", "path", "fields", "field", "large-but-fine", "endless-target", "endless-field", "noise"],
)
def test_a_head_has_bounds(controller: Serve, raw: bytes, expected: str) -> None:
    with controller.socket() as connection:
        try:
            connection.sendall(raw)
        except OSError:  # it was told enough
            assert expected == "bad-request"
        said = read_all(connection)
    if said or expected != "bad-request":  # what is sent after the end takes the answer with it
        assert (str(status(said)) if expected.isdecimal() else code(said)) == expected


@pytest.mark.parametrize(
    "body",
    [
        "[" * 30_000,
        '{"ids":' * 9_000,
        '{"ids": [' + "9" * 30_000 + "]}",
        '{"ids": [1e999999]}',
        '{"ids": NaN}',
        r'{"ids": ["\ud800"]}',
        '{"ids": ["\x00"]}',
        b'{"ids": ["\xff\xfe"]}',
        '{"ids": [], "ids": ["a b"]}',
        '{"__proto__": {}, "ids": []}',
        '"' + "x" * 60_000,
    ],
    ids=["deep", "deeper", "digits", "infinite", "nan", "surrogate", "nul", "bytes", "twice", "proto", "unended"],
)
def test_json_that_is_made_to_hurt_is_refused(controller: Serve, body: str | bytes) -> None:
    data = body if isinstance(body, bytes) else body.encode()
    for path in ("devices/preauthorize", "users", "deployments", "deployments/x/abort"):
        headers = {"Content-Type": "application/json"}
        answer = controller.call("POST", path, data=data, headers=headers)
        assert (path, answer.status_code in {400, 404, 422}, answer.text) == (path, True, answer.text)


# ---- one request or two -------------------------------------------------------------------------------------------

HIDDEN = b"GET /api/v1/me HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (("Content-Length: 6", "Transfer-Encoding: chunked"), b"0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding: chunked", "Content-Length: 0"), b"0\r\n\r\n" + HIDDEN),
        (("Content-Length: 0", "Content-Length: 44"), HIDDEN),
        (("Content-Length: 0, 44",), HIDDEN),
        (("Content-Length: +0",), HIDDEN),
        (("Content-Length: 0x2c",), HIDDEN),
        (("Content-Length: -1",), HIDDEN),
        (("Transfer-Encoding: xchunked",), b"0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding: identity, chunked",), b"0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding : chunked",), b"0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding:\x0bchunked",), b"0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding: chunked",), b"0x1\r\nx\r\n0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding: chunked",), b"1\r\nxGET\r\n0\r\n\r\n" + HIDDEN),
        (("Transfer-Encoding: chunked",), b"fffffffffffffffffffffff\r\nx" + HIDDEN),
        (("X: a\rContent-Length: 44",), HIDDEN),
        (("X: a\0b",), b""),
        (("Host: two.example",), b""),
        (("X: a", " Content-Length: 44"), HIDDEN),
        (("X: a", "\tTransfer-Encoding: chunked"), b"0\r\n\r\n" + HIDDEN),
        (("X: a\nContent-Length: 44",), HIDDEN),
        (("X: a\n\nGET /healthz HTTP/1.1\nHost: x",), b""),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_request_whose_length_can_be_read_in_two_ways_is_not_answered_twice(
    controller: Serve, fields: tuple[str, ...], body: bytes
) -> None:
    """Whatever a proxy in front makes of it, nothing that follows is taken for a request of somebody else."""
    raw = head("POST", "/api/v1/devices/accept", "Content-Type: application/json", *fields, close=False) + body
    said = controller.say(raw)
    assert status(said) in {400, 422}
    assert b'"role"' not in said


def test_several_requests_on_one_connection_are_answered_in_turn(controller: Serve) -> None:
    """What is not forbidden: the test above would also pass if nothing were ever answered."""
    said = controller.say(head("GET", "/api/v1/me", close=False) + head("GET", "/healthz"))
    assert said.count(b"HTTP/1.1 200 ") == 2
    assert said.index(b'"role"') < said.index(b'"alive"')


def test_nonsense_in_the_middle_of_an_answer_leaves_no_trace_in_the_log(controller: Serve) -> None:
    wait_until(lambda: "the audit log has the anchor" in controller.log, what="what it says soon after its start")
    said_before = controller.log
    for begin in (head("GET", "/api/v1/events", "Transfer-Encoding: chunked"), head("GET", "/healthz", close=False)):
        with controller.socket() as connection:
            connection.sendall(begin)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            try:
                connection.sendall(b"no chunk\r\n\r\n" * 10)
                connection.sendall(b"\x00\xff" * 100)
            except OSError:
                pass
            rest = read_all(connection)
            assert b"HTTP/1.1" not in rest or b"/events" not in begin, "an answer in the middle of another one"
    assert controller.call("GET", "me").ok
    assert controller.log == said_before


# ---- methods, targets, hosts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("TRACE", "/api/v1/me", {405}),
        ("TRACK", "/api/v1/me", {405}),
        ("DEBUG", "/healthz", {405}),
        ("PROPFIND", "/api/v1/devices", {405}),
        ("CONNECT", "127.0.0.1:22", {404}),
        ("OPTIONS", "*", {404}),
        ("OPTIONS", "/api/v1/devices", {405}),
        ("PUT", "/healthz", {405}),
        ("get", "/healthz", {405}),
        ("X" * 1000, "/healthz", {405}),
        ("GET", "http://127.0.0.1:1/api/v1/me", {404}),
        ("GET", "//evil.example/api/v1/me", {404}),
        ("GET", "/api/v1//me", {404}),
        ("GET", "/api/v1/me/", {404}),
        ("GET", "/api/v1/../v1/me", {404}),
        ("GET", "/api/v1/me;x=1", {404}),
        ("GET", "/api/v1/me%00", {404}),
        ("GET", "/api/v1/%6de", {200}),
        ("GET", "/API/V1/me", {404}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_odd_methods_and_targets_reach_nothing(controller: Serve, method: str, target: str, expected: set[int]) -> None:
    said = controller.say(head(method, target, "X-Secret: abc"))
    assert status(said) in expected
    assert b"abc" not in said


def test_no_answer_sends_a_browser_to_the_host_that_the_request_names(controller: Serve) -> None:
    for method, path, _ in operations(controller):
        raw = head(method, f"{path}/", token=TOKEN).replace(b"Host: 127.0.0.1", b"Host: evil.example")
        said = controller.say(raw)
        assert (method, path, b"evil.example" in said, b"\r\nlocation:" in said.lower()) == (method, path, False, False)


def test_a_request_without_a_host_or_with_two_is_refused(controller: Serve) -> None:
    assert code(controller.say(b"GET /healthz HTTP/1.1\r\n\r\n")) == "bad-request"
    assert code(controller.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")) == "bad-request"


def test_an_upgrade_to_another_protocol_does_not_happen(controller: Serve) -> None:
    for upgrade in ("websocket", "h2c", "TLS/1.0"):
        said = controller.say(
            head("GET", "/api/v1/me", f"Upgrade: {upgrade}", "Connection: Upgrade", "HTTP2-Settings: x")
        )
        assert status(said) == 200
    assert controller.say(b"PRI * HTTP/2.0\r\nHost: x\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 400 ")


# ---- what answers say to browsers ----------------------------------------------------------------------------------


def answers(controller: Serve) -> Iterator[tuple[str, bytes]]:
    """Yield one answer of each kind."""
    yield "200", controller.say(head("GET", "/api/v1/devices"))
    yield "204", controller.say(head("POST", "/api/v1/tokens/x/revoke"))
    yield "401", controller.say(head("GET", "/api/v1/devices", token=""))
    yield "404", controller.say(head("GET", "/nowhere"))
    yield "405", controller.say(head("TRACE", "/healthz"))
    yield "413", controller.say(head("POST", "/api/v1/users", "Content-Length: 999999"))
    yield "414", controller.say(head("GET", "/" + "x" * TARGET_MAX))
    yield "422", controller.say(head("GET", "/api/v1/devices?limit=x"))
    yield "400", controller.say(b"\0\r\n\r\n")
    yield "metrics", controller.say(head("GET", "/metrics"))
    yield "link", controller.say(head("GET", "/download/x?expires=1&signature=x"))
    yield "openapi", controller.say(head("GET", "/api/v1/openapi.json"))
    with controller.socket() as stream:
        stream.sendall(head("GET", "/api/v1/events"))
        yield "stream", stream.recv(65536)


def test_every_answer_tells_browsers_to_trust_nothing_in_it(controller: Serve) -> None:
    for kind, said in answers(controller):
        lines = said.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
        for name, value in HEADERS.items():
            assert (kind, f"{name}: {value}".lower() in lines) == (kind, True), (name, said)
        assert not [line for line in lines if line.startswith(("access-control-", "server:", "x-powered-by"))]


def test_no_page_of_another_site_may_read_an_answer(controller: Serve) -> None:
    asked = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
    assert status(controller.say(head("OPTIONS", "/api/v1/devices/accept", *asked))) == 405
    said = controller.say(head("GET", "/api/v1/devices", "Origin: https://evil.example"))
    assert b"access-control" not in said.lower()
