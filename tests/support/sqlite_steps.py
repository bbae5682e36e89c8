"""How much SQLite does for a question: a figure that no other work of the machine changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection


def steps_of(connection: Connection, question: Callable[[], object]) -> int:
    """Return how many steps SQLite's machine takes until a question is answered."""
    steps: list[int] = []
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(lambda: steps.append(1), 1)
    try:
        question()
    finally:
        driver.set_progress_handler(None, 1)
    return len(steps)
