"""What to try after the demo: commands that work as they are printed, wherever the program was installed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from wainwright_controller.cli.settings import CONTROLLER
from wainwright_controller.demo.stage import Stage
from wainwright_controller.demo.verdict import Facts, Plan


def where_to_look(stage: Stage, plan: Plan, facts: Facts, *, keep: bool) -> Iterator[str]:
    """Return the lines about what to try next; sentences, and commands that begin with two spaces."""
    return _running(stage, plan, facts) if keep else _ended(is_secure=stage.ca is not None)


def _ended(*, is_secure: bool) -> Iterator[str]:
    yield "To leave all this running, and play with it:"
    yield "  make demo ARGS=--keep" if "MAKELEVEL" in os.environ else f"  {program('wainwright')} demo --keep"
    if not is_secure:
        yield "With TLS, certificates and signatures:"
        yield "  make demo ARGS=--secure" if "MAKELEVEL" in os.environ else f"  {program('wainwright')} demo --secure"
    yield "To go on reading:"
    yield "  README.md                 a controller and an agent of your own"
    yield "  docs/cli.md               rollouts: canaries, batches, times, approval"
    yield "  docs/update-modules.md    how software is installed, and goes back"


def _running(stage: Stage, plan: Plan, facts: Facts) -> Iterator[str]:
    wainwright = program("wainwright")
    rigged = next(device for device in stage.devices if device.id == plan.rigged)
    yield f"Still running, in {stage.folder}; Ctrl+C ends and removes it."
    yield f"In a browser, live: {stage.url}"
    yield "In another terminal, try:"
    if stage.url != os.environ.get("WAINWRIGHT_CONTROLLER", CONTROLLER):
        yield f"  export WAINWRIGHT_CONTROLLER={stage.url}"
    if stage.ca is not None:
        yield f"  export WAINWRIGHT_CA={stage.ca}"
    yield f"  {wainwright} device list"
    yield f"  {wainwright} deployment show {facts.deployment['id'][:8]}"
    yield f"  {wainwright} why {plan.rigged}"
    yield f"  rm {rigged.folder / 'rigged'}   # repair it, then roll out again:"
    yield f"  {wainwright} deployment create {plan.release} --device {plan.rigged} --watch"
    yield f"  {program('wain')} --config {rigged.config} status"
    yield f"  tail -f {stage.logs / 'controller.log'}"


def program(name: str) -> str:
    """Return how a shell starts `wainwright` or `wain` of this installation: by its name only if that finds it."""
    ours = Path(sys.argv[0]).absolute().with_name(name)
    if not ours.is_file():  # started as a module
        module = "wainwright_controller" if name == "wainwright" else "wainwright_agent"
        return f"{shlex.quote(sys.executable)} -m {module}"
    found = shutil.which(name)
    return name if found is not None and Path(found).absolute() == ours else shlex.quote(str(ours))
