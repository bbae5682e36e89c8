"""What a technician may have done to the device, carried out: install, commit, rollback, resume.

The service calls it for whoever asks at the control socket, and `wain` itself where no service runs.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from wainwright_agent import by_hand
from wainwright_agent.events import Answer, Asked
from wainwright_agent.journal import JournalError, State
from wainwright_agent.update import Updater
from wainwright_common.messages import Count, Name


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of `install`: what was seen of the artifact, and where to stop."""

    uri: Annotated[str, Meta(pattern="^(file|https?):", max_length=4096)]
    name: Name
    size: Count
    version: Annotated[str, Meta(max_length=256)]
    """Changes with the file: its time, or what the server says of it."""
    stop_before: list[str] = []


def carry_out(updater: Updater, state: State, asked: Asked) -> Answer:
    """Begin what was asked for and return an answer; it has `error` and `text` when it is refused."""
    if not asked.is_owner:
        return {"error": "forbidden", "text": "Only root and the agent's own user may change what is installed."}
    if refusal := by_hand.refusal(state, asked.command):
        return refusal
    try:
        if asked.command == "install":
            wish = msgspec.convert(asked.options, Wish)
            facts = by_hand.states_of(wish.stop_before)
            updater.install(by_hand.artifact_of(wish.uri, wish.name, wish.size, wish.version), facts)
        elif asked.command == "rollback":
            updater.roll_back()
        else:
            updater.release()
    except (msgspec.ValidationError, KeyError) as error:
        return {"error": "bad-request", "text": f"The request cannot be understood: {error}."}
    except JournalError as error:
        return {"error": "journal", "text": str(error)}
    return {"accepted": True}
