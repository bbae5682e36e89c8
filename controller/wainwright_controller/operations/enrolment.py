"""What operators decide about the keys of devices, their certificates, and the tokens by which they enrol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import insert, update

from wainwright_controller import enrolment_store as shelf
from wainwright_controller.operations.base import NotFound, Operator, listed
from wainwright_controller.operations.people import NewToken
from wainwright_controller.operations.witness import Witness
from wainwright_controller.people import ENROLMENT, digest, new_token
from wainwright_controller.pki.revocation import REASONS
from wainwright_controller.records import Certificate, Device, DeviceKey, DeviceState, EnrolmentToken, KeyState
from wainwright_controller.rows import ENROLMENT_TOKEN, to_row
from wainwright_controller.rules import enrolment
from wainwright_controller.rules.actions import Refused

ON_DEMAND = "key-compromise"
DECOMMISSIONED = "decommissioned"


class EnrolmentOperations(Operator):
    """What operators do with keys, certificates and tokens of enrolment."""

    def accept_key(self, device_id: str, key: str, actor: str) -> DeviceKey:
        """Give a device's name to one of the keys that ask for it, by its digest or the beginning of that.

        The key that had the name is replaced, and its certificates are revoked. The device is accepted.
        """
        with self._transaction() as ledger:
            device = self._device(ledger, device_id)
            check_in_fleet([device])
            keys = shelf.load_keys(ledger.connection, [device_id])[device_id]
            accepted = accept_pending(ledger, device_id, keys, key, actor)
            if device.state is not DeviceState.ACCEPTED:
                ledger.put_device(replace(device, state=DeviceState.ACCEPTED))
                ledger.note("device", str(DeviceState.ACCEPTED), actor, device_id=device_id)
                ledger.wakes.append(device_id)
        assert accepted is not None  # noqa: S101  a key that is named is there, or refused
        return accepted

    def revoke_device(self, device_id: str, actor: str, key: str | None = None, reason: str = ON_DEMAND) -> list[str]:
        """Take back a device's keys and certificates, or those of one key; returns the certificates' numbers.

        The device stays in the fleet. A new key of it waits for a person, whatever token it brings.
        """
        with self._transaction() as ledger:
            self._device(ledger, device_id)
            keys = shelf.load_keys(ledger.connection, [device_id])[device_id]
            wanted = [one for one in keys if key is None or one.digest.startswith(key)]
            if key is not None and len(wanted) != 1:
                raise NotFound(
                    f"{len(wanted)} keys of {device_id} begin with {key}. `wainwright device show {device_id}` has all."
                )
            return take_back(ledger, device_id, wanted, reason, actor, is_all=key is None)

    def revoke_certificate(self, serial: str, reason: str, actor: str) -> str:
        """Take back one certificate, by its number, which is returned as it is stored; raises NotFound.

        Whoever is connected with it is not any more.
        """
        with self._transaction() as ledger:
            found = shelf.load_certificate(ledger.connection, shelf.serial_in(serial))
            if found is None:
                raise NotFound(f"No such certificate: {serial}. `wainwright ca certificates` shows all.")
            if found.revoked_at is not None:
                return found.serial
            shelf.revoke_certificates(ledger.connection, ledger.now, _checked(reason), serial=found.serial)
            ledger.tell(f"certificate {found.serial} of {found.name}", {}, {"revoked": reason})
            if found.kind == "device":
                ledger.note("certificate", f"{found.serial} revoked: {reason}", actor, device_id=found.name)
            return found.serial

    def issued(self, certificate: Certificate, actor: str) -> None:
        """Record a certificate of a server or a controller, which a person had made."""
        with self._transaction() as ledger:
            shelf.add_certificate(ledger.connection, certificate)
            about = {"issued_by": actor, "ends_at": certificate.ends_at}
            ledger.tell(f"certificate {certificate.serial} of {certificate.name}", None, about)

    def rotated(self, before: Mapping[str, Any], after: Mapping[str, Any], actor: str) -> None:
        """Enter in the audit log that another issuing authority signs."""
        with self._transaction() as ledger:
            ledger.tell("authority", before, {**after, "by": actor})

    # ---- tokens -----------------------------------------------------------------------------------------------

    def create_enrolment_token(
        self, actor: str, *, expires_at: float, budget: int = 1, device_id: str | None = None, note: str = ""
    ) -> NewToken:
        """Make a token for `budget` devices; its text is returned this once."""
        token_id, text = new_token(ENROLMENT)
        with self._transaction() as ledger:
            if expires_at <= ledger.now:
                raise Refused("token-expired", "This token would have expired before it was made: give a later time.")
            token = EnrolmentToken(
                id=token_id,
                digest=digest(text),
                budget=budget,
                expires_at=expires_at,
                device_id=device_id,
                note=note,
                created_at=ledger.now,
                created_by=actor,
            )
            ledger.connection.execute(insert(ENROLMENT_TOKEN), to_row(token))
            shown = {"budget": budget, "expires_at": expires_at, "device_id": device_id, "note": note}
            ledger.tell(f"enrolment token {token_id}", None, {k: v for k, v in shown.items() if v})
        return NewToken(token_id, text)

    def revoke_enrolment_token(self, token_id: str, actor: str) -> None:  # noqa: ARG002  the audit log has the actor
        """End a token: no device is accepted by it any more; those that were, stay. Nothing changes if it was ended."""
        with self._transaction() as ledger:
            token = shelf.load_token(ledger.connection, token_id)
            if token is None:
                raise NotFound(f"No such token: {token_id}. `wainwright enrolment token list` shows all.")
            if token.revoked_at is not None:
                return
            row = {"revoked_at": ledger.now}
            ledger.connection.execute(update(ENROLMENT_TOKEN).where(ENROLMENT_TOKEN.c.id == token_id).values(row))
            ledger.tell(f"enrolment token {token_id}", {"used": token.used}, {"used": token.used, **row})


def check_in_fleet(devices: Sequence[Device]) -> None:
    """Raise Refused where a device was taken out of the fleet: an admin did that, and it is not undone by the way."""
    gone = [device.id for device in devices if device.state is DeviceState.DECOMMISSIONED]
    if gone:
        raise Refused(
            DECOMMISSIONED,
            f"Decommissioned: {listed(gone)}. `wainwright device recommission {gone[0]}` lets it ask again.",
        )


def accept_pending(
    ledger: Witness, device_id: str, keys: list[DeviceKey], named: str | None, actor: str
) -> DeviceKey | None:
    """Give a device's name to the key that waits, or the one that is named; None if nothing is to be decided.

    Raises Refused where a person has to say which.
    """
    key = enrolment.chosen(keys, named)
    if isinstance(key, str):
        raise Refused(
            "which-key", f"{key}: `wainwright device show {device_id}` has them, `device accept --key` takes one."
        )
    if key is not None and key.state is not KeyState.ACCEPTED:
        give_name(ledger, key, keys, actor)
    return key


def give_name(ledger: Witness, key: DeviceKey, keys: list[DeviceKey], actor: str) -> None:
    """Make a key its device's; the one before it is replaced, with its certificates."""
    connection, device_id = ledger.connection, key.device_id
    owner = shelf.owner_of(connection, key.digest, device_id)
    if owner is not None:
        raise Refused("key-in-use", f"The key {key.digest} is {owner}'s: each device needs one of its own.")
    for former in [one for one in keys if one.state is KeyState.ACCEPTED]:
        shelf.put_key(connection, replace(former, state=KeyState.REPLACED, decided_at=ledger.now, decided_by=actor))
        shelf.revoke_certificates(connection, ledger.now, "superseded", name=device_id, key_digest=former.digest)
        ledger.tell(_named(former), {"state": former.state}, {"state": KeyState.REPLACED})
    decided = {"state": KeyState.ACCEPTED, "decided_at": ledger.now, "decided_by": actor}
    shelf.put_key(connection, replace(key, **decided))
    ledger.tell(_named(key), {"state": key.state} if key.asked_at else None, {"state": KeyState.ACCEPTED})
    ledger.note("key", f"key accepted ({key.digest})", actor, device_id=device_id)


def take_back(
    ledger: Witness, device_id: str, keys: list[DeviceKey], reason: str, actor: str, *, is_all: bool
) -> list[str]:
    """Revoke keys of a device with their certificates, or with all certificates of the device."""
    connection, now = ledger.connection, ledger.now
    for key in keys:
        if key.state is not KeyState.REVOKED:
            shelf.put_key(connection, replace(key, state=KeyState.REVOKED, decided_at=now, decided_by=actor))
            ledger.tell(_named(key), {"state": key.state}, {"state": KeyState.REVOKED})
    of = [{"name": device_id}] if is_all else [{"name": device_id, "key_digest": key.digest} for key in keys]
    serials = [
        serial for values in of for serial in shelf.revoke_certificates(connection, now, _checked(reason), **values)
    ]
    for serial in serials:
        ledger.tell(f"certificate {serial} of {device_id}", {}, {"revoked": reason})
        ledger.note("certificate", f"{serial} revoked: {reason}", actor, device_id=device_id)
    return serials


def _named(key: DeviceKey) -> str:
    return f"key {key.digest} of {key.device_id}"


def _checked(reason: str) -> str:
    if reason not in REASONS:
        raise Refused("bad-reason", f"{reason!r} is no reason: use one of {', '.join(REASONS)}.")
    return reason
