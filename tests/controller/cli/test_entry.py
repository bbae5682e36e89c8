"""The entry point: quick to start, and clear where the controller's part is not installed."""

from __future__ import annotations

import subprocess
import sys

from tests.support.wait import PATIENCE_S

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["wainwright", "device", "list"]
from wainwright_controller.__main__ import main
main()
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_without_the_controllers_packages_the_command_says_how_to_get_them() -> None:
    ran = python(BLOCKED.format(name="click"))
    assert ran.returncode == 1
    assert "install 'wainwright[controller]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_mistake_of_ours_is_not_taken_for_a_missing_package() -> None:
    ran = python(BLOCKED.format(name="wainwright_common"))
    assert "Traceback" in ran.stderr


def test_a_client_command_loads_neither_the_server_nor_the_database_nor_rich() -> None:
    program = (
        "import sys; from wainwright_controller.cli.main import wainwright\n"
        "try: wainwright(['--controller', 'http://127.0.0.1:1', 'deployment', 'list'])\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'fastapi', 'uvicorn', 'sqlalchemy', 'sqlmodel', 'rich', 'aiomqtt', 'paho'} & set(sys.modules)))"
    )
    assert python(program).stdout.split("\n")[:2] == ["3", "[]"]
