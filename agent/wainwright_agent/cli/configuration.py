"""`wain config show` and `config check`."""

from __future__ import annotations

import json
from typing import Any

from wainwright_agent import identity
from wainwright_agent.cli.exits import Exit
from wainwright_agent.cli.output import complain, say, say_json
from wainwright_agent.config import Config
from wainwright_agent.identity import IdentityError
from wainwright_agent.redaction import redacted_settings
from wainwright_common import settings


def show_config(config: Config, output: str) -> Exit:
    """Print every setting as it is in effect; secrets are hidden."""
    values = redacted_settings(config)
    if output == "json":
        say_json(values)
        return Exit.DONE
    table: tuple[str, ...] = ()
    for path, _, _ in settings.leaves(Config):
        key = path[-1]
        if path[:-1] != table:
            table = path[:-1]
            say(f"\n[{'.'.join(table)}]")
        value: Any = values
        for part in path:
            value = value[part]
        # A JSON text, number, truth value or list of texts is one of TOML, too.
        say(f"# {key} is not set" if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return Exit.DONE


def check_config(config: Config) -> Exit:
    """Say whether the agent can start with a configuration that could be read."""
    problems = []
    try:
        name = identity.device_id(config)
    except IdentityError as error:
        problems.append(str(error))
    broker = config.broker
    files = {"broker.ca": broker.ca, "broker.certificate": broker.certificate, "broker.key": broker.key}
    if config.enrolment.url:  # they come by themselves
        files = {"enrolment.ca": config.enrolment.ca}
    files |= {f"update.verify_keys: {file}": file for file in config.update.verify_keys}
    problems += [f"{key}: there is no file {file}." for key, file in files.items() if file and not file.is_file()]
    for problem in problems:
        complain(problem)
    if problems:
        return Exit.FAILED
    say(f"The configuration is valid: device {name} of type {config.device_type}, broker {broker.url}.")
    return Exit.DONE
