"""Pages whose transcripts are of real runs: what their comments name is done, in the page's order, and what it showed
is put behind the comment.

    <!-- transcript: COMMAND; COMMAND -->   what the commands print, and their exit codes other than 0
    <!-- meanwhile: WORDS -->               what happens between two transcripts, by the words that the scene has for it

A scene may have more kinds of comments. What differs from run to run it replaces by something that does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

_BLOCK = re.compile(r"(<!-- ([a-z]+): ([^>]*?) -->\n)(?:```console\n(.*?)```\n)?", re.DOTALL)


class Scene(Protocol):
    """Where a page plays. `meanwhile` are the words for what happens, and `kinds` what is done with other comments."""

    @property
    def meanwhile(self) -> Mapping[str, Callable[[], None]]:
        """What happens between transcripts."""

    @property
    def kinds(self) -> Mapping[str, Callable[[str], str | None]]:
        """What other comments do with their words; returns what is put behind them, None for nothing."""

    def shown(self, command: str) -> str:
        """Return what a terminal shows when a command is typed."""

    def constant(self, text: str) -> str:
        """Return a text without what differs from run to run."""


def render(page: str, scene: Scene) -> str:
    """Return a page with the transcripts of this run of its scene."""

    def replay(found: re.Match[str]) -> str:
        comment, kind, words, _ = found.groups()
        if kind == "meanwhile":
            scene.meanwhile[words]()
            return comment
        if kind == "transcript":
            shown: str | None = "".join(scene.shown(command) for command in words.split("; "))
        elif kind in scene.kinds:
            shown = scene.kinds[kind](words)
        else:
            return found[0]
        return comment if shown is None else f"{comment}```console\n{scene.constant(shown)}```\n"

    return _BLOCK.sub(replay, page)


def typed(command: str, shown: str, code: int) -> str:
    """Return a transcript of a command, with its exit code if that is not 0."""
    return f"$ {command}\n{shown}" + (f"$ echo $?\n{code}\n" if code else "")


def commands_of(page: str, kind: str = "transcript") -> list[str]:
    """Return the words of a page's comments of one kind, in their order."""
    return [words for _, found, words, _ in _BLOCK.findall(page) if found == kind]
