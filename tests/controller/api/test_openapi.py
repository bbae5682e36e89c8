"""The OpenAPI document is complete: every request has a summary, examples that its types take, and problem codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.controller.api.served import Json, Served
from wainwright_controller.api import deployment_actions, described, models, problems
from wainwright_controller.api.described import CODES, CODES_KEY
from wainwright_controller.api.examples import EXAMPLES, example_of
from wainwright_controller.rules.actions import ALLOWED, Act, Stage, code_of


@pytest.fixture(scope="module")
def document(served: Served) -> Json:
    return served.get("openapi.json")


def operations(document: Json) -> list[tuple[str, str, Json]]:
    found = [(m.upper(), path, op) for path, methods in document["paths"].items() for m, op in methods.items()]
    assert len(found) > 60
    return found


def test_every_request_has_a_sentence_and_its_problem_codes(document: Json) -> None:
    for method, path, operation in operations(document):
        assert re.fullmatch(r"[A-Z].+[.:;]?", operation["summary"]), (method, path)
        assert " " in operation["summary"], (method, path)
        assert operation[CODES_KEY], (method, path)
        for code in operation[CODES_KEY]:
            assert code in operation["responses"]["default"]["description"], (method, path)


def test_every_body_and_every_answer_in_json_has_an_example(document: Json) -> None:
    seen = 0
    for method, path, operation in operations(document):
        for body in (operation.get("requestBody", {}), *operation["responses"].values()):
            for kind, media in body.get("content", {}).items():
                if "json" in kind:
                    assert media["example"], (method, path, kind)
                    seen += 1
                    assert (kind == "application/problem+json") == media["schema"]["$ref"].endswith("/Problem")
    assert seen > 120


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_what_its_type_takes_and_has_nothing_else(name: str) -> None:
    example = EXAMPLES[name]

    taken = TypeAdapter(getattr(models, name)).validate_json(json.dumps(example))

    given = json.loads(taken.model_dump_json(exclude_none=True))
    assert _without_what_was_left_out(given, example) == example


def test_every_example_is_of_something(document: Json) -> None:
    assert EXAMPLES.keys() - document["components"]["schemas"].keys() == set()


def _without_what_was_left_out(given: object, example: object) -> object:
    """Return what was understood without the defaults that the example does not name."""
    if isinstance(given, dict) and isinstance(example, dict):
        return {key: _without_what_was_left_out(given[key], example[key]) for key in example if key in given}
    if isinstance(given, list) and isinstance(example, list):
        return [_without_what_was_left_out(one, other) for one, other in zip(given, example, strict=True)]
    return given


def test_a_type_without_an_example_would_be_noticed() -> None:
    with pytest.raises(KeyError):
        example_of("SomethingNew")


def test_every_code_that_is_listed_exists_and_every_line_has_its_request(document: Json) -> None:
    known = {code for _, code in problems.STATUSES.values()} | {"internal", "store-unavailable", "link-expired"}
    known |= set(problems.HTTP_CODES.values())
    for source in Path(problems.__file__).parents[1].rglob("*.py"):
        told = r'(?:Refused\(|BadCsr\(|Answer\.REFUSE,)\s*"([a-z-]+)"'
        known |= set(re.findall(told, source.read_text(encoding="utf-8")))
    known |= {code_of(act, stage) for act in Act for stage in Stage if stage not in ALLOWED[act]}
    paths = {(method, path.removeprefix(described.PREFIX)) for method, path, _ in operations(document)}

    assert CODES.keys() - paths == set(), "no such requests: take them out of api/described.py"
    assert {code for _, _, operation in operations(document) for code in operation[CODES_KEY]} - known == set()


def test_every_action_has_a_request(document: Json) -> None:
    paths = {path for _, path, _ in operations(document)}
    for act in set(Act) - {Act.DELETE}:
        assert f"/api/v1/deployments/{{deployment_id}}/{act}" in paths
    assert len(deployment_actions.router.routes) == len(Act) - 1 + 2  # approve-batch, rollback-plan


def test_what_is_refused_with_a_code_says_so_in_the_document(served: Served, document: Json) -> None:
    """Every request that names something, for something that is not there."""
    for method, path, operation in operations(document):
        if "{" not in path or not path.startswith(described.PREFIX) or "requestBody" in operation:
            continue
        answer = served.call(method, re.sub(r"{\w+}", "nothing-of-that-name", path))
        if not answer.ok:
            assert answer.json()["code"] in operation[CODES_KEY], (method, path)
