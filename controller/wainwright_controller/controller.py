"""One controller, put together: the store, the broker's link, the threads, and what the HTTP API works with."""

from __future__ import annotations

import fcntl
import logging
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from sqlalchemy import select

from wainwright_common import data_folder, messages
from wainwright_common.artifact import load_verify_keys
from wainwright_common.errors import WainwrightError
from wainwright_common.topics import Kind, Topic, client_id
from wainwright_controller import desk, first_admin, https, shared_keys
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.api.context import LOOPBACK_HOSTS, Context
from wainwright_controller.artifact_store import ArtifactStore
from wainwright_controller.broker_orders import orders_of
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.config import EMBEDDED, Config
from wainwright_controller.crowd import Crowd, Limits
from wainwright_controller.desk import Desk
from wainwright_controller.gate import Gate
from wainwright_controller.hearing import Hearing, Need
from wainwright_controller.https import ServerTls, names_of
from wainwright_controller.ingest.intake import Counts
from wainwright_controller.ingest.link import Link, take_over
from wainwright_controller.ingest.pipeline import Pipeline
from wainwright_controller.ingest.traffic import Settings, Traffic
from wainwright_controller.links import Links
from wainwright_controller.news import News
from wainwright_controller.operations import Operations
from wainwright_controller.pki import Folder, is_reserved
from wainwright_controller.pki.authority import SERVER_LIFETIME
from wainwright_controller.pki.keeper import Keeper
from wainwright_controller.records import Artifact
from wainwright_controller.renewals import Renewals
from wainwright_controller.rows import ARTIFACT, DEVICE
from wainwright_controller.sessions import KEY_SETTING as SESSION_KEY
from wainwright_controller.sessions import Sessions
from wainwright_controller.store import Store
from wainwright_controller.ticker import Ticker
from wainwright_controller.timeline import Keep
from wainwright_controller.waker import Waker
from wainwright_controller.warden import BrokerOrders, Warden

if TYPE_CHECKING:
    from wainwright_controller.embedded import EmbeddedBroker

LOG = logging.getLogger(__name__)

DAY_S = 86_400.0


class FolderTaken(WainwrightError):  # noqa: N818  the name is the sentence: "refused: folder taken"
    """Another controller works in the data folder."""


class Controller:
    """Everything but the HTTP server; `start` and `stop` are called once each.

    `public_url` is how devices reach the HTTP server, which the links in offers begin with.
    """

    def __init__(self, config: Config, public_url: str) -> None:
        verify_keys = load_verify_keys(config.artifacts.verify_keys)  # first: what has begun would have to be ended
        self._lock = take(config.data_dir)
        self.config = config
        self.store = Store(config.store_url)
        self.store.upgrade()
        self.gate = Gate(self.store, needs_token=config.needs_token, token=config.http.token)
        if config.needs_token and not config.http.token:
            first_admin.ensure(self.store, config.data_dir)
        self.keeper: Keeper | None = None
        if config.has_authority:
            enrolment = config.enrolment
            folder = Folder(config.pki_folder)
            self.keeper = Keeper(folder, enrolment.name, time.time(), enrolment.crl_lifetime_s)
        self.broker = self._embedded(config) if config.broker.url == EMBEDDED else None
        self.broker_url = self.broker.url if self.broker else config.broker.url
        self.bulletin = Bulletin()
        self.counts = Counts()
        self.links = Links.of_store(self.store, config.artifacts.link_lifetime_s)
        self.artifacts = ArtifactStore(config.artifacts_folder, config.artifacts, verify_keys=verify_keys)
        self.artifacts.prepare(self._has_artifact)
        self.hearing = Hearing(Need.BROKER)
        self.link = Link(self.broker.section if self.broker else config.broker, self.broker_url, self.hearing)
        self.waker = Waker(self.link.publish)
        self.operations = Operations(
            self.store, self.bulletin, self.waker, approval_above=config.deployments.approval_above
        )
        settings = Settings(
            check_in_interval_s=config.devices.check_in_interval_s,
            auto_accept=config.devices.auto_accept,
            pending_max=config.devices.pending_max,
        )
        self._add_authority(config)
        traffic = Traffic(settings, partial(make_link, self.links, public_url))
        self.pipeline = Pipeline(
            self.store,
            self.link,
            traffic,
            self.counts,
            self.waker,
            self.bulletin,
            self.hearing,
            prefix=config.broker.prefix,
        )
        self.news = News(self.store, self.bulletin)
        self.ticker = Ticker(
            self.store,
            self.waker,
            self.bulletin,
            Keep(age_s=config.timeline.keep_days * DAY_S, lines_max=config.timeline.device_lines_max),
            hearing=self.hearing,
        )
        self.context = Context(
            operations=self.operations,
            bulletin=self.bulletin,
            artifacts=self.artifacts,
            links=self.links,
            counts=self.counts,
            broker_is_connected=self.link.connected.is_set,
            gate=self.gate,
            sessions=Sessions(shared_keys.ensure(self.store, SESSION_KEY), self.gate.configured or ""),
            crowd=Crowd(Limits.of(config.http)),
            hosts=LOOPBACK_HOSTS | {config.http.host, urlsplit(public_url).hostname or ""},
            keeper=self.keeper,
            desk=self.desk,
            warden=self.warden,
        )

    def _embedded(self, config: Config) -> EmbeddedBroker:
        """Return the embedded broker; with TLS, it and the controller have certificates then."""
        # Imported where it is used: its own client library takes 6 MB that a controller on Mosquitto does not need.
        from wainwright_controller.embedded import ANY_ADDRESS, Book, Door, Doorman, EmbeddedBroker, make_certificates

        if not config.broker.tls or self.keeper is None:
            return EmbeddedBroker(config.data_dir, config.broker)
        hosts = [] if config.broker.host in ANY_ADDRESS else [config.broker.host]
        make_certificates(self.store, self.keeper, list(dict.fromkeys([*names_of(config), *hosts])), time.time())
        book = Book(self._is_void, partial(_is_trusted, self.keeper))
        door = Door(self.keeper.folder, Doorman(config.broker.prefix, book))
        return EmbeddedBroker(config.data_dir, config.broker, door)

    def _is_void(self, shown: x509.Certificate) -> bool:
        with self.store.read() as connection:
            found = shelf.load_certificate(connection, shelf.serial_of(shown.serial_number))
        return found is not None and (found.revoked_at is not None or not shelf.is_of(found, shown))

    def _end_session(self, broker: EmbeddedBroker, name: str) -> None:
        """End the session of a device on the embedded broker, or for a controller's all; raises BrokerRefused.

        Whoever has a controller's certificate has any client id, so that no session of one name is all of his.
        """
        if is_reserved(name):
            broker.end_connections()
            return
        with self.store.read() as connection:
            version = connection.execute(select(DEVICE.c.agent_version).where(DEVICE.c.id == name)).scalar()
        gone = messages.Presence(online=False, since=datetime.now(UTC), agent_version=version or "unknown")
        take_over(broker.section, broker.url, client_id(name), (Topic(name, Kind.PRESENCE), gone))

    def _add_authority(self, config: Config) -> None:
        """Add what signs certificates and takes them back, as far as the configuration asks for it."""
        self.desk: Desk | None = None
        self.warden: Warden | None = None
        self.tls: ServerTls | None = None
        self.renewals: Renewals | None = None
        enrolment, now = config.enrolment, time.time()
        if config.http.tls:
            self.tls = ServerTls(config, self.keeper, now)
        if self.keeper is None:
            return
        lifetime = SERVER_LIFETIME if self.broker is None else https.LIFETIME  # others are copied by hand, perhaps
        self.renewals = Renewals(self.store, self.keeper, self.tls, self.link.take_certificate, lifetime)
        orders, lifetime_s = orders_of(config.broker), enrolment.crl_lifetime_s
        if self.broker is not None and config.broker.tls:
            orders = BrokerOrders(self.broker.reload, partial(self._end_session, self.broker))
        self.warden = Warden(self.store, self.keeper, orders, lifetime_s, self.renewals.steps)
        if enrolment.enabled:
            settings = desk.Settings(
                lifetime_s=enrolment.certificate_lifetime_s,
                auto_accept=config.devices.auto_accept,
                pending_max=config.devices.pending_max,
            )
            self.desk = Desk(self.store, self.keeper, settings)

    def _has_artifact(self, artifact_id: str) -> bool:
        with self.store.read() as connection:
            query = select(ARTIFACT.c.id).where(ARTIFACT.c.id == artifact_id)
            return connection.execute(query).first() is not None

    def start(self) -> None:
        """Take device traffic and let time pass. Raises BrokerError when the embedded broker does not start."""
        if self.broker is not None:
            self.broker.start()
        self.waker.start()
        self.news.start()
        self.pipeline.start()
        self.ticker.start()
        if self.warden is not None:
            self.warden.start()

    def stop(self) -> None:
        """Finish what is being written, then end; what is not acknowledged comes again from the broker."""
        self.context.closing.set()
        if self.warden is not None:
            self.warden.stop()
        self.ticker.stop()
        self.waker.stop()
        self.pipeline.stop()
        self.news.stop()
        if self.broker is not None:
            self.broker.stop()
        self.store.close()
        self._lock.close()


def _is_trusted(keeper: Keeper, issuer: x509.Certificate) -> bool:
    return issuer in {one.certificate for one in keeper.authority().issuers}


def make_link(links: Links, public_url: str, artifact: Artifact, now: float) -> messages.Artifact:
    """Return what an offer says of an artifact, with a link that is valid from `now` on."""
    uri, expires = links.make(public_url, artifact.id, now)
    return messages.Artifact(
        id=artifact.id, name=artifact.name, size=artifact.size, sha256=artifact.sha256, uri=uri, expires=expires
    )


def take(data_dir: Path) -> IO[bytes]:
    """Make, or close to others, and take a data folder for this process, until the returned file is closed.

    Two controllers in one folder would run two brokers on one store, which damages it. Raises FolderTaken, and
    Untrusted where others have, or had, a hand in it.
    """
    try:
        data_folder.prepare(data_dir)
    except OSError as error:
        raise WainwrightError(f"Cannot use {data_dir}: {error.strerror}. Set data_dir to another folder.") from error
    file = (data_dir / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise FolderTaken(
            f"Another controller uses {data_dir}: stop it, or give this one a folder of its own (data_dir)."
        ) from error
    return file
