"""What every operation does around its own work: one transaction, then wake and tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, select

from wainwright_common.errors import WainwrightError
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.witness import Witness
from wainwright_controller.records import Deployment, Device
from wainwright_controller.rows import GROUP
from wainwright_controller.store import Store
from wainwright_controller.waker import Waker

LISTED_MAX = 5  # ids that an error names before it says "and n more"


class NotFound(WainwrightError):  # noqa: N818  the name is the sentence: "not found: …"
    """There is no such device, group, artifact, release or deployment: `noun`, where somebody asks which."""

    def __init__(self, text: str, noun: str = "") -> None:
        super().__init__(text)
        self.noun = noun


def listed(ids: Sequence[str]) -> str:
    """Print ids for a sentence, the first few of many."""
    more = f" and {len(ids) - LISTED_MAX} more" if len(ids) > LISTED_MAX else ""
    return ", ".join(ids[:LISTED_MAX]) + more


def group_filter(connection: Connection, name: str) -> str | None:
    """Return the filter of a dynamic group, None of a static one; raises NotFound."""
    stored = connection.execute(select(GROUP.c.filter).where(GROUP.c.name == name)).first()
    if stored is None:
        raise NotFound(f"No such group: {name}. `wainwright group list` shows all.", "group")
    condition: str | None = stored.filter
    return condition


class Operator:
    """Base of the operations; safe to share between threads.

    A deployment to more than `approval_above` devices asks for an approval; None asks for none.
    """

    def __init__(
        self,
        store: Store,
        bulletin: Bulletin,
        waker: Waker,
        clock: Callable[[], float] = time.time,
        *,
        approval_above: int | None = None,
    ) -> None:
        self.store = store
        self._bulletin = bulletin
        self._waker = waker
        self._clock = clock
        self.approval_above = approval_above

    @contextmanager
    def _transaction(self) -> Iterator[Witness]:
        """Yield a ledger that is flushed, entered in the audit log and committed at the end; then wake and tell."""
        with self.store.write() as connection:
            ledger = Witness(connection, self._clock())
            yield ledger
            ledger.flush()
            ledger.testify()
        self._waker.deliver(ledger)
        self._bulletin.post(ledger.changed, is_more=True)  # a person did something: the audit log says so

    def _device(self, ledger: Ledger, device_id: str) -> Device:
        ledger.load_devices([device_id])
        if device_id not in ledger.devices:
            raise NotFound(f"No such device: {device_id}. `wainwright device list` shows all.")
        return ledger.devices[device_id]

    @staticmethod
    def _group(connection: Connection, name: str) -> None:
        group_filter(connection, name)

    @staticmethod
    def _deployment(ledger: Ledger, deployment_id: str) -> Deployment:
        ledger.load_deployments([deployment_id])
        if deployment_id not in ledger.deployments:
            raise NotFound(f"No such deployment: {deployment_id}. `wainwright deployment list` shows all.")
        return ledger.deployments[deployment_id]
