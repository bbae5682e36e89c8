"""How many are inside at once, for each key and in all; belongs to one event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wainwright_common.errors import WainwrightError

RETRY_AFTER_S = 5  # what is answered to those who are turned away: most requests last less


class TooManyAtOnce(WainwrightError):  # noqa: N818  the name is the sentence: "refused: too many at once"
    """Somebody has as much open as one may have, or all together have."""


class Turnstile:
    """Lets in up to `each_max` of one key, and up to `all_max` of all; `what` names them in errors."""

    def __init__(self, what: str, *, each_max: int, all_max: int) -> None:
        self.what = what
        self.each_max = each_max
        self.all_max = all_max
        self.inside = 0
        self._each: Counter[str] = Counter()

    def enter(self, key: str | None) -> bool:
        """Let one in if there is room, and say so; None is counted among all only. Whoever was let in must `leave`."""
        if self.inside >= self.all_max or (key is not None and self._each[key] >= self.each_max):
            return False
        self.inside += 1
        if key is not None:
            self._each[key] += 1
        return True

    def leave(self, key: str | None) -> None:
        """Let one out who was let in with the same key."""
        self.inside -= 1
        if key is not None:
            self._each[key] -= 1
            if not self._each[key]:
                del self._each[key]

    @contextmanager
    def pass_through(self, key: str | None) -> Iterator[None]:
        """Be inside within the `with`; raises TooManyAtOnce."""
        if not self.enter(key):
            raise TooManyAtOnce(
                f"Too many {self.what} are open: at most {self.each_max} of yours at once, {self.all_max} of all."
                " Close some, or try again later."
            )
        try:
            yield
        finally:
            self.leave(key)
