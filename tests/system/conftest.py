"""What the system tests share: release names of their own, so that tests on one system do not meet."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def release(request: pytest.FixtureRequest) -> str:
    """A release name that no other test uses."""
    name: str = request.node.name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]
