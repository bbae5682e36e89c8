"""Who is let in to the embedded broker by TLS, as a rule; that the broker asks, and keeps to it, is tested with it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.authority import Authority
from wainwright_common.topics import PREFIX
from wainwright_controller.embedded.configuration import controllers_rights, devices_rights, subject
from wainwright_controller.embedded.doorman import Book, Refused, Visitor, permit
from wainwright_controller.embedded.tickets import Signer, claims_of

Certificates = Callable[[str], x509.Certificate]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """`certificate(name)` was issued to a name."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    return lambda name: authority.issue(name, file_name="one").loaded


BOOK = Book(is_void=lambda _certificate: False, is_trusted=lambda _issuer: True)


def visitor(client_id: str, shown: x509.Certificate) -> Visitor:
    """Return who shows a certificate; it stands for its issuer's, too, which the book decides about."""
    return Visitor(is_mqtt=True, client_id=client_id, certificate=shown, issuer=shown)


@pytest.mark.parametrize(("name", "client_id"), [("press-07", "press-07"), ("press.07", "press%2E07")])
def test_a_device_gets_its_own_topics_for_as_long_as_its_certificate_holds(
    certificate: Certificates, name: str, client_id: str
) -> None:
    shown = certificate(name)

    allowed = permit(visitor(client_id, shown), PREFIX, BOOK)

    assert {"publish": allowed.publish, "subscribe": allowed.subscribe} == devices_rights(PREFIX, name)
    assert timedelta(hours=23) < datetime.fromtimestamp(allowed.until, UTC) - datetime.now(UTC) < timedelta(hours=25)
    assert not any("*" in one for one in [*allowed.publish, *allowed.subscribe])


@pytest.mark.parametrize(
    ("name", "client_id", "words"),
    [
        ("press-07", "press-08", "its client id must be 'press-07'"),
        ("press-07", "wainwright-controller", "its client id must be"),
        ("press-07", "", "its client id must be"),
        ("press.07", "press.07", "its client id must be 'press%2E07'"),
        ("*", "*", "no device id"),
        (">", ">", "no device id"),
        ("press 07", "press 07", "no device id"),
        ("a/b", "a/b", "no device id"),
    ],
)
def test_who_is_not_who_he_says_stays_outside(certificate: Certificates, name: str, client_id: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        permit(visitor(client_id, certificate(name)), PREFIX, BOOK)


def test_who_shows_nothing_or_speaks_another_protocol_stays_outside(certificate: Certificates) -> None:
    shown = certificate("press-07")
    for who in (Visitor(True, "press-07", None), Visitor(False, "press-07", shown, shown)):  # noqa: FBT003
        with pytest.raises(Refused, match="no MQTT client with a certificate"):
            permit(who, PREFIX, BOOK)


@pytest.mark.parametrize("name", ["press-07", "wainwright-controller"])
def test_a_revoked_certificate_opens_nothing_whoever_has_it(certificate: Certificates, name: str) -> None:
    shown = certificate(name)
    with pytest.raises(Refused, match="was revoked"):
        permit(visitor(name, shown), PREFIX, BOOK._replace(is_void=lambda certificate: certificate == shown))


@pytest.mark.parametrize("name", ["press-07", "wainwright-controller"])
def test_a_certificate_of_an_authority_that_is_not_there_any_more_opens_nothing(
    certificate: Certificates, name: str
) -> None:
    shown = certificate(name)
    book = BOOK._replace(is_trusted=lambda issuer: issuer != shown)
    for who in (visitor(name, shown), Visitor(is_mqtt=True, client_id=name, certificate=shown, issuer=None)):
        with pytest.raises(Refused, match="not trusted any more"):
            permit(who, PREFIX, book)


@pytest.mark.parametrize(
    ("client_id", "more"),
    [
        ("wainwright-controller-1234", []),
        ("press%2E07", [f"{subject(PREFIX)}.press//07.up.presence"]),
        ("a b", []),
    ],
)
def test_a_controller_gets_what_is_the_controllers_and_can_say_that_a_device_is_gone(
    certificate: Certificates, client_id: str, more: list[str]
) -> None:
    allowed = permit(visitor(client_id, certificate("wainwright-controller")), PREFIX, BOOK)

    rights = controllers_rights(PREFIX)
    assert (allowed.publish, allowed.subscribe) == ([*rights["publish"], *more], rights["subscribe"])


def test_a_ticket_is_signed_by_the_key_that_the_broker_was_told_of() -> None:
    signer = Signer()
    token = signer.ticket("U1", "press-07", publish=["a"], subscribe=["b"], until=20.0, now=10.0)
    text, _, signature = token.rpartition(".")
    raw = base64.b32decode(signer.name + "=" * (-len(signer.name) % 8))

    Ed25519PublicKey.from_public_bytes(raw[1:33]).verify(base64.urlsafe_b64decode(signature + "=="), text.encode())

    claims = claims_of(token.encode())
    assert (claims["iss"], claims["sub"], claims["exp"], claims["iat"]) == (signer.name, "U1", 20, 10)
    assert signer.name.startswith("A")
    assert len(signer.name) == 56


@pytest.mark.parametrize("token", [b"", b"a.b", b"a.!.c", b"a." + base64.b64encode(json.dumps([]).encode()) + b".c"])
def test_what_is_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(ValueError, match="not a token"):
        claims_of(token)
