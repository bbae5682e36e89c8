"""The lab of the updater's tests, for updates by the agent itself."""

from __future__ import annotations

from tests.agent.update.conftest import lab, web

__all__ = ["lab", "web"]
