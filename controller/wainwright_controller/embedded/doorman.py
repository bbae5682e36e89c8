"""Who may connect to the embedded broker over TLS, and what he may do there.

The broker asks for each connection (NATS calls it an auth callout); it has verified the certificate by then. The first
that holds decides:

1. No MQTT, or no certificate → out. Nobody speaks NATS's own protocol but the keeper.
2. A certificate that was revoked, or has the number of another one that was recorded, or that an issuing authority
   signed which is not trusted any more → out. The broker knows no revocation lists, and believes what is below the
   root: store and authority are asked instead, each time.
3. A controller's name → a controller's topics, by whatever client id. By that of a device it ends that device's
   session, and may say that the device is gone: NATS tells no last will of a session that another takes over.
4. A device id → that device's topics, if the client id is its own too: two with one id would end each other's session.
5. Else → out.

Nobody is let in for longer than his certificate holds: the broker ends the connection then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cryptography import x509
from nats.aio.client import Client
from nats.aio.msg import Msg

from wainwright_common.errors import BadTopic
from wainwright_common.topics import DEVICE_ID, check_device_id, client_id
from wainwright_controller.embedded.configuration import ASKED, controllers_rights, devices_rights, presence_of
from wainwright_controller.embedded.tickets import Signer, claims_of
from wainwright_controller.pki import is_reserved
from wainwright_controller.pki.profiles import common_name

LOG = logging.getLogger(__name__)


class Visitor(NamedTuple):
    """Who asks to be let in; `certificate` has been verified, and `issuer` is the authority that signed it."""

    is_mqtt: bool
    client_id: str
    certificate: x509.Certificate | None
    issuer: x509.Certificate | None = None


class Permit(NamedTuple):
    """What a visitor may do, and until when, in seconds since the epoch."""

    name: str
    publish: list[str]
    subscribe: list[str]
    until: float


class Refused(Exception):  # noqa: N818  what happened
    """A visitor is not let in; the text says why."""


class Book(NamedTuple):
    """What the controller knows of certificates."""

    is_void: Callable[[x509.Certificate], bool]
    """Whether a certificate was taken back, or another one was recorded by its number."""
    is_trusted: Callable[[x509.Certificate], bool]
    """Whether an issuing authority is one of those that there are."""


def permit(visitor: Visitor, prefix: str, book: Book) -> Permit:
    """Return what a visitor may do, by the rules of this module; raises Refused."""
    certificate = visitor.certificate
    if not visitor.is_mqtt or certificate is None:
        raise Refused("no MQTT client with a certificate")
    name = common_name(certificate)
    if visitor.issuer is None or not book.is_trusted(visitor.issuer):
        raise Refused(f"the certificate of {name!r} is of an authority that is not trusted any more")
    if book.is_void(certificate):
        raise Refused(f"the certificate of {name!r} was revoked, or has the number of another one")
    until = certificate.not_valid_after_utc.timestamp()
    if is_reserved(name):
        rights = controllers_rights(prefix)
        if (device := device_of(visitor.client_id)) is not None:
            rights["publish"] += presence_of(prefix, device)
        return Permit(name, **rights, until=until)
    try:
        check_device_id(name)
    except BadTopic:
        raise Refused(f"{name!r} is no device id") from None
    if visitor.client_id != client_id(name):
        raise Refused(f"{name!r} calls itself {visitor.client_id!r}: its client id must be {client_id(name)!r}")
    return Permit(name, **devices_rights(prefix, name), until=until)


def device_of(client: str) -> str | None:
    """Return the device whose client id this is; None for none, or a controller's own."""
    device = client.replace("%2E", ".")
    if is_reserved(device) or not DEVICE_ID.fullmatch(device):
        return None
    return device


class Doorman:
    """Answers the broker; `serve` for each connection to it."""

    def __init__(self, prefix: str, book: Book) -> None:
        self.signer = Signer()
        self._prefix = prefix
        self._book = book

    async def serve(self, client: Client) -> None:
        """Answer from now on."""
        await client.subscribe(ASKED, cb=self._answer)

    async def _answer(self, message: Msg) -> None:
        asked = claims_of(message.data)["nats"]
        user, server, now = asked["user_nkey"], asked["server_id"]["id"], time.time()
        try:
            allowed = permit(_visitor(asked), self._prefix, self._book)
        except Refused as error:
            LOG.debug("not let in to the embedded broker: %s", error)
            await message.respond(self.signer.answer(user, server, now, error=str(error)))
        except Exception:  # whatever it is, nobody is let in by it
            LOG.exception("the embedded broker could not be told whom to let in")
            await message.respond(self.signer.answer(user, server, now, error="internal"))
        else:
            ticket = self.signer.ticket(
                user,
                allowed.name,
                publish=allowed.publish,
                subscribe=allowed.subscribe,
                until=allowed.until,
                now=now,
            )
            await message.respond(self.signer.answer(user, server, now, ticket=ticket))


def _visitor(asked: Mapping[str, Any]) -> Visitor:
    about = asked.get("client_info", {})
    chains = asked.get("client_tls", {}).get("verified_chains") or [[]]
    shown = [x509.load_pem_x509_certificate(pem.encode()) for pem in chains[0][:2]]
    certificate, issuer = (*shown, None, None)[:2]
    return Visitor(about.get("type") == "mqtt", about.get("mqtt_id", ""), certificate, issuer)
