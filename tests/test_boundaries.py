"""Who may import what, and what an idle agent does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "wainwright_common": ROOT / "common",
    "wainwright_agent": ROOT / "agent",
    "wainwright_controller": ROOT / "controller",
}

# What each package may import besides itself and the standard library.
ALLOWED = {
    "wainwright_common": {"backports", "compression", "cryptography", "msgspec"},
    # socks: link.py asks whether it is there, because paho would use it.
    "wainwright_agent": {"cryptography", "msgspec", "paho", "requests", "socks", "urllib3", "wainwright_common"},
    "wainwright_controller": {
        "aiomqtt",
        "alembic",
        "anyio",
        "click",
        "cryptography",
        "fastapi",
        "h11",
        "jinja2",
        "msgspec",
        "nats",
        "paho",
        "psycopg",
        "pydantic",
        "re2",
        "requests",
        "rich",
        "sqlalchemy",
        "sqlmodel",
        "starlette",
        "uvicorn",
        "wainwright_common",
    },
}

# One file of each side knows its MQTT library, so that a faster client can take its place.
KNOWS_PAHO = {"agent/wainwright_agent/link.py", "controller/wainwright_controller/ingest/link.py"}


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield (module, line, is at the top level of the file) of every import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield str(node.module), node.lineno, id(node) in top


def files(package: str) -> list[Path]:
    return sorted((PACKAGES[package] / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    allowed = ALLOWED[package] | {package} | set(sys.stdlib_module_names)

    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files(package)
        for module, line, _ in imports(path)
        if module.split(".")[0] not in allowed
    ]

    assert files(package)
    assert wrong == []


def test_one_file_of_each_side_knows_its_mqtt_library() -> None:
    knowing = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in files(package)
        for module, _, _ in imports(path)
        if module.split(".")[0] == "paho"
    }

    assert knowing == KNOWS_PAHO


def test_no_rule_knows_the_store_the_clock_or_the_network() -> None:
    forbidden = {"sqlalchemy", "sqlmodel", "time", "random", "socket", "paho", "threading"}
    forbidden |= {f"wainwright_controller.{name}" for name in ("tables", "rows", "store", "ledger", "working_set")}
    folder = PACKAGES["wainwright_controller"] / "wainwright_controller" / "rules"

    wrong = [
        f"{path.name}:{line} imports {module}"
        for path in sorted(folder.rglob("*.py"))
        for module, line, _ in imports(path)
        if module in forbidden or module.split(".")[0] in forbidden
    ]

    assert wrong == []


def test_what_an_agent_loads_when_it_starts_leaves_out_what_only_an_update_needs() -> None:
    """Their memory would never come back; an update loads them in a child process that ends."""
    heavy = "requests urllib3 cryptography http.client asyncio lzma backports.zstd wainwright_controller click sqlmodel"
    program = (
        f"import sys, wainwright_agent.service\nprint([name for name in {heavy.split()!r} if name in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.strip() == "[]"


def test_the_service_does_without_the_parser_of_command_lines() -> None:
    """It ends here at once, for there is no such file."""
    file = "/nonexistent/agent.toml"
    program = (
        "import sys; from wainwright_agent.cli import main\n"
        f"assert main(['run', '--config', {file!r}]) == 2 == main(['--config', {file!r}, 'run'])\n"
        "print('wainwright_agent.cli.run' in sys.modules)\n"
        "print('argparse' in sys.modules)"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.split() == ["True", "False"]


def test_the_operators_command_says_what_to_install_when_only_the_agent_is_there(tmp_path: Path) -> None:
    blocker = tmp_path / "click.py"
    blocker.write_text("raise ModuleNotFoundError('No module named click', name='click')\n", encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from wainwright_controller.__main__ import main; main()"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == 1
    assert "install 'wainwright[controller]'" in ran.stderr
    assert "Traceback" not in ran.stderr
