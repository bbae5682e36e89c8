"""What a simulated device makes of an artifact: whether it arrived whole, and the fault that it says it has."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from wainwright_common.artifact import ArtifactSpec, PayloadSource, write_module_image
from wainwright_common.messages import Action, Artifact, Offer
from wainwright_controller.simulate.download import TOLD_TO_FAIL, fault_in, fetch

FAULT = {"where": 'provides.os = "os-4" and site = "north"', "code": "no-space", "text": "The disk is full."}
ON_NORTH = {"device_id": "gw-1", "inventory.site": "north", "provides.os": "os-4"}


def artifact(**meta_data: object) -> bytes:
    out = io.BytesIO()
    source = PayloadSource.from_bytes("panel.txt", b"panel-2\n")
    write_module_image(
        out,
        ArtifactSpec(
            name="panel-2",
            device_types=("gateway",),
            payload_type="any",
            files=(source,),
            meta_data=json.dumps(meta_data).encode(),
        ),
    )
    return out.getvalue()


@pytest.fixture
def link() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server of files that a test puts in the dictionary."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in files else 404)
            self.end_headers()
            self.wfile.write(files.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", files
        server.shutdown()
        thread.join()


def offer(uri: str, content: bytes) -> Offer:
    digest = hashlib.sha256(content).hexdigest()
    offered = Artifact(id="a-1", name="panel-2", size=len(content), sha256=digest, uri=uri, expires=datetime.now(UTC))
    return Offer(deployment_id="d-1", attempt=1, action=Action.INSTALL, artifact=offered)


def test_the_fault_of_a_fetched_artifact_is_on_the_devices_that_it_names(link: tuple[str, dict[str, bytes]]) -> None:
    url, files = link
    files["/a"] = artifact(fault=FAULT)
    fetched = fetch(offer(f"{url}/a", files["/a"]))
    assert fetched.problem is None
    assert fetched.fault is not None
    error = fetched.fault.error_on(ON_NORTH)
    assert error is not None
    assert (error.code, error.text) == ("no-space", "The disk is full.")
    assert fetched.fault.error_on(ON_NORTH | {"provides.os": "os-5"}) is None


def test_what_is_not_the_offered_file_is_not_installed(link: tuple[str, dict[str, bytes]]) -> None:
    url, files = link
    files["/a"], files["/cut"] = artifact(), artifact()[:1500]
    for path, offered, word in [
        ("/a", artifact(other="file"), "are not the offered file"),
        ("/cut", artifact(), "cannot be read"),
        ("/nothing", artifact(), "could not be fetched: 404"),
    ]:
        assert word in str(fetch(offer(f"{url}{path}", offered)).problem)


@pytest.mark.parametrize("meta_data", [b"", b"{}", b'{"settings": {"fault": 1}}'])
def test_an_artifact_without_a_fault_has_none(meta_data: bytes) -> None:
    assert fault_in(meta_data) is None


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"where": "site ="}, "column 7"),
        ({"where": "site exists", "code": "tired"}, "tired"),
        ({"were": "site exists"}, "were"),
        ({"where": "site exists", "text": ""}, "text"),
    ],
    ids=["filter", "code", "unknown-key", "empty-text"],
)
def test_a_fault_that_cannot_be_read_fails_everywhere_and_says_why(fault: dict[str, str], word: str) -> None:
    found = fault_in(json.dumps({"fault": fault}).encode())
    assert found is not None
    error = found.error_on({"device_id": "gw-1"})
    assert error is not None
    assert word in error.text


def test_a_fault_needs_no_more_than_where_it_is() -> None:
    found = fault_in(b'{"fault": {"where": "device_id exists"}}')
    assert found is not None
    error = found.error_on(ON_NORTH)
    assert error is not None
    assert (error.code, error.text) == ("install-failed", TOLD_TO_FAIL)
