"""What an agent says of itself to a technician: from its journal, and while it runs, of its link and plans."""

from __future__ import annotations

from typing import Any

from wainwright_agent import by_hand
from wainwright_agent.config import Config
from wainwright_agent.journal import LastUpdate, State, Update
from wainwright_agent.masking import mask
from wainwright_common import __version__, settings
from wainwright_common.messages import Reply

Status = dict[str, Any]
"""Plain values, as `wain status -o json` prints them; a key without a value is absent."""


def of_record(config: Config, device_id: str, state: State) -> Status:
    """Return what the journal says; all there is while the agent is stopped."""
    status: Status = {
        "device_id": device_id,
        "device_type": config.device_type,
        "agent_version": __version__,
        "agent": "stopped",
        "artifact_name": state.provides.get("artifact_name", "unknown"),
        "provides": dict(sorted(state.provides.items())),
        "unacknowledged_reports": len(state.outbox),
    }
    if state.update is not None:
        status["trying"] = _trying(state.update)
    if state.last is not None:
        status["last"] = _last(state.last)
    return status


def of_reply(reply: Reply) -> Status:
    """Return an answer of the controller; without what would let others fetch the artifact."""
    plain: Status = settings.plain(reply)
    if "offer" in plain:
        artifact = plain["offer"]["artifact"]
        artifact["uri"] = mask(artifact["uri"])
    return plain


def _trying(update: Update) -> Status:
    offer = update.offer
    trying: Status = {
        "artifact_name": offer.artifact.name,
        "deployment_id": offer.deployment_id,
        "attempt": offer.attempt,
        "action": offer.action.value,
        "state": str(update.state.value),
        "status": update.status.value,
    }
    if update.waiting is not None:
        trying["waiting"] = settings.plain(update.waiting)
    trying |= by_hand.describe(update)
    if update.failure is not None:
        trying["error"] = settings.plain(update.failure)
    return trying


def _last(last: LastUpdate) -> Status:
    status: Status = {
        "artifact_name": last.release,
        "deployment_id": last.deployment_id,
        "attempt": last.attempt,
        "outcome": last.outcome.value,
        "at": settings.plain(last.at),
        "rolled_back": last.rolled_back,
        "inconsistent": last.inconsistent,
    }
    if last.error is not None:
        status["error"] = settings.plain(last.error)
    return status
