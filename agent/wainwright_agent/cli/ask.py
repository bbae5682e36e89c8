"""`wain check-in` and `wain inventory`: what the running agent is asked to do now."""

from __future__ import annotations

import time
from random import SystemRandom
from typing import Any

from wainwright_agent.cli.exits import Exit
from wainwright_agent.cli.output import complain, duration, say, say_json, say_pairs, tell
from wainwright_agent.config import Config
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_agent.events import Answer

BUSY_S = 1.0  # give or take a half, until it is asked again whether there is room to wait for an answer
GRACE_S = 5.0  # the agent keeps the time; this is for its answer to arrive
EXITS = {"not-connected": Exit.UNREACHABLE, "no-answer": Exit.STILL_RUNNING, "busy": Exit.STILL_RUNNING}


def check_in(config: Config, timeout_s: float, output: str) -> Exit:
    """Ask the controller through the agent, and print what it says."""
    answer = _ask(config, "check-in", timeout_s)
    if "error" in answer:
        return _complain(answer)
    reply = answer["reply"]
    if output == "json":
        say_json(reply)
    else:
        tell(_sentence(reply, taken=answer["taken"]))
    return Exit.DONE


def send_inventory(config: Config, timeout_s: float) -> Exit:
    """Let the agent collect the inventory anew and send it."""
    answer = _ask(config, "send-inventory", timeout_s)
    if "error" in answer:
        return _complain(answer)
    say(f"Sent {answer['sent']} attributes.")
    return Exit.DONE


def show_inventory(config: Config, output: str) -> Exit:
    """Print what the inventory scripts and the agent know; works with the agent stopped."""
    from wainwright_agent import inventory
    from wainwright_agent.cli.show import read_status

    attributes = inventory.collect(config, read_status(config)["provides"])
    if output == "json":
        say_json(attributes)
    else:
        say_pairs(attributes)
    return Exit.DONE


def _ask(config: Config, command: str, timeout_s: float) -> Answer:
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        try:
            answer = next(iter(ask(config, command, {"timeout_s": left_s}, line_s=left_s + GRACE_S)))
        except AgentUnreachable as error:
            return {"error": "forbidden" if error.is_forbidden else "unreachable", "text": str(error)}
        if answer.get("error") != "busy" or left_s < BUSY_S:
            return answer
        time.sleep(SystemRandom().uniform(BUSY_S / 2, BUSY_S * 1.5))  # so that a crowd comes spread out


def _complain(answer: Answer) -> Exit:
    error = answer["error"]
    if error == "unreachable":
        complain(f"{answer['text']} Is it running? To start it: systemctl start wainwright-agent")
        return Exit.UNREACHABLE
    complain(str(answer["text"]))
    return Exit.REFUSED if error == "forbidden" else EXITS.get(error, Exit.FAILED)


def _sentence(reply: dict[str, Any], *, taken: bool) -> str:
    if offer := reply.get("offer"):
        fate = "it is carried out" if taken else "it is not taken, for it is done already or another is under way"
        name, deployment, attempt = offer["artifact"]["name"], offer["deployment_id"], offer["attempt"]
        return f"Offered {name} by deployment {deployment}, attempt {attempt}: {fate}. See: wain status"
    why = reply.get("why") or {"code": "no-reason", "text": "the controller gave no reason"}
    text = str(why["text"]).rstrip(".") or "the controller gave no reason"
    after_s = reply["check_in_after_s"]
    next_time = f" Next check-in in about {duration(after_s)}." if after_s else ""
    return f"No update: {text} ({why['code']}).{next_time}"
