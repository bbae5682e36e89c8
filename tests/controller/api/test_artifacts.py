"""Artifacts come in whole or not at all, and go out byte for byte."""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.common.artifact.damage import damaged
from tests.controller.api.served import Served, artifact
from tests.support.mosquitto import Mosquitto
from tests.support.wait import wait_until

BIG = bytes(range(256)) * 4096  # 1 MiB


def test_an_uploaded_artifact_comes_back_byte_for_byte(served: Served) -> None:
    blob = artifact("whole-1", payload=BIG)
    stored = served.upload(blob)
    assert stored.status_code == 201
    about = stored.json()
    assert (about["name"], about["size"], about["device_types"]) == ("whole-1", len(blob), ["pi4"])
    assert about["sha256"] == hashlib.sha256(blob).hexdigest()
    assert served.get(f"artifacts/{about['id']}") == about
    assert served.call("GET", f"/api/v1/artifacts/{about['id']}/file").content == blob


def test_every_damaged_artifact_is_refused_by_its_rule_and_leaves_nothing_behind(served: Served) -> None:
    files, stored = served.files, served.get("artifacts")
    rows = [row for row in damaged() if not row[3]]  # the others need the signer's key, which a controller has not
    assert len(rows) > 50
    for name, blob, rule, _ in rows:
        answer = served.upload(blob)
        assert (name, answer.status_code, answer.json()["code"]) == (name, 422, f"artifact-{rule}")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].endswith(".")
        assert served.files == files, name
    assert served.get("artifacts") == stored


def test_an_artifact_that_is_refused_early_is_read_to_its_end_so_that_the_sender_learns_why(served: Served) -> None:
    answer = served.upload(b"this is not an artifact\n" * 1_000_000)
    assert answer.json()["code"] == "artifact-not-an-artifact"


def test_of_the_same_artifact_uploaded_several_times_at_once_one_is_stored(served: Served) -> None:
    files = len(served.files)
    blob = artifact("race-1", payload=BIG)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: served.upload(blob), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if not answer.ok} == {"artifact-exists"}
    assert len(served.files) == files + 1
    assert len(served.get("artifacts", name="race-1")["items"]) == 1


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing_behind(served: Served) -> None:
    files = served.files
    blob = artifact("torn-1", payload=BIG)
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(
            b"POST /api/v1/artifacts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: %d\r\n\r\n" % len(blob)
        )
        connection.sendall(blob[: len(blob) // 2])
        wait_until(lambda: len(served.files) == len(files) + 1, what="the file to be begun")
    wait_until(lambda: served.files == files, what="the file to be removed")
    assert served.upload(blob).status_code == 201


def test_an_upload_without_a_length_is_taken(served: Served) -> None:
    blob = artifact("chunked-1", payload=BIG)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(blob), 1000):
            yield blob[start : start + 1000]

    assert served.call("POST", "/api/v1/artifacts", data=pieces()).status_code == 201


def test_an_artifact_that_is_too_large_is_refused_with_and_without_a_length(
    tmp_path: Path, own_mosquitto: Mosquitto
) -> None:
    blob = artifact(payload=hashlib.shake_256(b"").digest(100_000))
    with Served(tmp_path, own_mosquitto, max_bytes=50_000) as small:
        for body in (blob, iter([blob[:40_000], blob[40_000:]])):
            answer = small.call("POST", "/api/v1/artifacts", data=body)
            assert (answer.status_code, answer.json()["code"]) == (413, "upload-too-large")
            assert small.files == []


def test_an_artifact_is_refused_while_the_disk_is_nearly_full(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    files = served.files
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000))
    answer = served.upload(artifact("full-1"))
    assert (answer.status_code, answer.json()["code"]) == (507, "storage-full")
    assert served.files == files


# Request headers (ETAG stands for the real one), status, what comes back of the bytes.
RANGES = [
    ({}, 200, slice(None)),
    ({"Range": "bytes=0-99"}, 206, slice(0, 100)),
    ({"Range": "bytes=1000-"}, 206, slice(1000, None)),
    ({"Range": "bytes=-10"}, 206, slice(-10, None)),
    ({"Range": "bytes=1000-", "If-Range": "ETAG"}, 206, slice(1000, None)),
    ({"Range": "bytes=1000-", "If-Range": '"another"'}, 200, slice(None)),
    ({"Range": "bytes=999999999-"}, 416, slice(0, 0)),
]


@pytest.mark.parametrize(("headers", "status", "part"), RANGES)
def test_a_download_can_be_continued_while_the_artifact_is_the_same(
    served: Served, headers: dict[str, str], status: int, part: slice
) -> None:
    blob = artifact("ranges-1")
    known = served.get("artifacts", name="ranges-1")["items"]
    about = known[0] if known else served.upload(blob).json()
    etag = f'"{about["sha256"]}"'
    headers = {name: etag if value == "ETAG" else value for name, value in headers.items()}
    answer = served.call("GET", f"/api/v1/artifacts/{about['id']}/file", headers=headers)
    assert (answer.status_code, answer.content) == (status, blob[part])
    if status != 416:
        assert answer.headers["etag"] == etag


def test_artifacts_are_listed_piece_by_piece_without_gaps(served: Served) -> None:
    for number in range(5):
        served.release(f"list-{number}")
    whole = [item["id"] for item in served.get("artifacts")["items"]]
    pieces: list[str] = []
    cursor: dict[str, object] = {}
    while True:
        page = served.get("artifacts", limit=2, **cursor)
        assert len(page["items"]) <= 2
        pieces += [item["id"] for item in page["items"]]
        if "next" not in page:
            break
        cursor = {"cursor": page["next"]}
    assert pieces == whole


def test_an_artifact_is_found_by_the_beginning_of_its_id_and_by_a_name_that_only_it_has(served: Served) -> None:
    first = served.release("found-1")
    assert served.get(f"artifacts/{first['id'][:8]}") == served.get("artifacts/found-1") == first
    served.release("found-1", "pi5")
    answer = served.call("GET", "/api/v1/artifacts/found-1")
    assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous")
    assert served.call("GET", "/api/v1/artifacts/nothing").json()["code"] == "not-found"


def test_an_artifact_cannot_be_deleted_while_it_is_deployed_and_its_bytes_go_with_it_afterwards(served: Served) -> None:
    about = served.release("used-1")
    served.accept("user-1")
    deployment = served.deploy("used-1", "user-1")
    for path in (f"artifacts/{about['id']}", "releases/used-1"):
        answer = served.call("DELETE", f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "artifact-in-use")
    assert f"{about['id']}.mender" in served.files
    served.post(f"deployments/{deployment['id']}/abort")
    assert served.call("DELETE", f"/api/v1/artifacts/{about['id']}").status_code == 204
    assert f"{about['id']}.mender" not in served.files
    assert served.call("GET", f"/api/v1/artifacts/{about['id']}").status_code == 404


def test_a_release_is_all_artifacts_of_one_name(served: Served) -> None:
    served.release("both/1", "pi4")
    served.release("both/1", "pi5")
    shown = served.get("releases/both%2F1")
    assert (shown["artifact_count"], shown["device_types"]) == (2, ["pi4", "pi5"])
    assert shown["size"] == sum(about["size"] for about in shown["artifacts"])
    listed = served.get("releases", q="BOTH")["items"]
    assert listed == [{key: value for key, value in shown.items() if key not in {"artifacts", "deployments"}}]
    assert served.call("DELETE", "/api/v1/releases/both%2F1").status_code == 204
    assert served.call("GET", "/api/v1/releases/both%2F1").json()["code"] == "not-found"


def test_a_file_that_is_gone_from_the_disk_is_said_to_be(served: Served) -> None:
    about = served.release("gone-1")
    served.controller.artifacts.path(about["id"]).unlink()
    answer = served.call("GET", f"/api/v1/artifacts/{about['id']}/file")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "backup" in answer.json()["detail"]
