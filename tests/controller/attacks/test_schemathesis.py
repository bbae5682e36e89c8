"""Schemathesis against a running controller: whatever the OpenAPI document allows, or forbids, in any place.

No answer is a 5xx, each is of a type and a form that the document has for it, what the document forbids is refused, and
so is whoever brings no token. The document's parameters name things that are there, or nobody would get beyond 404.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.controller.api.served import artifact
from tests.support.serve import TOKEN, Serve

BUDGET_S, LONG_S = "8", "900"  # of the default run, and of the long one
# Streams do not end: tests/controller/api/test_events.py. PKCS #10 it cannot make: tests/controller/pki/test_csr.py.
LEFT_OUT = "/events$|/simple(re)?enroll$"
# Not asked: that everything is accepted which the document allows. It cannot say what a filter, a cursor, a device's id
# or a plan in phases is; those are refused with 422 and a sentence.
UNASKED = "positive_data_acceptance"
UNASKED_AT_LENGTH = "negative_data_rejection,unsupported_method"
# What is named by a parameter is deleted and made all the time, and a name may be used again.
OF_STATES = "use_after_free,ensure_resource_availability"


@pytest.fixture
def document(tmp_path: Path, controller: Serve) -> Path:
    """The OpenAPI document, with names of things that are there in place of any text."""
    for name in ("fuzzed-1", "fuzzed-2"):
        controller.call("POST", "artifacts", data=artifact(name))
    controller.good("POST", "devices/preauthorize", json={"ids": ["f-1", "f-2"]})
    controller.call("POST", "groups", json={"name": "fuzzed", "ids": ["f-1"]})
    controller.call("POST", "users", json={"name": "fuzzed", "role": "viewer"})
    deployments = [
        controller.good("POST", "deployments", json={"release": "fuzzed-1", "devices": ["f-1"]} | order)["id"]
        for order in ({}, {"manual": True}, {"approval": True}, {"phases": [{"count": 1}, {"opens": "approval"}]})
    ]
    artifacts = [one["id"] for one in controller.good("GET", "artifacts")["items"]]
    known = {
        "deployment_id": deployments,
        "device_id": ["f-1", "f-2"],
        "artifact_id": [*artifacts, "fuzzed-1"],
        "name": ["fuzzed", "fuzzed-1", "fuzzed-2"],
    }
    found = controller.good("GET", "openapi.json")
    for methods in found["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in known:
                    parameter["schema"] = {"type": "string", "enum": [*known[parameter["name"]], "nothing"]}
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def attack(document: Path, controller: Serve, *options: str, unasked: str = UNASKED) -> None:
    """Run Schemathesis; raises AssertionError with what it found."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--no-color", "run", str(document), "--url", controller.url]
    command += ["--header", f"Authorization: Bearer {TOKEN}", "--exclude-path-regex", LEFT_OUT]
    command += ["--exclude-checks", f"{UNASKED},{OF_STATES},{unasked}", "--request-timeout", "60", "--warnings", "off"]
    done = subprocess.run(
        [*command, *options], cwd=document.parent, capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout + done.stderr + controller.log
    assert "Traceback" not in controller.log


@pytest.mark.timeout(600)  # half a minute on a quiet machine
def test_nothing_that_the_document_allows_or_forbids_makes_a_server_error(document: Path, controller: Serve) -> None:
    attack(
        document,
        controller,
        "--phases",
        "examples,fuzzing",
        "--max-examples",
        "2",
        "--seed",
        "1",
        "--max-time",
        BUDGET_S,
    )


@pytest.mark.long
def test_the_same_at_length(document: Path, controller: Serve) -> None:
    """In so many requests some are for names, other than the document's, that earlier ones have made, and
    `GET /deployments/plan` asks for a deployment of that name: that these are refused is not asked for here.
    """
    attack(document, controller, "--max-examples", "100", "--max-time", LONG_S, unasked=UNASKED_AT_LENGTH)
