"""A warden on a store, with a clock and a broker of the test's."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from msgspec.structs import replace
from sqlalchemy import select

from wainwright_controller import enrolment_store as shelf
from wainwright_controller.https import ServerTls
from wainwright_controller.ingest.link import BrokerRefused
from wainwright_controller.ledger import Ledger
from wainwright_controller.pki import Folder
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.records import Certificate, CertificateKind, Device
from wainwright_controller.renewals import Renewals
from wainwright_controller.rows import CERTIFICATE
from wainwright_controller.store import Store
from wainwright_controller.warden import (
    FAREWELL_S,
    BrokerOrders,
    Warden,
)

DAY_S = 86_400.0
LIST_S = 30 * DAY_S


class Lab:
    """A warden on a store, whose clock and broker are the test's."""

    def __init__(self, tmp_path: Path, store: Store) -> None:
        self.now = time.time()
        self.store = store
        self.keeper = Keeper(Folder(tmp_path / "pki"), "Test", self.now, LIST_S)
        self.reloads = 0
        self.shown = 0  # how often the controller was told to show another certificate
        self.ended: list[str] = []
        self.fault: BrokerRefused | None = None
        self.stubborn: set[str] = set()  # whose sessions cannot be ended
        self.tried: list[str] = []
        self.tls: ServerTls | None = None
        self.warden = self.another()

    def another(self) -> Warden:
        """Return a warden that remembers nothing, as after a restart."""
        orders = BrokerOrders(self._reload, self._end)
        renewals = Renewals(self.store, self.keeper, self.tls, self._show)
        return Warden(self.store, self.keeper, orders, LIST_S, renewals.steps, clock=lambda: self.now)

    def _reload(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.reloads += 1

    def _show(self) -> None:
        self.shown += 1

    def _end(self, name: str) -> None:
        self.tried.append(name)
        if self.fault is not None:
            raise self.fault
        if name in self.stubborn:
            raise BrokerRefused(f"{name} is not here")
        self.ended.append(name)

    def issue(self, name: str) -> Certificate:
        """Record a certificate."""
        authority = self.keeper.authority()
        key = authority.issuer.certificate.public_key()
        made = authority.issue_client(key, name, utc(self.now), timedelta(days=90))
        record = shelf.record_of(made, CertificateKind.DEVICE, authority.issuer.id, self.now, "test")
        with self.store.write() as connection:
            shelf.add_certificate(connection, record)
        return record

    def hear(self, *names: str) -> None:
        """Have devices said something just now."""
        with self.store.write() as connection:
            ledger = Ledger(connection, self.now)
            ledger.load_devices(names)
            for name in names:
                known = ledger.devices.get(name, Device(id=name, created_at=self.now))
                ledger.put_device(replace(known, last_seen_at=self.now))
            ledger.flush()

    def revoke(self, record: Certificate) -> None:
        """Take a certificate back, and let the time pass that its owner has to say goodbye."""
        with self.store.write() as connection:
            shelf.revoke_certificates(connection, self.now, "key-compromise", serial=record.serial)
        self.now += FAREWELL_S

    @property
    def list(self) -> x509.CertificateRevocationList:
        """The revocation list that the broker reads."""
        return x509.load_pem_x509_crl(self.keeper.folder.crl.read_bytes())

    def recorded(self, path: Path) -> Certificate | None:
        """Return what the store knows of the certificate in a file."""
        made = x509.load_pem_x509_certificate(path.read_bytes())
        with self.store.read() as connection:
            return shelf.load_certificate(connection, shelf.serial_of(made.serial_number))

    def is_done(self, record: Certificate) -> bool:
        """Say whether the store takes the session for ended."""
        with self.store.read() as connection:
            query = select(CERTIFICATE.c.session_ended_at).where(CERTIFICATE.c.serial == record.serial)
            return connection.execute(query).scalar_one() is not None
