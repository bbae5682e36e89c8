"""docs/rollouts.md: its table of actions, generated from the table of actions, and its table of tests.

To write it anew: python -m tests.support.rollouts_page
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import features_page
from wainwright_controller.rules.actions import ALLOWED, Act, Stage, code_of

PAGE = Path(__file__).parents[2] / "docs" / "rollouts.md"


def render(page: str) -> str:
    """Return the page with its tables as they should be."""
    for name, table in (("actions", _table()), ("features", features_page.table())):
        place = re.compile(rf"(<!-- {name}: generated -->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
        page, count = place.subn(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[3]}", page)  # type: ignore[misc]  # bound for the loop
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
