"""Renews what the authority has signed for machines: the broker, the controller itself, its HTTPS.

At two thirds of its life each gets a successor with the same names, and at once when the issuing authority that signed
it is trusted no more; devices see to theirs themselves. A certificate of another root in the same place is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from wainwright_controller import enrolment_store as shelf
from wainwright_controller.https import ServerTls
from wainwright_controller.pki import Authority
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.pki.profiles import common_name
from wainwright_controller.records import CertificateKind
from wainwright_controller.store import Store

LOG = logging.getLogger(__name__)

RENEWED_AT = 2 / 3  # of its life
ACTOR = "controller"


class Renewals:
    """See the module; `loop` is the HTTPS server's, once it runs. `on_controller` takes the controller's new one."""

    def __init__(self, store: Store, keeper: Keeper, tls: ServerTls | None, on_controller: Callable[[], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._store = store
        self._keeper = keeper
        self._tls = tls
        self._on_controller = on_controller

    def renew(self, now: float) -> bool:
        """Renew what is due; returns whether the broker has a new certificate to read."""
        authority, folder = self._keeper.authority(), self._keeper.folder
        if self._tls is not None:
            self._tls.renew(now, self.loop)
        if made := self._renewed(authority, folder.controller, now):
            authority.issue_controller(common_name(made), folder.controller, folder.controller_key, utc(now))
            self._record(authority, folder.controller, CertificateKind.CONTROLLER, now)
            self._on_controller()
        if made := self._renewed(authority, folder.broker, now):
            names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            authority.issue_server([str(one.value) for one in names], folder.broker, folder.broker_key, utc(now))
            self._record(authority, folder.broker, CertificateKind.SERVER, now)
            return True
        return False

    def _renewed(self, authority: Authority, path: Path, now: float) -> x509.Certificate | None:
        """Return a certificate of this authority that is due for renewal, None for any other."""
        if not path.exists():
            return None
        present, *chain = x509.load_pem_x509_certificates(path.read_bytes())
        if present.issuer not in {issuer.certificate.subject for issuer in authority.issuers}:
            return present if _is_below(authority.root, [present, *chain]) else None
        begins, ends = present.not_valid_before_utc, present.not_valid_after_utc
        return present if utc(now) >= begins + (ends - begins) * RENEWED_AT else None

    def _record(self, authority: Authority, path: Path, kind: CertificateKind, now: float) -> None:
        made = x509.load_pem_x509_certificate(path.read_bytes())
        with self._store.write() as connection:
            shelf.add_certificate(connection, shelf.record_of(made, kind, authority.issuer.id, now, ACTOR))
        LOG.info("renewed %s", path)


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
