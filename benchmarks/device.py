"""The device that peers are compared on: the agent installed as on a device, and namespaces in which /etc is ours.

The agent comes by `pip install` of this checkout into an environment of its own: the developers' one has packages of
the controller and of tests, which change what the agent's import.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
WAIN = "WAINWRIGHT_BENCHMARK_WAIN"
"""Environment: the installed program; set inside of the namespaces only."""


def enter_device(*more: str) -> None:
    """Install the agent, and begin again in a mount namespace, and those that options of unshare(1) name.

    Returns inside of them only; outside it ends the program with the inner one's status.
    """
    if WAIN in os.environ:
        return
    again = [sys.executable, "-m", *sys.orig_argv[sys.orig_argv.index("-m") + 1 :]]
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    with tempfile.TemporaryDirectory(prefix="wb-") as name:
        folder = Path(name) / "device"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", str(CHECKOUT)]
        subprocess.run(pip, check=True)
        env = os.environ | {WAIN: str(folder / "bin" / "wain")}
        ended = subprocess.run(["unshare", *user, "--mount", *more, *again], env=env, check=False)
    sys.exit(ended.returncode)


def wain() -> str:
    """Return the installed agent's program; raises RuntimeError outside of the namespaces."""
    _require_namespaces()
    return os.environ[WAIN]


@contextmanager
def bound(source: Path, target: str) -> Iterator[None]:
    """Have a folder seen at another place, by us and what we run, for a while."""
    run_as_root("mount", "--bind", str(source), target)
    try:
        yield
    finally:
        run_as_root("umount", target)


def run_as_root(*argv: str) -> None:
    """Run a program that would change the machine itself outside of the namespaces; it must succeed."""
    _require_namespaces()
    subprocess.run(argv, check=True, capture_output=True)


def _require_namespaces() -> None:
    if WAIN not in os.environ:
        raise RuntimeError("enter_device must be called first: this would change the machine itself")
