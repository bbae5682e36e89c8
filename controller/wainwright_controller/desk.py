"""The desk where devices ask for certificates: decides by rules/enrolment.py, signs, and writes it all down at once.

1. A certificate is given away only after the transaction that records it: what is not recorded cannot be revoked.
2. A device that asks again, because the answer was lost, gets the same certificate for a tenth of its life.
3. A device that waits may ask as often as it likes: it is written down once a minute.
4. Newcomers are written down at a bounded rate for each address, so that nobody fills the list with names; who is not
   is told to wait, as everybody is, and is remembered when it asks again. Devices with a token, or a key that was
   authorised in advance, do not wait for that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from cryptography import x509
from msgspec.structs import replace
from sqlalchemy import Connection

from wainwright_common.errors import WainwrightError
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.buckets import Buckets, neighbourhood
from wainwright_controller.ledger import Ledger
from wainwright_controller.people import ENROLMENT, digest, id_of, is_same
from wainwright_controller.pki.csr import BadCsr, Csr
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.pki.profiles import common_name
from wainwright_controller.records import (
    Certificate,
    CertificateKind,
    Device,
    DeviceKey,
    DeviceState,
    EnrolmentToken,
    KeyState,
)
from wainwright_controller.rules import enrolment
from wainwright_controller.rules.enrolment import Answer, Facts, Verdict
from wainwright_controller.store import Store

LOG = logging.getLogger(__name__)

ASKED_EVERY_S = 60.0  # how coarse `last_asked_at` is
SAME_FOR = 0.1  # of a certificate's life: a device that asks again so soon has lost the answer
NEW_BURST = 500  # newcomers of one address that are written down at once: a pallet of devices behind one router
NEW_REFILL_S = 1.0
ADDRESSES_MAX = 4096  # remembered at once: about 1 MB
ACTOR = "device"
ADDRESS_MAX = 64  # characters: the column's


class EnrolmentRefused(WainwrightError):  # noqa: N818  the name is the sentence: "enrolment refused: …"
    """A device gets no certificate; `code` is one of rules/enrolment.py, or certificate-unknown, wrong-name."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class BadEnrolmentToken(WainwrightError):  # noqa: N818  as above
    """The token is none of this controller, or cannot be used any more."""


class Waiting(NamedTuple):
    """Somebody has to decide; ask again after so many seconds."""

    seconds: int


class Settings(NamedTuple):
    """What the configuration says about enrolment."""

    lifetime_s: float
    auto_accept: bool
    pending_max: int


class Desk:
    """See the module; safe to share between threads."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keeper = keeper
        self._store = store
        self._settings = settings
        self._clock = clock
        self._timer = timer
        self._newcomers = Buckets(burst=NEW_BURST, refill_s=NEW_REFILL_S, keys_max=ADDRESSES_MAX)

    def enrol(self, csr: Csr, address: str, secret: str = "") -> Certificate | Waiting:
        """Return a certificate for who shows a key alone, with a token perhaps; raises what is above."""
        return self._decide(csr, address, lambda _connection, facts: enrolment.enrol(facts), secret)

    def renew(self, csr: Csr, address: str, shown: x509.Certificate) -> Certificate | Waiting:
        """Return a certificate for who showed a valid one, which the authority signed; raises EnrolmentRefused."""
        name = common_name(shown)
        if csr.device_id != name:
            raise EnrolmentRefused(
                "wrong-name", f"This certificate is {name}'s, and the request asks for {csr.device_id}."
            )
        serial = shelf.serial_of(shown.serial_number)

        def judge(connection: Connection, facts: Facts) -> Verdict:
            known = shelf.load_certificate(connection, serial)
            if known is None or known.kind is not CertificateKind.DEVICE or not shelf.is_of(known, shown):
                return Verdict(Answer.REFUSE, "certificate-unknown", "This certificate is not known: enrol again.")
            if known.revoked_at is not None:
                return Verdict(Answer.REFUSE, "certificate-revoked", "This certificate was revoked: enrol again.")
            key = next((one for one in facts.keys if one.digest == known.key_digest), None)
            return enrolment.renew(facts, key)

        return self._decide(csr, address, judge)

    def _decide(
        self, csr: Csr, address: str, judge: Callable[[Connection, Facts], Verdict], secret: str = ""
    ) -> Certificate | Waiting:
        now = self._clock()
        with self._store.read() as connection:  # most questions change nothing, and writers take turns
            facts = self._facts(Ledger(connection, now), csr, secret)
            verdict = judge(connection, facts)
            if verdict.answer is Answer.REFUSE:
                raise EnrolmentRefused(verdict.code, verdict.text)
            if verdict.answer is Answer.ISSUE and (recent := self._recent(connection, csr, now)):
                return recent
            if verdict.answer is Answer.WAIT and _was_just_here(facts.key, now):
                return Waiting(enrolment.wait_s(facts.key, now))
        is_new = verdict.answer is Answer.WAIT and facts.key is None
        if is_new and not self._newcomers.take(neighbourhood(address), self._timer()):
            return Waiting(enrolment.WAIT_MAX_S)
        with self._store.write() as connection:
            ledger = Ledger(connection, now)
            facts = self._facts(ledger, csr, secret)
            verdict = judge(connection, facts)
            if verdict.answer is Answer.REFUSE:
                raise EnrolmentRefused(verdict.code, verdict.text)
            if verdict.answer is Answer.WAIT:
                return self._wait(ledger, facts, verdict, address)
            if verdict.answer is not Answer.ISSUE:
                self._take(ledger, facts, verdict, address)
            made = self._issue(ledger, csr)
            ledger.flush()
        return made

    def _facts(self, ledger: Ledger, csr: Csr, secret: str) -> Facts:
        ledger.load_devices([csr.device_id])
        connection = ledger.connection
        keys = shelf.load_keys(connection, [csr.device_id])[csr.device_id]
        facts = Facts(
            device_id=csr.device_id,
            digest=csr.digest,
            device=ledger.devices.get(csr.device_id),
            keys=keys,
            owner=shelf.owner_of(connection, csr.digest, csr.device_id),
            auto_accept=self._settings.auto_accept,
            key_changes=sum(_was_given_up(key, ledger.now) for key in keys),
        )
        if facts.accepted is not None and facts.accepted.digest == csr.digest:
            return facts  # its token, if it still brings one, has done its service
        token = self._token(connection, secret, csr.device_id, ledger.now) if secret else None
        has_room = facts.key is not None or shelf.count_pending(connection) < self._settings.pending_max
        return facts._replace(token=token, has_room=has_room)

    def _token(self, connection: Connection, secret: str, device_id: str, now: float) -> EnrolmentToken:
        parsed = id_of(secret, ENROLMENT)
        token = shelf.load_token(connection, parsed) if parsed is not None else None
        if token is None or not is_same(digest(secret), token.digest):
            raise BadEnrolmentToken("This enrolment token is not one of this controller: ask for another.")
        if fault := fault_of(token, device_id, now):
            raise BadEnrolmentToken(f"The enrolment token {token.id} {fault}: ask for another.")
        return token

    def _wait(self, ledger: Ledger, facts: Facts, verdict: Verdict, address: str) -> Waiting:
        """Remember a key that waits, and a device that nobody has heard of."""
        key = facts.key or DeviceKey(device_id=facts.device_id, digest=facts.digest, asked_at=ledger.now)
        if key.asked_at is None:  # accepted in advance, and then not the device's any more
            key = replace(key, asked_at=ledger.now)
        if facts.device is None:
            ledger.put_device(Device(id=facts.device_id, created_at=ledger.now, last_seen_at=ledger.now))
        if facts.key is None:
            ledger.note("key", f"{verdict.text} ({key.digest})", ACTOR, device_id=facts.device_id)
        key = replace(key, last_asked_at=ledger.now, address=address[:ADDRESS_MAX])
        shelf.put_key(ledger.connection, key)
        ledger.flush()
        return Waiting(enrolment.wait_s(key, ledger.now))

    def _take(self, ledger: Ledger, facts: Facts, verdict: Verdict, address: str) -> None:
        """Make a key the device's."""
        connection, now = ledger.connection, ledger.now
        if facts.accepted is not None:
            shelf.put_key(connection, replace(facts.accepted, state=KeyState.REPLACED, decided_at=now))
        decided_by = ACTOR
        if verdict.answer is Answer.ACCEPT:
            decided_by = f"token {facts.token.id}" if facts.token is not None else "configuration"
            if facts.token is not None:
                shelf.use_token(connection, facts.token.id)
        key = facts.key or DeviceKey(device_id=facts.device_id, digest=facts.digest, asked_at=now)
        decided = {"state": KeyState.ACCEPTED, "decided_at": now, "decided_by": decided_by}
        shelf.put_key(connection, replace(key, **decided, last_asked_at=now, address=address[:ADDRESS_MAX]))
        device = facts.device or Device(id=facts.device_id, created_at=now, last_seen_at=now)
        if device.state is not DeviceState.ACCEPTED:
            ledger.put_device(replace(device, state=DeviceState.ACCEPTED))
        ledger.note("key", f"{verdict.text} ({facts.digest})", ACTOR, device_id=facts.device_id)

    def _issue(self, ledger: Ledger, csr: Csr) -> Certificate:
        authority, now = self.keeper.authority(), ledger.now
        if recent := self._recent(ledger.connection, csr, now):
            return recent
        lifetime = timedelta(seconds=self._settings.lifetime_s)
        made = authority.issue_client(csr.key, csr.device_id, utc(now), lifetime)
        record = shelf.record_of(made, CertificateKind.DEVICE, authority.issuer.id, now, ACTOR)
        shelf.add_certificate(ledger.connection, record)
        until = utc(record.ends_at).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = f"certificate {record.serial}, valid until {until}"
        ledger.note("certificate", text, ACTOR, device_id=csr.device_id)
        return record

    def _recent(self, connection: Connection, csr: Csr, now: float) -> Certificate | None:
        """Return the certificate that the device was given a moment ago, if the present issuing authority did."""
        issuer = self.keeper.authority().issuer.id
        return shelf.recent_certificate(connection, csr.device_id, csr.digest, issuer, now=now, share=SAME_FOR)


def fault_of(token: EnrolmentToken, device_id: str, now: float) -> str | None:
    """Return why a token cannot be used by a device, as the rest of a sentence; None if it can."""
    if token.revoked_at is not None:
        return "was revoked"
    if token.expires_at <= now:
        return "has expired"
    if token.used >= token.budget:
        return "was used up"
    if token.device_id is not None and token.device_id != device_id:
        return f"is for {token.device_id} alone"
    return None


def _was_given_up(key: DeviceKey, now: float) -> bool:
    """Say whether a key was replaced a short while ago; by a clock that was set back since, not long ago either."""
    return key.state is KeyState.REPLACED and now - (key.decided_at or 0.0) < enrolment.KEY_CHANGES_S


def _was_just_here(key: DeviceKey | None, now: float) -> bool:
    return key is not None and key.last_asked_at is not None and 0 <= now - key.last_asked_at < ASKED_EVERY_S


__all__ = ["BadCsr", "BadEnrolmentToken", "Desk", "EnrolmentRefused", "Settings", "Waiting", "fault_of"]
