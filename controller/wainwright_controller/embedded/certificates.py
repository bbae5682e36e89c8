"""The certificates of the embedded broker and of its controller: made when they are first needed.

Renewals.py renews them later. One that the authority has not signed is left alone: somebody has put it there.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from wainwright_controller import enrolment_store as shelf
from wainwright_controller.https import LIFETIME, subject_names
from wainwright_controller.pki import CONTROLLER, Authority
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.records import CertificateKind
from wainwright_controller.store import Store

ACTOR = "controller"


def make_certificates(store: Store, keeper: Keeper, names: Sequence[str], now: float) -> None:
    """Make what is missing, and the broker's anew when it is not for these names. Raises PkiError."""
    authority, folder = keeper.authority(), keeper.folder
    if not folder.broker.exists() or _is_for_other_names(authority, names):
        made = authority.issue_server(names, folder.broker, folder.broker_key, utc(now), LIFETIME)
        _record(store, authority, made, CertificateKind.SERVER, now)
    if not folder.controller.exists():
        made = authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(now))
        _record(store, authority, made, CertificateKind.CONTROLLER, now)


def _is_for_other_names(authority: Authority, names: Sequence[str]) -> bool:
    present = x509.load_pem_x509_certificate(authority.folder.broker.read_bytes())
    is_ours = present.issuer in {issuer.certificate.subject for issuer in authority.issuers}
    return is_ours and subject_names(present) != set(names)


def _record(store: Store, authority: Authority, made: x509.Certificate, kind: CertificateKind, now: float) -> None:
    with store.write() as connection:
        shelf.add_certificate(connection, shelf.record_of(made, kind, authority.issuer.id, now, ACTOR))
