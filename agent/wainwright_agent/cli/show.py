"""`wain status`, `show-artifact`, `show-provides`: asked of the agent, or read from its journal if it is stopped."""

from __future__ import annotations

from typing import Any

from wainwright_agent import identity, status
from wainwright_agent.by_hand import is_by_hand
from wainwright_agent.cli.exits import Exit, Refused
from wainwright_agent.cli.output import ago, duration, say, say_json, say_pairs, tell
from wainwright_agent.config import Config
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_agent.identity import IdentityError
from wainwright_agent.journal import Journal, JournalError
from wainwright_common.codes import Code

STATUS_S = 10.0  # the agent answers in milliseconds; on a busy device, behind silent clients, in seconds
HANGING = 13  # columns before what is said of something


def show_status(config: Config, output: str) -> Exit:
    """Print the status."""
    found = read_status(config)
    if output == "json":
        say_json(found)
    else:
        for line in table(found):
            tell(line, hanging=HANGING)
    return Exit.DONE


def show_artifact(config: Config) -> Exit:
    """Print the name of the artifact that runs."""
    say(read_status(config)["artifact_name"])
    return Exit.DONE


def show_provides(config: Config, output: str) -> Exit:
    """Print what the installed artifacts provide."""
    provides = read_status(config)["provides"]
    if output == "json":
        say_json(provides)
    else:
        say_pairs(provides)
    return Exit.DONE


def read_status(config: Config) -> status.Status:
    """Return the agent's status, or what its journal says; raises Refused or JournalError."""
    try:
        return next(iter(ask(config, "status", line_s=STATUS_S)))
    except AgentUnreachable as unreachable:
        try:
            state = Journal.read(config.data_dir)
        except JournalError as error:
            if unreachable.is_forbidden or isinstance(error.__cause__, PermissionError):
                raise Refused(f"{error} Run this as root, or as a member of the agent's group.") from error
            raise
    try:
        device_id = identity.device_id(config)
    except IdentityError:
        device_id = "(no id)"
    return status.of_record(config, device_id, state)


def table(found: status.Status) -> list[str]:
    """Return a status as lines for a person."""
    lines = [f"{found['device_id']}   {found['device_type']}   agent {found['agent_version']}"]
    is_known = found["artifact_name"] != "unknown"
    lines.append(f"  running    {found['artifact_name']}{'' if is_known else ', for no update is on record here'}")
    if trying := found.get("trying"):
        lines.append(f"  trying     {trying['artifact_name']}   {_trying(trying)}   {_deployment(trying)}")
        if to_do := trying.get("to_do"):
            lines.append(f"  to do      {to_do}")
    if last := found.get("last"):
        lines.append(f"  last       {last['artifact_name']}   {_last(last)}   {_deployment(last)}, {ago(last['at'])}")
        if last["outcome"] != "success" and not is_wanted(last):
            lines.append("  to do      see what was done: wain logs")
    if waiting := found["unacknowledged_reports"]:
        lines.append(f"  untold     {waiting} report(s) wait for the controller's acknowledgement")
    if found["agent"] == "stopped":
        lines.append("  agent      stopped; this is its record. To start it: systemctl start wainwright-agent")
        return lines
    lines.append(f"  link       {_link(found['link'], found['check_in'])}")
    if enrolment := found.get("enrolment"):
        lines.append(f"  enrolment  {_enrolment(enrolment)}")
    if (next_in_s := found["check_in"].get("next_in_s")) is not None:
        lines.append(f"  next       check-in in {duration(next_in_s)}")
    return lines


def _trying(trying: dict[str, Any]) -> str:
    if held := trying.get("held"):
        return "needs a reboot" if held == "reboot" else f"held before {held}"
    if waiting := trying.get("waiting"):
        return f"{trying['state']}: {waiting['script']} waits, for {duration(waiting['waited_s'])} so far"
    if hold := trying.get("hold"):
        return f"{trying['state']}: {hold}"
    progress = trying.get("progress")
    if isinstance(progress, dict) and progress.get("total"):
        return f"{trying['state']}, {100 * progress['done'] // progress['total']} %"
    return str(trying["state"])


def is_wanted(last: dict[str, Any]) -> bool:
    """Say whether an update did not succeed because a technician wanted it so, and all went well with that."""
    is_aborted = last.get("error", {}).get("code") == Code.ABORTED
    return is_aborted and is_by_hand(last["deployment_id"]) and not last["inconsistent"]


def _last(last: dict[str, Any]) -> str:
    if is_wanted(last):
        return "rolled back, as was asked for"
    text = str(last["outcome"])
    if error := last.get("error"):
        text += f" ({error['code']}: {error['text']})"
    if last["rolled_back"]:
        text += ", rolled back"
    if last["inconsistent"]:
        text += ", INCONSISTENT: the device may run a mix"
    return text


def _deployment(update: dict[str, Any]) -> str:
    if is_by_hand(update["deployment_id"]):
        return "by hand"
    return f"deployment {update['deployment_id']}, attempt {update['attempt']}"


def _enrolment(enrolment: dict[str, Any]) -> str:
    until = enrolment.get("certificate_until")
    text = f"certificate until {until}" if until else "no certificate"
    trouble = enrolment.get("trouble")
    if trouble and trouble["error"] == "waiting":
        text = f"waits to be accepted, with the key {trouble['key']}"
    elif trouble:
        text += f"; {trouble['text']}"
    return text + (f"; asks again in {duration(enrolment['asks_in_s'])}" if "asks_in_s" in enrolment else "")


def _link(link: dict[str, Any], check_in: dict[str, Any]) -> str:
    if not link["connected"]:
        retry = f"; tries again in {duration(link['retry_in_s'])}" if "retry_in_s" in link else ""
        return f"down: {link.get('error', 'connecting to ' + link['broker'])}{retry}"
    answered = check_in.get("answered_at")
    return f"connected to {link['broker']}, " + (f"last answer {ago(answered)}" if answered else "no answer yet")
