"""`wain enrol`: get the device's certificate, through the service or, where none runs, by ourselves."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from wainwright_agent import identity
from wainwright_agent.cli.exits import Exit, Refused
from wainwright_agent.cli.output import complain, say, say_json, talk
from wainwright_agent.config import Config
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_agent.events import Answer

ANSWER_S = 320.0  # more than the service gives the child
EXITS = {
    "waiting": Exit.STILL_RUNNING,
    "refused": Exit.REFUSED,
    "forbidden": Exit.REFUSED,
    "nothing": Exit.NOTHING_TO_DO,
}
"""What ends otherwise has failed to reach, or to trust, the controller."""


def enrol(config: Config, arguments: Namespace) -> Exit:
    """Ask until the device has its certificate, is refused, or the time is over."""
    if not config.enrolment.url:
        raise Refused("enrolment.url is not set: there is no controller to ask for a certificate.")
    deadline = time.monotonic() + arguments.timeout
    options = {"new_key": arguments.new_key, "renew": arguments.renew}
    told = ""
    while True:
        answer = _once(config, options)
        options["new_key"] = False  # it is made by now, and under way
        if answer.get("error") != "waiting":
            break
        if told != answer["key"]:
            talk(f"This device waits to be accepted. Its key is {answer['key']}.")
            talk(f"On the controller: wainwright device accept {_name(config)}")
            told = answer["key"]
        pause_s = min(float(answer["wait_s"]), max(0.0, deadline - time.monotonic()))
        if pause_s <= 0:
            break
        time.sleep(pause_s)
    return _told(answer, arguments.output)


def _told(answer: Answer, output: str) -> Exit:
    if output == "json":
        say_json(answer)
    elif "error" in answer:
        complain(str(answer["text"]))
    else:
        say(f"{answer['enrolled']} has a certificate until {answer['until']}, for the key {answer['key']}.")
    return Exit.DONE if "error" not in answer else EXITS.get(str(answer["error"]), Exit.UNREACHABLE)


def _name(config: Config) -> str:
    return identity.device_id(config)


def _once(config: Config, options: dict[str, Any]) -> Answer:
    try:
        return next(iter(ask(config, "enrol", options, line_s=ANSWER_S)))
    except AgentUnreachable as unreachable:
        if unreachable.is_forbidden:
            raise Refused(f"{unreachable} Run this as root.") from unreachable
    return _by_ourselves(config, options)


def _by_ourselves(config: Config, options: dict[str, Any]) -> Answer:
    from wainwright_agent.credentials import Credentials
    from wainwright_agent.enrolment import RECORDS, Said, answer_of, attempt, job_of
    from wainwright_agent.processes import Surroundings
    from wainwright_common import data_folder

    try:
        data_folder.prepare(config.data_dir)
    except OSError as error:
        raise Refused(f"{config.data_dir} cannot be used: {error.strerror}. Run this as root.") from error
    device_id = _name(config)
    holding = Credentials(config.data_dir).holding(device_id)
    if holding is not None and not any(options.values()):
        return answer_of(Said(holding=holding, key=holding.key))
    job = job_of(config, device_id, new_key=bool(options["new_key"]))
    return answer_of(attempt(job, Surroundings(config.data_dir / RECORDS)))
