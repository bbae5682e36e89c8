"""HTTPS: the server's certificate, and who a client shows that he is.

1. The certificate is a file of the administrator's, or one of the controller's own authority, for the names under which
   the controller is reached; that one is made anew at two thirds of its life, and taken without a restart.
2. Clients may show a certificate of the authority. One that does not hold (expired, of another authority, not for
   clients) ends the handshake; whether one was revoked is asked where it counts, in the store.
3. The certificate that was shown is `request.state.peer_certificate`, in DER, or None.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from wainwright_common.errors import WainwrightError
from wainwright_controller.config import Config
from wainwright_controller.pki.keeper import Keeper, utc

LIFETIME = timedelta(days=30)  # clients read no revocation list: so long a stolen key is of use
RENEWED_AT = 2 / 3  # of its life
PEER = "peer_certificate"
_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  addresses that name no host


class TlsError(WainwrightError):
    """The server's certificate or key cannot be used."""


class ServerTls:
    """The TLS settings of the server. `context` may be given to a server at once; `renew` keeps it current.

    A context that changes under a handshake may crash the process: while a server runs, its loop makes them, and is
    where the context changes.
    """

    def __init__(self, config: Config, keeper: Keeper | None, now: float) -> None:
        self._config = config
        self._keeper = keeper
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = threading.Lock()
        self._names = names_of(config)
        self.is_own = not config.http.certificate
        """Whether the authority makes its certificate, or an administrator."""
        self._loaded: tuple[object, ...] = ()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.enrolment.enabled:
            self.context.verify_mode = ssl.CERT_OPTIONAL
        if self.is_own:
            self._issue_if_due(now)
        self._load()

    def renew(self, now: float, *, at_once: bool = False) -> None:
        """Make a new certificate if it is time, and have the server's loop take what has changed on the disk.

        `at_once` makes one whatever the time: the present one was revoked. Raises TlsError for files that cannot be
        used; what was loaded before stays.
        """
        if self.is_own:
            self._issue_if_due(now, at_once=at_once)
        if self._on_disk() == self._loaded:
            return
        self._take_into(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))  # half a pair leaves a context with none
        with self._turn:
            if self._loop is None:
                self._load()
            else:
                self._loop.call_soon_threadsafe(self._load)

    def belongs_to(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Change in this loop alone from now on: a server begins to make handshakes there; None when it has ended."""
        with self._turn:
            self._loop = loop

    def _load(self) -> None:
        seen = self._on_disk()
        self._take_into(self.context)
        self._loaded = seen

    def _take_into(self, context: ssl.SSLContext) -> None:
        """Load what is on the disk; raises TlsError."""
        certificate, key = self._files()
        try:
            with self._undisturbed():
                context.load_cert_chain(certificate, key)
            if self._config.enrolment.enabled and self._keeper is not None:
                context.load_verify_locations(self._keeper.folder.ca)
        except (ssl.SSLError, OSError) as error:
            said = error.strerror or error
            raise TlsError(f"Cannot serve HTTPS with {certificate} and {key}: {said}. Are they PEM files?") from error

    def _undisturbed(self) -> AbstractContextManager[None]:
        """Keep whoever shares the authority's folder from writing one file of a pair, and the other later."""
        return self._keeper.folder.locked() if self.is_own and self._keeper is not None else nullcontext()

    def _files(self) -> tuple[Path, Path]:
        if self.is_own and self._keeper is not None:
            return self._keeper.folder.server, self._keeper.folder.server_key
        return Path(self._config.http.certificate), Path(self._config.http.key)

    def _on_disk(self) -> tuple[object, ...]:
        files = [*self._files(), *([self._keeper.folder.ca] if self._keeper is not None else [])]
        return tuple(file.stat().st_mtime_ns if file.exists() else None for file in files)

    def _issue_if_due(self, now: float, *, at_once: bool = False) -> None:
        """Make the server's own certificate if there is no fresh one for these names.

        Another controller may share the folder, so a fresh one that lacks a name gets a successor with its names, too.
        """
        assert self._keeper is not None  # noqa: S101  config.has_authority
        authority, folder, names = self._keeper.authority(), self._keeper.folder, self._names
        if folder.server.exists() and folder.server_key.exists() and not at_once:
            present = x509.load_pem_x509_certificate(folder.server.read_bytes())
            if is_fresh(present, utc(now)) and present.issuer == authority.issuer.certificate.subject:
                others = sorted(subject_names(present) - set(names))
                if len(others) + len(names) == len(subject_names(present)):
                    return
                names = [*names, *others]
        authority.issue_server(names, folder.server, folder.server_key, utc(now), LIFETIME)


def names_of(config: Config) -> list[str]:
    """Return the names and addresses under which a controller's server is reached."""
    public = urlsplit(config.http.public_url).hostname if config.http.public_url else None
    names = [public, None if config.http.host in _ANY else config.http.host, "localhost", "127.0.0.1"]
    return list(dict.fromkeys(name for name in names if name))


def is_fresh(certificate: x509.Certificate, now: datetime) -> bool:
    """Say whether a machine's certificate is valid, and its last third has not begun.

    One that was made by a clock that was ahead is not valid yet when that has been set back.
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins <= now < begins + (ends - begins) * RENEWED_AT


def subject_names(certificate: x509.Certificate) -> set[str]:
    """Return the names and addresses that a server's certificate is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def shown_by(transport: asyncio.BaseTransport) -> bytes | None:
    """Return the certificate that the other end of a connection has shown, in DER; uvicorn does not tell of it."""
    connection = transport.get_extra_info("ssl_object")
    shown: bytes | None = connection.getpeercert(binary_form=True) if connection is not None else None
    return shown


__all__ = ["PEER", "ServerTls", "TlsError", "names_of", "shown_by", "subject_names"]
