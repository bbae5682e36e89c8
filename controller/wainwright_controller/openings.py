"""The dynamic deployments that take devices, and which of them a device matches, without trying all their filters.

Filters of deployments never change, so their index is made when one is added or closed, and kept across transactions.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Connection, select

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.records import Kind
from wainwright_controller.rows import DEPLOYMENT
from wainwright_controller.rules.filters import Attributes, FilterIndex, parse

UNFINISHED = [status for status in DeploymentStatus if status is not DeploymentStatus.FINISHED]
_parsed = lru_cache(maxsize=4096)(parse)  # those that stay open are not parsed again when one is added


class Openings:
    """See the module; as the store has them in this transaction, in the order in which they were made."""

    def __init__(self, connection: Connection) -> None:
        takes = (DEPLOYMENT.c.kind == Kind.DYNAMIC, DEPLOYMENT.c.closed_at.is_(None))
        query = select(DEPLOYMENT.c.id, DEPLOYMENT.c.filter).where(*takes, DEPLOYMENT.c.status.in_(UNFINISHED))
        rows = connection.execute(query.order_by(DEPLOYMENT.c.sequence))
        self._filters = tuple((row.id, row.filter or "") for row in rows)

    def __bool__(self) -> bool:
        return bool(self._filters)

    def matching(self, attributes: Attributes) -> list[str]:
        """Return the ids of the deployments whose filter these attributes meet."""
        return _index(self._filters).matching(attributes)


@lru_cache(maxsize=2)
def _index(filters: tuple[tuple[str, str], ...]) -> FilterIndex[str]:
    return FilterIndex({deployment_id: _parsed(text) for deployment_id, text in filters})
