"""Renews what the authority has signed for machines: the broker, the controller itself, its HTTPS.

1. At two thirds of its life each gets a successor with the same names; at once when it was revoked, when the issuing
   authority that signed it is trusted no more, and when it is not valid yet, because the clock that it was made by was
   ahead. Devices see to theirs themselves.
2. What is in a file is written down if it is not yet: nobody can revoke what no list shows. So it does not matter
   whether who made it was stopped, or the store away, in between.
3. A certificate of another root in the same place is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from wainwright_controller import enrolment_store as shelf
from wainwright_controller.https import ServerTls, is_fresh
from wainwright_controller.pki import Authority
from wainwright_controller.pki.authority import SERVER_LIFETIME
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.pki.profiles import common_name
from wainwright_controller.records import Certificate, CertificateKind
from wainwright_controller.store import Store

LOG = logging.getLogger(__name__)

ACTOR = "controller"


class Renewals:
    """See the module; `on_controller` takes the controller's new one, whoever made it: the folder may be shared."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        tls: ServerTls | None,
        on_controller: Callable[[], None],
        broker_lifetime: timedelta = SERVER_LIFETIME,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._tls = tls
        self._on_controller = on_controller
        self._broker_lifetime = broker_lifetime
        self._taken = _content(keeper.folder.controller)

    @property
    def steps(self) -> Sequence[Callable[[float], bool]]:
        """What there is to renew, each on its own: one whose files cannot be used keeps no other from its turn.

        Each renews what is due, and returns whether the broker has a new certificate to read.
        """
        return self._renew_https, self._renew_controllers, self._renew_brokers

    def _renew_https(self, now: float) -> bool:
        """Renew what HTTPS shows; the administrator's own files are only taken anew."""
        tls, file = self._tls, self._keeper.folder.server
        if tls is None:
            return False
        is_revoked = tls.is_own and file.exists() and _is_revoked(self._known(_read(file)[0]))
        tls.renew(now, at_once=is_revoked)
        if tls.is_own and self._known(present := _read(file)[0]) is None:
            self._record(self._keeper.authority(), present, CertificateKind.SERVER, now)
        return False

    def _renew_controllers(self, now: float) -> bool:
        authority, folder = self._keeper.authority(), self._keeper.folder

        def make(former: x509.Certificate) -> x509.Certificate:
            files = folder.controller, folder.controller_key
            return authority.issue_controller(common_name(former), *files, utc(now))

        self._see_to(authority, folder.controller, CertificateKind.CONTROLLER, make, now)
        if (present := _content(folder.controller)) != self._taken:
            self._on_controller()
            self._taken = present
        return False

    def _renew_brokers(self, now: float) -> bool:
        authority, folder = self._keeper.authority(), self._keeper.folder

        def make(former: x509.Certificate) -> x509.Certificate:
            names = former.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            files = folder.broker, folder.broker_key
            return authority.issue_server([str(one.value) for one in names], *files, utc(now), self._broker_lifetime)

        return self._see_to(authority, folder.broker, CertificateKind.SERVER, make, now)

    def _see_to(
        self,
        authority: Authority,
        path: Path,
        kind: CertificateKind,
        make: Callable[[x509.Certificate], x509.Certificate],
        now: float,
    ) -> bool:
        """Renew the certificate of a file if it is time, and write it down; returns whether it is another one."""
        if not path.exists():
            return False
        present, *chain = _read(path)
        is_trusted = present.issuer in {issuer.certificate.subject for issuer in authority.issuers}
        if not is_trusted and not _is_below(authority.root, [present, *chain]):
            return False
        known = self._known(present)
        if not is_trusted or _is_revoked(known) or not is_fresh(present, utc(now)):
            present = make(present)
            LOG.info("renewed %s", path)
        elif known is not None:
            return False
        self._record(authority, present, kind, now)
        return True

    def _known(self, certificate: x509.Certificate) -> Certificate | None:
        with self._store.read() as connection:
            return shelf.load_certificate(connection, shelf.serial_of(certificate.serial_number))

    def _record(self, authority: Authority, made: x509.Certificate, kind: CertificateKind, now: float) -> None:
        [issuer] = [one.id for one in authority.issuers if one.certificate.subject == made.issuer]
        with self._store.write() as connection:
            shelf.add_certificate(connection, shelf.record_of(made, kind, issuer, now, ACTOR))


def _read(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def _content(path: Path) -> bytes:
    """Return what is in a file, if it can be read: who has to renew it says why it cannot."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _is_revoked(known: Certificate | None) -> bool:
    return known is not None and known.revoked_at is not None


def _is_below(root: x509.Certificate, chain: list[x509.Certificate]) -> bool:
    """Say whether a certificate with its chain was signed by an issuing authority of this root."""
    if len(chain) < 2:  # noqa: PLR2004  itself, and who signed it
        return False
    try:
        chain[0].verify_directly_issued_by(chain[1])
        chain[1].verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
