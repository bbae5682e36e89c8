"""Who gets a certificate: rows of what is known, and the answer."""

from __future__ import annotations

from typing import Any

import pytest

from wainwright_controller.records import Device, DeviceKey, DeviceState, EnrolmentToken, KeyState
from wainwright_controller.rules.enrolment import (
    PENDING_KEYS_MAX,
    WAIT_FIRST_S,
    WAIT_MAX_S,
    Answer,
    Facts,
    chosen,
    enrol,
    renew,
    wait_s,
)

MINE, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64
TOKEN = EnrolmentToken(id="t1", digest="", budget=1, expires_at=2.0, created_at=1.0, created_by="anna")


def key(digest: str, state: KeyState) -> DeviceKey:
    return DeviceKey(device_id="press-07", digest=digest, state=state, asked_at=100.0)


def device(state: DeviceState) -> Device:
    return Device(id="press-07", state=state)


def facts(*keys: DeviceKey, digest: str = MINE, **more: Any) -> Facts:  # noqa: ANN401  as Facts takes them
    return Facts(**{"device_id": "press-07", "digest": digest, "device": None, "keys": keys, "owner": None} | more)


ACCEPTED, PENDING = key(MINE, KeyState.ACCEPTED), key(MINE, KeyState.PENDING)
REPLACED, REVOKED = key(MINE, KeyState.REPLACED), key(MINE, KeyState.REVOKED)
THEIRS = key(OTHER, KeyState.ACCEPTED)
FORMER, STOLEN = key(THIRD, KeyState.REPLACED), key(THIRD, KeyState.REVOKED)
CROWD = [key(f"{n:064x}", KeyState.PENDING) for n in range(PENDING_KEYS_MAX)]
IN, OUT = device(DeviceState.ACCEPTED), device(DeviceState.DECOMMISSIONED)
REJECTED, NEW = device(DeviceState.REJECTED), device(DeviceState.PENDING)

# fmt: off
ENROL = [
    # What is known                                                   answer          code
    (facts(),                                                         Answer.WAIT,    ""),
    (facts(PENDING, device=NEW),                                      Answer.WAIT,    ""),
    (facts(ACCEPTED, device=IN),                                      Answer.ISSUE,   ""),
    (facts(ACCEPTED, device=IN, token=TOKEN),                         Answer.ISSUE,   ""),
    (facts(device=IN),                                                Answer.WAIT,    ""),  # by its id alone: anybody's
    (facts(token=TOKEN),                                              Answer.ACCEPT,  ""),
    (facts(PENDING, device=NEW, token=TOKEN),                         Answer.ACCEPT,  ""),
    (facts(auto_accept=True),                                         Answer.ACCEPT,  ""),
    # A name that has a key is given to no other, whatever it brings.
    (facts(THEIRS, device=IN),                                        Answer.WAIT,    ""),
    (facts(THEIRS, device=IN, token=TOKEN),                           Answer.WAIT,    ""),
    (facts(THEIRS, device=IN, auto_accept=True),                      Answer.WAIT,    ""),
    # Nor is one whose key was taken back: whoever has a token could be its thief.
    (facts(STOLEN, device=IN),                                        Answer.WAIT,    ""),
    (facts(STOLEN, device=IN, token=TOKEN),                           Answer.WAIT,    ""),
    (facts(STOLEN, device=NEW, token=TOKEN),                          Answer.WAIT,    ""),  # recommissioned
    (facts(STOLEN, device=IN, auto_accept=True),                      Answer.WAIT,    ""),
    (facts(STOLEN, PENDING, device=IN, token=TOKEN),                  Answer.WAIT,    ""),
    (facts(FORMER, device=IN, token=TOKEN),                           Answer.WAIT,    ""),
    (facts(STOLEN, ACCEPTED, device=IN, token=TOKEN),                 Answer.ISSUE,   ""),  # by a person
    # Out is out.
    (facts(ACCEPTED, device=OUT),                                     Answer.REFUSE,  "decommissioned"),
    (facts(ACCEPTED, device=REJECTED),                                Answer.REFUSE,  "rejected"),
    (facts(device=REJECTED, token=TOKEN),                             Answer.REFUSE,  "rejected"),
    (facts(REVOKED, device=IN),                                       Answer.REFUSE,  "key-revoked"),
    (facts(REVOKED, device=IN, token=TOKEN),                          Answer.REFUSE,  "key-revoked"),
    (facts(REPLACED, THEIRS, device=IN),                              Answer.REFUSE,  "key-replaced"),
    # One key for two devices is an image that was copied with its key.
    (facts(owner="press-08"),                                         Answer.REFUSE,  "key-in-use"),
    (facts(owner="press-08", token=TOKEN),                            Answer.REFUSE,  "key-in-use"),
    # Bounds; who is known already stays.
    (facts(has_room=False),                                           Answer.REFUSE,  "too-many-pending"),
    (facts(PENDING, device=NEW, has_room=False),                      Answer.WAIT,    ""),
    (facts(has_room=False, token=TOKEN),                              Answer.ACCEPT,  ""),
    (facts(*CROWD, device=NEW),                                       Answer.REFUSE,  "too-many-keys"),
    (facts(*CROWD, device=NEW, digest=CROWD[1].digest),               Answer.WAIT,    ""),
]
RENEW = [
    # What is known                                  certificate's  answer          code
    (facts(ACCEPTED, device=IN),                       ACCEPTED,  Answer.ISSUE,   ""),
    (facts(THEIRS, device=IN),                         THEIRS,    Answer.REPLACE, ""),  # a new key
    (facts(ACCEPTED, FORMER, device=IN),               FORMER,    Answer.ISSUE,   ""),  # and the answer was lost
    (facts(THEIRS, FORMER, device=IN),                 FORMER,    Answer.REFUSE,  "key-replaced"),
    (facts(ACCEPTED, STOLEN, device=IN),               STOLEN,    Answer.REFUSE,  "key-replaced"),
    (facts(THEIRS, device=IN),                         None,      Answer.REFUSE,  "key-unknown"),
    (facts(device=IN),                                 THEIRS,    Answer.REFUSE,  "key-unknown"),
    (facts(REVOKED, THEIRS, device=IN),                THEIRS,    Answer.REFUSE,  "key-revoked"),
    (facts(REPLACED, THEIRS, device=IN),               THEIRS,    Answer.REFUSE,  "key-replaced"),
    (facts(THEIRS, device=IN, owner="press-08"),       THEIRS,    Answer.REFUSE,  "key-in-use"),
    (facts(ACCEPTED, device=OUT),                      ACCEPTED,  Answer.REFUSE,  "decommissioned"),
    (facts(ACCEPTED, device=REJECTED),                 ACCEPTED,  Answer.REFUSE,  "rejected"),
]
CHOICES = [
    # The keys of a device                                       named      the one that is accepted, or why not
    ([],                                                         None,      None),
    ([PENDING],                                                  None,      PENDING),
    ([ACCEPTED],                                                 None,      None),
    ([ACCEPTED, key(OTHER, KeyState.PENDING)],                   None,      None),
    ([REVOKED, key(OTHER, KeyState.PENDING)],                    None,      key(OTHER, KeyState.PENDING)),
    ([PENDING, key(OTHER, KeyState.PENDING)],                    None,      "2 keys ask"),
    ([PENDING, key(OTHER, KeyState.PENDING)],                    "bb",      key(OTHER, KeyState.PENDING)),
    ([ACCEPTED, key(OTHER, KeyState.PENDING)],                   OTHER,     key(OTHER, KeyState.PENDING)),
    ([PENDING],                                                  "dd",      "0 keys of this device begin with dd"),
    ([PENDING, key("ab" * 32, KeyState.PENDING)],                "a",       "2 keys of this device begin with a"),
    ([REVOKED],                                                  MINE,      "was revoked, for good"),
]
# fmt: on


@pytest.mark.parametrize(("known", "answer", "code"), ENROL)
def test_who_shows_a_key_alone(known: Facts, answer: Answer, code: str) -> None:
    verdict = enrol(known)

    assert (verdict.answer, verdict.code) == (answer, code)
    assert bool(verdict.text) == (answer is not Answer.ISSUE)


@pytest.mark.parametrize(("known", "shown", "answer", "code"), RENEW)
def test_who_shows_a_certificate(known: Facts, shown: DeviceKey | None, answer: Answer, code: str) -> None:
    verdict = renew(known, shown)

    assert (verdict.answer, verdict.code) == (answer, code)


@pytest.mark.parametrize(("keys", "named", "expected"), CHOICES)
def test_which_key_a_person_accepts(keys: list[DeviceKey], named: str | None, expected: DeviceKey | str | None) -> None:
    found = chosen(keys, named)

    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == expected


def test_who_is_new_asks_often_and_who_waits_long_seldom() -> None:
    waits = [wait_s(PENDING, 100.0 + waited) for waited in (-50, 0, 60, 200, 1800, 10**9)]

    assert wait_s(None, 5.0) == WAIT_FIRST_S
    assert waits == [WAIT_FIRST_S, WAIT_FIRST_S, WAIT_FIRST_S, 20, 180, WAIT_MAX_S]
