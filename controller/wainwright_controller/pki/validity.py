"""How long an authority still signs, when another issuing authority is due, and what only a person can put right.

Pure: the time is an argument. What is signed holds for 397 days at most, and never longer than who signed it; so an
issuing authority of five years hands over when it has two left, and nothing that it signs is cut short.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509

from wainwright_controller.pki.authority import Authority
from wainwright_controller.pki.profiles import ISSUING_LIFETIME, lasting

ROTATED_AT = 3 / 5  # of an issuing authority's life
ROOT_WARNED = timedelta(days=2 * 365)  # before its end: whoever has to touch each device needs time


def is_due(authority: Authority, now: datetime) -> bool:
    """Say whether another issuing authority is to sign, if the root can make one that lasts longer.

    It is when this one's last two fifths have begun, and when it is not valid yet: it was made by a clock ahead.
    """
    issuer, root = authority.issuer.certificate, authority.root
    begins, ends = issuer.not_valid_before_utc, issuer.not_valid_after_utc
    if not _holds(root, now):
        return False
    return now < begins or (
        now >= begins + (ends - begins) * ROTATED_AT and lasting(root, now, ISSUING_LIFETIME) > ends
    )


def fault(authority: Authority, now: datetime) -> str:
    """Say why nothing that an authority signs now is valid, and what to do; "" if it is, or would be when rotated."""
    folder, issuer = authority.folder, authority.issuer
    if not _holds(authority.root, now):
        return (
            f"The root {folder.root} {_when(authority.root, now)}: set the clock if that is wrong. If not, devices need"
            f" another root: move {folder.path} away, run `wainwright ca init`, and see docs/enrolment.md."
        )
    if _holds(issuer.certificate, now) or authority.has_root_key:
        return ""
    return (
        f"The issuing authority {issuer.id} {_when(issuer.certificate, now)}: set the clock if that is wrong. If not,"
        f" bring {folder.root_key} back for the moment and start the controller, which makes another; or have one"
        " signed where that is (`wainwright ca rotate --files --request`)."
    )


def warnings(authority: Authority, now: datetime) -> Iterator[str]:
    """Yield what a person has to see to before it is too late."""
    folder, issuer, root = authority.folder, authority.issuer, authority.root
    if said := fault(authority, now):
        yield said
    elif is_due(authority, now) and not authority.has_root_key:
        yield (
            f"The issuing authority {issuer.id} ends at {issuer.certificate.not_valid_after_utc:%Y-%m-%d}, and with it"
            f" everybody's certificates: {folder.root_key} is not here, so have another signed where it is"
            " (`wainwright ca rotate --request`)."
        )
    if _holds(root, now) and now >= root.not_valid_after_utc - ROOT_WARNED:
        yield (
            f"The root {folder.root} ends at {root.not_valid_after_utc:%Y-%m-%d}, and nothing is trusted after that:"
            " devices need another (docs/enrolment.md)."
        )


def _holds(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _when(certificate: x509.Certificate, now: datetime) -> str:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    verb, moment = ("begins", begins) if now < begins else ("ended", ends)
    return f"{verb} at {moment:%Y-%m-%d %H:%M} UTC, and this machine's clock says {now:%Y-%m-%d %H:%M}"
