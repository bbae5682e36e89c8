"""`wainwright-agent`, `wain` and `python -m wainwright_agent`."""

from __future__ import annotations

import sys

from wainwright_agent.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
