"""The command line against a real controller, with its streams apart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from tests.controller.api.served import Served, artifact
from tests.support.mosquitto import Mosquitto
from wainwright_controller.cli.main import wainwright


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401  JSON is anything
        """What was printed, as one JSON document."""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A controller for a module, with release panel-2."""
    with (
        Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker,
        Served(tmp_path_factory.mktemp("controller"), broker) as running,
    ):
        running.release("panel-2")
        yield running


@pytest.fixture
def run(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("device list")`, or with the words one by one, in a folder with an artifact panel-3.mender."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WAINWRIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WAINWRIGHT_CONTROLLER", served.url)
    Path("panel-3.mender").write_bytes(artifact("panel-3"))

    def run(*words: str, stdin: str | None = None) -> Ran:
        arguments = words[0].split() if len(words) == 1 else list(words)
        result = CliRunner().invoke(wainwright, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run
