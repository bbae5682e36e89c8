"""What is read of a deployment's devices is what a rollback and a retry then find: for every way that a part can stand.

One deployment for each way, with one part; the operations' own functions say what is expected.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from sqlalchemy import insert

from tests.controller.rules.samples import NOW, artifact, deployment, device, part, phase
from tests.support.sqlite_steps import steps_of
from wainwright_common.codes import Code
from wainwright_common.statuses import FINISHED, DeploymentStatus, DeviceStatus
from wainwright_controller import rollbacks
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.deployments import _failed_devices
from wainwright_controller.prospects import prospects
from wainwright_controller.records import Device, DeviceDeployment, DeviceState
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, DEVICE, PART, PHASE, TALLY, to_row
from wainwright_controller.store import Store

ENDED = sorted(FINISHED)


UNDONE = [
    # How its part in a rollback ended, and what it ran before: panel-1 is in the store.
    (None, None),
    (DeviceStatus.SUCCESS, "panel-1"),
    (DeviceStatus.ABORTED, "panel-1"),
    (DeviceStatus.NOARTIFACT, "panel-0"),
]


def ways() -> Iterator[tuple[Device, DeviceDeployment, DeviceStatus | None]]:
    """Yield every way a device can stand in a deployment of panel-2 that has ended, and in its rollback."""
    offers = [(False, 1), (True, 1), (False, 2), (True, 2)]
    asked = [None, NOW - 50, NOW + 50]
    errors = [None, Code.TIMEOUT, Code.NO_SPACE]
    runs = ["panel-1", "panel-2"]
    for status, (is_offered, attempt), at, release in itertools.product(ENDED, offers, asked, runs):
        if status is DeviceStatus.SUCCESS and not is_offered:
            continue  # nobody succeeds with what was not offered
        for code in errors if status is DeviceStatus.FAILURE else errors[:1]:
            for state in (DeviceState.ACCEPTED, DeviceState.DECOMMISSIONED):
                ended = part(status=status, offered=is_offered, attempt=attempt, error_code=code, finished_at=NOW)
                for undone, former in UNDONE if is_offered else UNDONE[:1]:
                    yield (
                        device(last_check_in_at=at, artifact_name=release, state=state),
                        replace(ended, former_name=former),
                        undone,
                    )


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_what_is_read_is_what_the_operations_find(store: Store) -> None:
    made = []
    with store.write() as connection:
        connection.execute(insert(ARTIFACT), to_row(artifact(name="panel-1")))
        for number, (who, stands, undone) in enumerate(ways()):
            name = f"n{number}"
            one = deployment(id=name, name=name, sequence=number, status=DeploymentStatus.FINISHED)
            if undone is not None:
                one = replace(one, rollback_id=f"r{number}", rollback_ended_at=NOW)
                child = replace(one, id=f"r{number}", sequence=10**6 + number, rolls_back=name, rollback_id=None)
                back = part(deployment_id=child.id, device_id=name, sequence=child.sequence, status=undone)
                connection.execute(insert(DEPLOYMENT), to_row(child))
                connection.execute(insert(PART), to_row(back))
            stood = replace(stands, deployment_id=name, device_id=name, sequence=number)
            connection.execute(insert(DEVICE), to_row(replace(who, id=name)) | {"attributes": "{}"})
            connection.execute(insert(DEPLOYMENT), to_row(one))
            connection.execute(insert(PART), to_row(stood))
            row = {"deployment_id": name, "phase": 1, "status": stood.status, "n": 1}
            connection.execute(insert(TALLY), row)
            connection.execute(insert(PHASE), to_row(phase(deployment_id=name, opened_at=NOW - 100)))
            made.append((one, stood))
    with store.read() as connection:
        tallies = {one.id: {(1, stood.status): 1} for one, stood in made}
        found = prospects(connection, [one for one, _ in made], tallies)
        ledger = Ledger(connection, NOW)
        for one, stood in made:
            concerned, _ = rollbacks.what_it_restores(ledger, one)
            assert found[one.id].has_release == bool(concerned), stood
            assert found[one.id].has_failed == bool(_failed_devices(ledger, one.id)), stood
    assert {(p.has_failed, p.has_release) for p in found.values()} == set(itertools.product((False, True), repeat=2))


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_what_was_never_offered_costs_nothing(store: Store) -> None:
    """Of a canary that was stopped and undone that is nearly all, and nobody is found among the rest."""
    costs = []
    for number, waiting in enumerate((2, 200)):
        name = f"n{number}"
        one = deployment(id=name, name=name, sequence=number, status=DeploymentStatus.FINISHED)
        there = {(1, DeviceStatus.FAILURE): 1, (2, DeviceStatus.ABORTED): waiting}
        parts = [part(status=DeviceStatus.FAILURE, error_code=Code.NO_SPACE, offered=True)]
        parts += [part(phase=2, status=DeviceStatus.ABORTED)] * waiting
        with store.write() as connection:
            connection.execute(insert(DEPLOYMENT), to_row(one))
            for phase_number, opened_at in ((1, NOW - 100), (2, None)):
                opened = phase(deployment_id=name, number=phase_number, opened_at=opened_at)
                connection.execute(insert(PHASE), to_row(opened))
            for count, ended in enumerate(parts):
                who = f"{name}-{count}"
                stands = replace(ended, deployment_id=name, device_id=who, sequence=number, finished_at=NOW)
                connection.execute(insert(DEVICE), to_row(device(id=who)) | {"attributes": "{}"})
                connection.execute(insert(PART), to_row(stands))
            for (phase_number, status), n in there.items():
                row = {"deployment_id": name, "phase": phase_number, "status": status, "n": n}
                connection.execute(insert(TALLY), row)
        with store.read() as connection:
            assert not prospects(connection, [one], {name: there})[name].has_release
            costs.append(steps_of(connection, lambda: prospects(connection, [one], {name: there})))  # noqa: B023  at once
    assert costs[1] == costs[0]
