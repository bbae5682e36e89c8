"""The child that asks for a certificate: `python -m wainwright_agent.enrol`, a Job on standard input. See enrolment.py.

In this order, so that a power cut anywhere costs nothing but another try:

1. The key is on the medium before anybody hears of it.
2. The controller is known: by its authority's file, by the fingerprint of its root, or by the system's authorities.
3. A device with a certificate that holds asks with it (simplereenroll); any other, and one that is refused so, with its
   key alone (simpleenroll). The controller knows a device by its key, so an expired certificate is no loss.
4. What comes is looked at before it is kept: it must be for this device and this key, hold now, be newer than one that
   is due, and lead to a root that the device was told of or has already.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom

import msgspec
from cryptography import x509

from wainwright_agent.credentials import Credentials, CredentialsError, Holding, Record, Trouble
from wainwright_agent.enrolment import Job, Said
from wainwright_agent.est import Est, EstFailed, EstRefused, EstWaits, pem
from wainwright_agent.keys import KeyPair, issued_by, read_bundle

RENEW_FROM, RENEW_TO = (
    0.62,
    0.70,
)  # of a certificate's life, spread: a fleet that enrolled in one hour must not renew so
UNKNOWN_CERTIFICATE = frozenset({"certificate-unknown", "certificate-revoked", "certificate-needed", "key-unknown"})
"""Refusals of a certificate that say nothing against the key."""

log = logging.getLogger(__name__)


def main() -> int:
    """Carry out the job on standard input; exit status 0 when its end, good or bad, was said."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    said = carry_out(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()
    return 0


def carry_out(job: Job) -> Said:
    """Ask for a certificate, and keep it, or why there is none; raises CredentialsError without a folder for it."""
    with _alone(Credentials(Path(job.data_dir))) as credentials:
        said = _attempt(job, credentials)
        _note(credentials, said)
    return said


def _attempt(job: Job, credentials: Credentials) -> Said:
    pair: KeyPair | None = None
    try:
        pair = _key_pair(job, credentials)
        holding = Attempt(job, credentials, pair).run()
    except EstWaits as waits:
        return Said(waits_s=waits.seconds, key=pair.digest if pair else "", text=str(waits))
    except EstRefused as refused:
        return Said(refused=refused.code, key=pair.digest if pair else "", text=str(refused))
    except (EstFailed, CredentialsError) as error:
        return Said(text=str(error), key=pair.digest if pair else "")
    return Said(holding=holding, key=pair.digest)


def _note(credentials: Credentials, said: Said) -> None:
    """Keep how it ended, for `wain test`; a certificate that is there stays whatever happens."""
    if said.holding is not None:
        record = Record(holding=said.holding)
    else:
        code = "waiting" if said.waits_s is not None else "refused" if said.refused else "failed"
        trouble = Trouble(code=code, text=said.text, at=datetime.now(UTC), key=said.key, reason=said.refused)
        record = msgspec.structs.replace(credentials.record(), trouble=trouble)
    try:
        credentials.write_record(record)
    except CredentialsError as error:
        log.warning("%s", error)


@contextmanager
def _alone(credentials: Credentials) -> Iterator[Credentials]:
    """Wait until nobody else enrols in the same folder."""
    credentials.prepare()
    lock = os.open(credentials.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield credentials
    finally:
        os.close(lock)


def _key_pair(job: Job, credentials: Credentials) -> KeyPair:
    """Return the key to ask with: the one that there is, or a new one where one is wanted or was under way."""
    bundle = read_bundle(credentials)
    if credentials.next_key.exists():
        pair = KeyPair.read(credentials.next_key)
        if bundle is None or bundle.pair.digest != pair.digest:
            return pair
        credentials.settle_key()  # its certificate has come, and the power went before the last step
        if not job.new_key:
            return pair
    if job.new_key and credentials.key.exists():
        return KeyPair.make(credentials, credentials.next_key)
    return KeyPair.read(credentials.key) if credentials.key.exists() else KeyPair.make(credentials, credentials.key)


class Attempt:
    """One attempt."""

    def __init__(self, job: Job, credentials: Credentials, pair: KeyPair) -> None:
        self._job = job
        self._files = credentials
        self._pair = pair
        self._est = Est(job, credentials)

    def run(self) -> Holding:
        """Return the certificate that was given and kept; raises EstWaits, EstRefused, EstFailed, CredentialsError."""
        self._est.trust()
        csr = self._pair.request(self._job.device_id)
        certificate = self._renewed(csr) or self._est.enrol(csr)
        authorities = self._est.authorities()
        root, chain = issued_by(certificate, authorities)
        self._est.check_root(root)
        self._check(certificate)
        self._check_dates(certificate)
        holding = self._holding(certificate)
        self._files.write(self._files.ca, pem(root))
        content = self._pair.pem + b"".join(pem(one) for one in (certificate, *chain))
        self._files.write(self._files.device, content)
        if self._files.next_key.exists():
            self._files.settle_key()
        return holding

    def _renewed(self, csr: bytes) -> x509.Certificate | None:
        """Return what the present certificate is renewed to; None if it is none to ask with."""
        bundle = read_bundle(self._files)
        now = datetime.now(UTC)
        if (
            bundle is None
            or not bundle.certificate.not_valid_before_utc <= now < bundle.certificate.not_valid_after_utc
        ):
            return None
        if bundle.name != self._job.device_id:
            return None
        try:
            return self._est.renew(csr)
        except EstRefused as refused:
            if refused.code not in UNKNOWN_CERTIFICATE:
                raise
            log.info("asking with the key alone: %s", refused)
        except EstFailed as failed:
            # A server that does not take the certificate ends the connection, and may yet take the key.
            log.info("asking with the key alone: %s", failed)
        return None

    def _check(self, certificate: x509.Certificate) -> None:
        names = [str(one.value) for one in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        if names != [self._job.device_id]:
            raise EstFailed(f"The controller gave a certificate for {names}, not for {self._job.device_id}: not kept.")
        if self._pair.digest != KeyPair.digest_of(certificate.public_key()):
            raise EstFailed("The controller gave a certificate for another key: not kept.")

    def _check_dates(self, certificate: x509.Certificate) -> None:
        begins, ends, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, self._est.now
        if not begins <= now < ends:
            raise EstFailed(
                f"The controller gave a certificate that holds from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M}"
                f" UTC, and its clock shows {now:%Y-%m-%d %H:%M}: not kept. See whether that is right."
            )
        if self._is_due(certificate):
            raise EstFailed(
                f"The controller gave the certificate that the device has already, until {ends:%Y-%m-%d %H:%M} UTC,"
                " and that is to be renewed by now. See whether its clock and this device's are right."
            )

    def _is_due(self, certificate: x509.Certificate) -> bool:
        """Say whether this is the very certificate that the device has and is to renew."""
        held, bundle = self._files.record().holding, read_bundle(self._files)
        if held is None or bundle is None or bundle.certificate != certificate:
            return False
        return held.serial == _serial(certificate) and held.renew_at <= datetime.now(UTC)

    def _holding(self, certificate: x509.Certificate) -> Holding:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        # From now on, not from when it begins: that is dated back, by more than a short life perhaps.
        left = ends - max(begins, min(datetime.now(UTC), ends))
        share = SystemRandom().uniform(RENEW_FROM, RENEW_TO)
        return Holding(
            device_id=self._job.device_id,
            serial=_serial(certificate),
            key=self._pair.digest,
            begins_at=begins,
            ends_at=ends,
            renew_at=ends - timedelta(seconds=left.total_seconds() * (1 - share)),
        )


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:040x}"


if __name__ == "__main__":
    os._exit(main())
