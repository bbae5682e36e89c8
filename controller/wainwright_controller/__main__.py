"""The entry point of `wainwright`."""

from __future__ import annotations

import sys

EXTRA = frozenset({"aiomqtt", "alembic", "click", "fastapi", "rich", "sqlalchemy", "sqlmodel", "uvicorn"})


def main() -> None:
    """Run the command; where the controller's part of the installation is missing, say how to get it."""
    try:
        from wainwright_controller.cli.main import wainwright

        wainwright()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        sys.stderr.write(
            f"error: The operator's command needs {error.name}, which a device's installation does not have:"
            " install 'wainwright[controller]'.\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
