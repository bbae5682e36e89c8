"""docs/rollouts.md: its table of actions, generated from the table of actions.

To write it anew: python -m tests.support.rollouts_page
"""

from __future__ import annotations

import re
from pathlib import Path

from wainwright_controller.rules.actions import ALLOWED, Act, Stage, code_of

PAGE = Path(__file__).parents[2] / "docs" / "rollouts.md"
_PLACE = re.compile(r"(<!-- actions: generated -->\n)(.*?)(<!-- end of actions -->)", re.DOTALL)


def render(page: str) -> str:
    """Return the page with its table as it should be."""
    page, count = _PLACE.subn(lambda match: f"{match[1]}\n{_table()}\n\n{match[3]}", page)
    assert count == 1
    return page


def _table() -> str:
    lines = [f"| stage | {' | '.join(f'`{act}`' for act in Act)} |", "|---" * (len(Act) + 1) + "|"]
    lines += [f"| `{stage}` | {' | '.join(_cell(act, stage) for act in Act)} |" for stage in Stage]
    return "\n".join(lines)


def _cell(act: Act, stage: Stage) -> str:
    return "yes" if stage in ALLOWED[act] else f"`{code_of(act, stage)}`"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
