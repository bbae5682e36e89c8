"""`wain run`: the service."""

from __future__ import annotations

from wainwright_agent.cli.exits import Exit
from wainwright_agent.config import Config
from wainwright_agent.service import Service
from wainwright_agent.supervisor import log_to_stderr


def run(config: Config) -> Exit:
    """Run the agent until a signal ends it."""
    log_to_stderr(config.log.level)
    Service(config).run()
    return Exit.DONE
