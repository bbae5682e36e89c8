"""Looks at live pages that several people share, and how often they may be.

1. A rendering is good until the next commit. Who has seen an older one already, and has no newer to compare it with, is
   given what was rendered within the pause, too, and looks again after it: then a page costs the same whether one
   person has it open or a hundred, while something is committed all the time.
2. The pause is such that all pages together take LOOK_PART of a processor: devices come first. A page that costs so
   much that it would take more than ONE_PART by itself is looked at less often, and does not slow the others' looks.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from wainwright_controller.people import Actor
from wainwright_controller.web.rendering import Viewer

LOOKS_PER_S = 2  # an eye does not follow more, and each costs the controller a few milliseconds
LOOK_PART = 0.04  # of a processor's time, that the looks of all pages may take
PAUSE_OF_ONE_S = 0.8  # at most, for each page that is open: few pages show within a second what is reported
ONE_PART = 0.1  # of a processor's time, that one page may take
ONE_MAX_S = 60.0  # between two looks at a page that costs as much as a list of groups with large filters
PAUSE_MAX_S = 5.0  # between two looks at a large page, among many, while something happens all the time
RENDERING_MAX_S = 2.5  # how old one may get without a commit: half of what a page waits without news
KEPT_MAX = 64  # renderings that are shared at once; each is some 50 kB


class Region(NamedTuple):
    """A piece of a page: its HTML, and for a list its rows by their element's id, whose HTML is in it."""

    html: str
    rows: Mapping[str, str] = {}


Regions = Mapping[str, Region]
"""The regions of a page by the id of the element that each fills."""


class Rendering(NamedTuple):
    """What a page shows since posting `number`; begun at `at`, by the monotonic clock, it cost `cost_s`."""

    regions: Regions | None
    number: int
    at: float
    cost_s: float
    """Of a processor; others' work beside it does not count."""


class Shared:
    """The last renderings, by what was looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[threading.Lock, list[Rendering]]] = OrderedDict()

    def look(
        self, look: Callable[[Viewer], Regions], actor: Actor, params: str, number: int, within_s: float = 0.0
    ) -> Rendering:
        """Return what somebody sees: what others of his role see, too, unless it turned out to be about him.

        `number` and `within_s` are as for `get`.
        """

        def for_all() -> Regions | None:
            viewer = Viewer(actor, can_sign_out=False)
            regions = look(viewer)
            return None if viewer.is_personal else regions

        found = self.get((params, actor.role), number, for_all, within_s)
        if found.regions is None:
            own = (params, actor.role, actor.name)
            found = self.get(own, number, lambda: look(Viewer(actor, can_sign_out=False)), within_s)
        return found

    def get(self, key: object, number: int, make: Callable[[], Regions | None], within_s: float = 0.0) -> Rendering:
        """Return what `make` gave for a key since posting `number`, or within these seconds, or let it give it now.

        One caller at a time; the others wait for what it gets.
        """
        with self._lock:
            lock, kept = self._kept.setdefault(key, (threading.Lock(), []))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        with lock:
            at, began = time.monotonic(), time.thread_time()
            if kept:
                good_s = RENDERING_MAX_S if kept[0].number >= number else within_s
                if at - kept[0].at < good_s:
                    return kept[0]
            regions = make()
            kept[:] = [Rendering(regions, number, at, time.thread_time() - began)]
            return kept[0]

    def pause_s(self, latest: Rendering) -> float:
        """Return for how many seconds after its latest rendering a page is not rendered again."""
        since = time.monotonic() - 2 * PAUSE_MAX_S
        with self._lock:
            costs = [kept[0].cost_s for _, kept in self._kept.values() if kept and kept[0].at >= since]
        return pause_after(latest.cost_s, costs)


def pause_after(cost_s: float, costs: Sequence[float]) -> float:
    """Return the pause after a look that took `cost_s` of a processor, where looks at all pages take `costs`."""
    own_s = min(cost_s / ONE_PART, ONE_MAX_S)
    round_s = sum(min(one, ONE_PART * PAUSE_MAX_S) for one in costs) / LOOK_PART
    return max(1 / LOOKS_PER_S, own_s, min(round_s, max(len(costs), 1) * PAUSE_OF_ONE_S, PAUSE_MAX_S))
