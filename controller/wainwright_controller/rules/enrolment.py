"""Who gets a certificate: a device is known by its key, and a name that has had one is given to no other by itself.

Whoever asks has shown that he has the private key (pki/csr.py). What the rules know besides: the device, the keys that
ask for its name or had it, and whose key it is elsewhere. They end in one of three answers: issue, wait, or no. What
they do not do: check certificates, count tokens, write.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from wainwright_controller.records import Device, DeviceKey, DeviceState, EnrolmentToken, KeyState

PENDING_KEYS_MAX = 4  # of one name at a time: a name that more ask for is being fought over, or attacked
KEY_CHANGES_MAX = 8  # of one device within KEY_CHANGES_S by itself: each is kept, and may have to be revoked one day
KEY_CHANGES_S = 86_400.0
WAIT_FIRST_S, WAIT_MAX_S = 10, 600  # between two questions of a device that waits
WAIT_SHARE = 0.1  # of the time that it has waited already: who is new will be decided about soon, or not today
_TAKEN_BACK = frozenset({KeyState.REVOKED, KeyState.REPLACED})


class Answer(Enum):
    """What a request comes to."""

    ISSUE = "issue"
    """The key is the device's: sign."""
    ACCEPT = "accept"
    """The key becomes the device's, and the device is accepted: then sign."""
    REPLACE = "replace"
    """The key takes the place of the device's, which asked for it: then sign."""
    WAIT = "wait"
    """Somebody has to decide; the request is remembered."""
    REFUSE = "refuse"


class Verdict(NamedTuple):
    """An answer; of a refusal the code and a sentence, of the others a sentence for the timeline."""

    answer: Answer
    code: str = ""
    text: str = ""


class Facts(NamedTuple):
    """What is known about a key that asks for a name.

    `token` is valid, and for this device. `owner` is another device that the key is accepted for. `key_changes` is how
    many keys the device has given up within KEY_CHANGES_S.
    """

    device_id: str
    digest: str
    device: Device | None
    keys: Sequence[DeviceKey]
    owner: str | None
    token: EnrolmentToken | None = None
    auto_accept: bool = False
    has_room: bool = True
    key_changes: int = 0

    @property
    def key(self) -> DeviceKey | None:
        """The key that asks, if it has been seen with this name before."""
        return next((one for one in self.keys if one.digest == self.digest), None)

    @property
    def accepted(self) -> DeviceKey | None:
        """The key that the device has."""
        return next((one for one in self.keys if one.state is KeyState.ACCEPTED), None)


def enrol(facts: Facts) -> Verdict:
    """Say what a device gets that shows a key and no certificate.

    1. Nobody gets a name that was taken out of the fleet, or was rejected.
    2. A key that was revoked, or given up for another, gets nothing any more; nor does one that is another device's.
    3. The device's own key gets a certificate, however long ago the last one expired.
    4. Where the name has a key, or had one, another one waits for a person, whatever token it brings: a device that was
       stolen, and revoked, still has the token of its batch.
    5. A token, or the setting for trials, accepts.
    6. Everybody else waits, as far as there is room.
    """
    if refusal := _refused_device(facts) or _refused_key(facts):
        return refusal
    if facts.accepted is not None:
        if facts.accepted.digest == facts.digest:
            return Verdict(Answer.ISSUE)
        return _wait(facts, "another key asks for this name: it waits for somebody to decide between the two")
    if any(one.state in _TAKEN_BACK for one in facts.keys):
        return _wait(facts, "a key of this name was taken back: another one waits for somebody to accept it")
    if facts.token is not None:
        return Verdict(Answer.ACCEPT, text=f"accepted with the enrolment token {facts.token.id}")
    if facts.auto_accept:
        return Verdict(Answer.ACCEPT, text="accepted as every device is, by the configuration")
    return _wait(facts, "asks for a certificate: its key waits for somebody to accept it")


def renew(facts: Facts, shown: DeviceKey | None) -> Verdict:
    """Say what a device gets that shows a valid certificate for its name; `shown` is that certificate's key.

    As `enrol`, but the key of the certificate must be the device's, which may give its name to a new one. A device that
    has not heard that it got the new one may ask again.
    """
    if refusal := _refused_device(facts) or _refused_key(facts):
        return refusal
    accepted = facts.accepted
    if shown is None or accepted is None:
        return Verdict(
            Answer.REFUSE, "key-unknown", "The certificate's key is not this device's any more: enrol again."
        )
    if accepted.digest == facts.digest and shown.state in {KeyState.ACCEPTED, KeyState.REPLACED}:
        return Verdict(Answer.ISSUE)
    if shown.digest != accepted.digest:
        return Verdict(Answer.REFUSE, "key-replaced", "This certificate's key was replaced: use the newer one.")
    if facts.key_changes >= KEY_CHANGES_MAX:
        text = f"This device has changed its key {facts.key_changes} times within a day: ask again tomorrow."
        return Verdict(Answer.REFUSE, "too-many-keys", text)
    return Verdict(Answer.REPLACE, text="gave its name to a new key")


def wait_s(key: DeviceKey | None, now: float) -> int:
    """Return how many seconds a device that waits is to wait before it asks again."""
    waited = now - key.asked_at if key is not None and key.asked_at is not None else 0.0
    return round(min(max(waited * WAIT_SHARE, WAIT_FIRST_S), WAIT_MAX_S))


def chosen(keys: Sequence[DeviceKey], digest: str | None) -> DeviceKey | str | None:
    """Return which key becomes the device's when a person accepts it; None if there is none to decide about.

    A text says why the person has to name one by its digest.
    """
    if digest is not None:
        named = [one for one in keys if one.digest.startswith(digest)]
        if len(named) != 1:
            return f"{len(named)} keys of this device begin with {digest}"
        if named[0].state is KeyState.REVOKED:
            return f"the key {named[0].digest} was revoked, for good"
        return named[0]
    pending = [one for one in keys if one.state is KeyState.PENDING]
    has_one = any(one.state is KeyState.ACCEPTED for one in keys)
    if has_one or not pending:
        return None
    if len(pending) > 1:
        return f"{len(pending)} keys ask for this name"
    return pending[0]


def _refused_device(facts: Facts) -> Verdict | None:
    state = facts.device.state if facts.device is not None else None
    if state is DeviceState.DECOMMISSIONED:
        return Verdict(Answer.REFUSE, "decommissioned", f"{facts.device_id} was taken out of the fleet.")
    if state is DeviceState.REJECTED:
        return Verdict(Answer.REFUSE, "rejected", f"{facts.device_id} was rejected: ask an operator.")
    return None


def _refused_key(facts: Facts) -> Verdict | None:
    state = facts.key.state if facts.key is not None else None
    if state is KeyState.REVOKED:
        return Verdict(Answer.REFUSE, "key-revoked", "This key was revoked: make a new one.")
    if state is KeyState.REPLACED:
        return Verdict(Answer.REFUSE, "key-replaced", "This key was replaced by another: use the newer one.")
    if facts.owner is not None:
        return Verdict(
            Answer.REFUSE,
            "key-in-use",
            "This key is another device's: make one on each device, and put none into an image.",
        )
    return None


def _wait(facts: Facts, text: str) -> Verdict:
    if facts.key is None:
        if not facts.has_room:
            return Verdict(Answer.REFUSE, "too-many-pending", "Too many devices wait to be accepted: try again later.")
        if sum(one.state is KeyState.PENDING for one in facts.keys) >= PENDING_KEYS_MAX:
            return Verdict(Answer.REFUSE, "too-many-keys", "Too many keys ask for this name: ask an operator.")
    return Verdict(Answer.WAIT, text=text)
