"""Journals of other versions of the agent: what a new root on trial leaves for the former one, should that come back.

A later agent may write a schema that this one cannot read. If its root is given up, the bootloader or its own rollback
starts the former root, and an agent that then refused its journal would be out of everybody's reach. So:

1. An agent that finds a journal of an older schema with an update in it keeps that, as it is, before it writes its own.
2. An agent that finds a journal of a newer schema goes on with the one that was kept of its own. What the newer agent
   did is not in it: the step that ended in the reboot is checked again, and fails.
3. What was kept goes with the end of the update: later it would be another update's past.
4. Where none was kept, nobody can know what is under way: journal.py refuses.

    <data_dir>/journal.json.schema-1   the last of schema 1
"""

from __future__ import annotations

import os
from pathlib import Path


def kept(journal: Path, schema: int) -> Path:
    """Return where the last journal of a schema is kept."""
    return journal.with_name(f"{journal.name}.schema-{schema}")


def keep(source: Path, journal: Path, schema: int) -> None:
    """Keep a file with a journal of an older schema; raises OSError. The caller syncs the folder."""
    # A link is a copy: the file of a journal is replaced, and never written to.
    spare = journal.with_name(f"{journal.name}.keep")
    spare.unlink(missing_ok=True)
    os.link(source, spare)
    spare.replace(kept(journal, schema))
    spare.unlink(missing_ok=True)  # it was kept already: then the rename has done nothing


def forget(journal: Path) -> None:
    """Remove what was kept; raises OSError."""
    for file in journal.parent.glob(f"{journal.name}.schema-*"):
        file.unlink(missing_ok=True)
