"""What must hold whatever fleets, plans, failures and people do: random histories on a virtual clock.

Each example is a fleet with its deployments: devices come, ask, report in and out of order, fail, fall silent, fall
back and commit in the last moment; people do whatever they like. After every step the store is compared with the rules'
words (invariants.py). At the end people let everything go on and every device behaves: then everything must end.

    pytest tests/controller/rollouts/test_invariants.py                           40 of them
    HISTORIES=20000 pytest -m long tests/controller/rollouts/test_invariants.py   20,000
    SHRINK=1 makes a history that fails as short as possible, which takes minutes
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.controller.rollouts.invariants import Watch
from tests.controller.rollouts.player import Player
from tests.controller.rollouts.world import World
from wainwright_controller.operations import NotFound, Operations
from wainwright_controller.records import Deployment, Kind
from wainwright_controller.rules.actions import Act, Refused, Stage, allowed, stage_of
from wainwright_controller.rules.phases import BadPlan
from wainwright_controller.store import Store

HISTORIES = 40
LONG_HISTORIES = 20_000
STEPS = 40
TOLD_EVERY = 500  # histories: with `pytest -s`, how far it is
RELEASES = ("os-1", "os-2", "os-3")
ROUNDS_MAX = 600  # of the whole fleet asking, until everything has ended
DONE: Counter[str] = Counter()

_FOLDER = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())

phase = st.fixed_dictionaries(
    {},
    optional={
        "opens": st.sampled_from(["now", "after", "approval"]),
        "delay_s": st.sampled_from([0.0, 60.0]),
        "soak_s": st.sampled_from([0.0, 120.0]),
    },
)
sizes = st.sampled_from([{"count": 1}, {"count": 2}, {"percent": 10}, {"percent": 34}])
plans = st.lists(st.tuples(sizes, phase), max_size=2).flatmap(
    lambda some: phase.map(lambda last: [size | one for size, one in some] + [last | {"soak_s": 0.0}])
)
limits = st.lists(
    st.tuples(
        st.sampled_from([{"count": 0}, {"count": 1}, {"percent": 30, "min_sample": 2}, {"percent": 0}]),
        st.sampled_from([(), ("no-space",), ("regressed",), ("install-failed", "timeout")]),
        st.sampled_from(["pause", "abort", "rollback"]),
    ).map(lambda t: t[0] | ({"codes": list(t[1])} if t[1] else {}) | {"action": t[2]}),
    max_size=2,
)
paces = st.sampled_from(
    [
        {},
        {},
        {"per_minute": 2},
        {"concurrency": 1},
        {"concurrency": 2, "per_minute": 6},
        {"per_minute": 1, "factor": 2, "every": 2, "max_per_minute": 8},
    ]
)
orders = st.fixed_dictionaries(
    {"release": st.sampled_from(RELEASES), "phases": plans, "limits": limits, "pace": paces},
    optional={
        "retries": st.integers(0, 2),
        "force": st.booleans(),
        "manual": st.sampled_from([False, False, False, True]),
        "approval": st.sampled_from([False, False, False, True]),
        "time_limits": st.just({"attempt_s": 3600, "installing_s": 1800}),
    },
)
targets = st.sampled_from(
    [
        {"all_devices": True},
        {"devices": ["d0", "d1"]},
        {"where": 'inventory.site = "north"'},
        {"where": 'inventory.site = "north"', "max_devices": 2},
        {"where": "device_type exists"},
    ]
)


_STEPS = st.sampled_from(
    [[], [], ["on"], ["succeed"], ["on", "succeed"], ["on", "on", "on"], ["fail"], ["on", "fail"], ["fail-for-good"]]
)


class Histories(RuleBasedStateMachine):
    """One fleet and its deployments."""

    template: Path
    store: Store
    """One for all histories, so that no statement is compiled twice; each history begins with the template's bytes."""

    @initialize(sites=st.lists(st.sampled_from(["north", "south"]), min_size=2, max_size=5), order=orders, to=targets)
    def begin(self, sites: list[str], order: dict[str, Any], to: dict[str, Any]) -> None:
        self._put_back()
        self.world = World(self.store)
        self.watch = Watch(self.world)
        self.players: list[Player] = []
        self.made: list[str] = []
        for site in sites:
            self.come(site)
        self.make(order, to)

    def _put_back(self) -> None:
        self.store.close()
        for suffix in ("-wal", "-shm"):
            (self.template.parent / f"store.db{suffix}").unlink(missing_ok=True)
        shutil.copy(self.template, self.template.parent / "store.db")

    def come(self, site: str) -> None:
        player = Player(self.world, self.watch, f"d{len(self.players)}", site)
        player.come()
        self.players.append(player)

    # ---- devices ----------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.players) < 7)
    @rule(site=st.sampled_from(["north", "south"]))
    def a_device_comes(self, site: str) -> None:
        self.come(site)

    @rule(data=st.data(), size=st.integers(1, 7), steps=_STEPS)
    def devices_work(self, data: st.DataObject, size: int, steps: list[str]) -> None:
        """Some ask in one batch, and go on with what they were offered."""
        some = data.draw(st.permutations(self.players))[:size]
        Player.ask_together(self.world, some)
        for player in some:
            for step in steps:
                player.go_on(step)

    @rule(data=st.data(), size=st.integers(1, 7), step=st.sampled_from(["on", "succeed", "fail", "fail-for-good"]))
    def devices_go_on(self, data: st.DataObject, size: int, step: str) -> None:
        for player in data.draw(st.permutations(self.players))[:size]:
            player.go_on(step)

    @rule(
        data=st.data(),
        what=st.sampled_from(["repeat", "late", "fall-back", "offline", "online", "lose", "decommission"]),
    )
    def something_happens_to_a_device(self, data: st.DataObject, what: str) -> None:
        data.draw(st.sampled_from(self.players)).suffer(what)

    # ---- time and people --------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 10.0, 61.0, 130.0, 2000.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(seconds=st.sampled_from([61.0, 3000.0, 100_000.0, -3000.0]))
    def nobody_is_there(self, seconds: float) -> None:
        """The controller is away, or its clock is set: no device is to blame."""
        before = self.watch.timeouts()
        if seconds < 0:
            self.watch.forget_times()
        self.world.set_clock(seconds)
        assert self.watch.timeouts() == before, "a device was given up that nobody could hear"

    @precondition(lambda self: len(self.made) < 4)
    @rule(order=orders, to=targets)
    def a_deployment_is_made(self, order: dict[str, Any], to: dict[str, Any]) -> None:
        self.make(order, to)

    def make(self, order: dict[str, Any], to: dict[str, Any]) -> None:
        with contextlib.suppress(BadPlan, NotFound):  # all its devices may be decommissioned by now
            self.made.append(self.world.create(**order, **to).id)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), keeps_to_the_table=st.sampled_from([True, True, True, False]))
    def somebody_acts(self, data: st.DataObject, keeps_to_the_table: bool) -> None:  # noqa: FBT001  hypothesis passes it
        deployments = self.watch.deployments()
        if deployments:
            deployment = data.draw(st.sampled_from(deployments))
            may = allowed(deployment) if keeps_to_the_table else []
            self.act(data.draw(st.sampled_from(may or list(Act))), deployment)

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def somebody_looks_what_is_possible(self, data: st.DataObject) -> None:
        """What is shown as possible is not refused, and what is shown as refused is, by the same words."""
        deployments = self.watch.deployments()
        if deployments:
            deployment = data.draw(st.sampled_from(deployments))
            shown, refused = self.world.shown(deployment.id), self.world.refused(deployment.id)
            assert shown.refused is not None
            assert {act: (why.code, why.text) for act, why in shown.refused.items()} == refused
            assert shown.allowed == [act for act in Act if act not in refused]
            DONE["looks"] += 1
            for code in {code for code, _ in refused.values()}:
                DONE[code] += 1

    def act(self, act: Act, deployment: Deployment) -> None:
        """Do it; it must be refused exactly when the table says so, or for a reason of its own."""
        may = act in allowed(deployment)
        do = getattr(Operations, act.value)
        try:
            made = do(self.world.operations, deployment.id, "anton")
        except Refused as refused:
            nothing = {"nothing-to-promote", "nothing-to-retry", "nothing-to-roll-back"}
            if may and refused.code not in nothing | {"not-started", "is-a-rollback", "rolled-back"}:
                raise AssertionError(f"{act} of {stage_of(deployment)} refused: {refused}") from refused
        else:
            assert may, f"{act} of {stage_of(deployment)} was done"
            DONE[act.value] += 1
            if act is Act.RETRY:
                self.watch.check_retry(deployment, made, self.players)
            if act is Act.DELETE:
                self.watch.forget(deployment.id)

    @invariant()
    def the_store_keeps_the_rules(self) -> None:
        if hasattr(self, "watch"):
            self.watch.check()

    # ---- the end ----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "watch"):
            self.everything_ends()

    def everything_ends(self) -> None:
        """Let people and devices behave: everything must end, and every rollback leave only whom it listed."""
        for _ in range(ROUNDS_MAX):
            running = [d for d in self.watch.deployments() if stage_of(d) is not Stage.FINISHED]
            if not running:
                break
            for deployment in running:
                self._let_go(deployment)
            for player in self.players:
                player.behave()
            self.world.pass_time(130.0)
            self.watch.check()
        else:
            raise AssertionError(f"these do not end: {[self._about(d) for d in running]}")
        self.watch.check_rollbacks(self.players)
        DONE["histories"] += 1
        DONE["deployments"] += len(self.watch.deployments())
        DONE["offers"] += self.watch.offers
        if DONE["histories"] % TOLD_EVERY == 0:
            print(f"so far: {dict(DONE)}", flush=True)

    def _about(self, deployment: Deployment) -> str:
        """Say what a deployment is left with."""
        parts = self.world.parts(deployment.id).values()
        left = [
            f"{p.device_id} {p.status} {p.attempt} {p.offered} {p.next_attempt_at}" for p in parts if not p.finished_at
        ]
        whys = {p.id: (p.why, p.status, p.runs, p.is_online) for p in self.players}
        return f"{deployment.sequence} {stage_of(deployment)} of {deployment.artifact_name}: {left} {whys}"

    def _let_go(self, deployment: Deployment) -> None:
        useful = {
            Stage.AWAITING_APPROVAL: Act.APPROVE,
            Stage.AWAITING_START: Act.START,
            Stage.AWAITING_PROMOTION: Act.PROMOTE,
            Stage.PAUSED: Act.RESUME,
        }
        act = useful.get(stage_of(deployment))
        if act is None and deployment.kind is Kind.DYNAMIC and deployment.closed_at is None:
            act = Act.FINISH
        if act is not None:
            self.act(act, deployment)


@pytest.fixture(scope="module", autouse=True)
def _template() -> Iterator[None]:
    """A store with the releases in it, made once: every history begins with a copy."""
    folder = Path(tempfile.mkdtemp(dir=_FOLDER))
    store = Store(f"sqlite:///{folder / 'template.db'}")
    store.upgrade()
    world = World(store)
    for name in RELEASES[:2]:
        world.release(name)
    world.release(RELEASES[2])
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM event")
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    Histories.template = folder / "template.db"
    Histories.store = Store(f"sqlite:///{folder / 'store.db'}")
    yield
    Histories.store.close()
    shutil.rmtree(folder)


def _run(histories: int, steps: int) -> None:
    DONE.clear()
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if os.environ.get("SHRINK") else [Phase.generate],
        ),
    )
    print(f"{DONE.pop('histories')} histories: {dict(DONE)}")


@pytest.mark.timeout(600)  # a quarter of a minute on a quiet machine
def test_random_histories_keep_the_rules_and_end() -> None:
    _run(HISTORIES, STEPS)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("part", range(2))
def test_very_many_random_histories_keep_the_rules_and_end(part: int) -> None:  # noqa: ARG001  a worker each
    _run(int(os.environ.get("HISTORIES", str(LONG_HISTORIES))) // 2, STEPS)
