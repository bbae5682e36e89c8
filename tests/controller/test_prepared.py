"""What threads convert, msgspec has looked at before they are there: else it may crash the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys

import msgspec

{imports}

looked_at = []


def profile(frame, event, _argument):
    if event == "call" and frame.f_code.co_name == "get_class_annotations":
        looked_at.append(frame.f_locals["obj"])


sys.setprofile(profile)
for one in ({types},):
    try:
        msgspec.convert({{}}, one)
    except msgspec.ValidationError:
        pass
sys.setprofile(None)
assert not looked_at, looked_at
"""


def run(imports: str, types: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(imports=imports, types=types)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("imports", "types"),
    [
        ("from wainwright_controller import records as r", "*r.Record.__subclasses__()"),
        ("from wainwright_controller.audit import Entry", "Entry"),
        ("from wainwright_common.artifact import documents as d", "d.Version, d.HeaderInfo, d.TypeInfo"),
        ("from wainwright_common import messages as m", "*m.MESSAGES.values(), m.Policy"),
        ("from wainwright_controller.simulate import download as d", "d._MetaData"),
    ],
    ids=["records", "audit", "artifacts", "messages", "simulated"],
)
def test_types_that_threads_convert_are_prepared(imports: str, types: str) -> None:
    done = run(imports, types)
    assert done.returncode == 0, done.stderr


def test_a_type_that_is_not_prepared_is_noticed() -> None:
    assert "AssertionError: [<class '__main__.One'>]" in run("class One(msgspec.Struct):\n    x: int = 0", "One").stderr
