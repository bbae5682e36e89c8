"""The transcripts in docs/agent.md are of real runs. To make them anew: python -m tests.agent.service.test_transcripts.

What differs from run to run (times, free space) is compared by its form.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.agent.service.peers import Agent
from tests.support.wait import free_port

PAGE = Path(__file__).parents[3] / "docs" / "agent.md"
TRANSCRIPT = re.compile(r"(<!-- transcript: (\S+); .*? -->\n)(.*?)(<!-- end of transcript -->)", re.DOTALL)
MODULES = ("deb", "rootfs-image")


def run(name: str, folder: Path) -> str:
    """Return what a technician sees who types the commands of a transcript."""
    assert name == "test"
    port = free_port()
    modules = folder / "modules"
    modules.mkdir()
    for module in MODULES:
        (modules / module).write_text("#!/bin/sh\n")
        (modules / module).chmod(0o755)
    agent = Agent(folder, f"mqtt://127.0.0.1:{port}", "press-07", update__modules=[str(modules)])
    agent.data_dir.mkdir()
    done = agent.wain("test")
    shown = done.stdout.replace(f"127.0.0.1:{port}", "broker.example:1883").replace(
        str(agent.data_dir), "/var/lib/wainwright"
    )
    return f"```console\n$ wain test\n{shown}$ echo $?\n{done.returncode}\n```\n"


def form_of(transcript: str) -> str:
    """Return a transcript without what differs from run to run."""
    transcript = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, .*", "TIME", transcript)
    transcript = re.sub(r"[\d.]+ [kMGT]?B free", "SIZE free", transcript)
    return re.sub(r"(modules +).*", r"\1MODULES", transcript)


def test_the_transcripts_are_what_the_commands_print(tmp_path: Path) -> None:
    transcripts = TRANSCRIPT.findall(PAGE.read_text(encoding="utf-8"))

    assert transcripts
    for number, (_, name, text, _) in enumerate(transcripts):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert form_of(run(name, folder)) == form_of(text), "run: python -m tests.agent.service.test_transcripts"


def test_a_transcript_that_differs_would_be_found() -> None:
    assert form_of("  ✓ disk  1 GB free") != form_of("  ✗ disk  2 GB free")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(
            TRANSCRIPT.sub(lambda found: found[1] + run(found[2], Path(name)) + found[4], page), encoding="utf-8"
        )
