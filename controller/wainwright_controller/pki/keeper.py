"""The authority as its folder says now: another process may rotate it, or a person may put a file back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from wainwright_controller.pki import validity
from wainwright_controller.pki.authority import Authority
from wainwright_controller.pki.folder import Folder, PkiError

LOG = logging.getLogger(__name__)

Clock = Callable[[], float]


class Keeper:
    """Gives the present authority; safe to share between threads. The first one is made where there is none.

    Raises PkiError where nothing that it signs would be valid now, and where this machine cannot know the time.
    """

    def __init__(self, folder: Folder, name: str, now: float, crl_lifetime_s: float) -> None:
        self.folder = folder
        self.name = name
        self._lock = threading.Lock()
        self._authority = Authority.create(folder, name, utc(now), timedelta(seconds=crl_lifetime_s))
        self._seen = self._look()
        self.rotate_if_due(now)
        if said := validity.fault(self.authority(), utc(now)):
            raise PkiError(said)

    def authority(self) -> Authority:
        """Return the authority; raises PkiError when its files cannot be used."""
        with self._lock:
            now = self._look()
            if now != self._seen:
                self._authority = Authority.load(self.folder)
                self._seen = now
            return self._authority

    def rotate_if_due(self, now: float) -> bool:
        """Have another issuing authority sign when it is time, if the root's key is here; returns whether it does."""
        before = self.authority()
        if not before.has_root_key or not validity.is_due(before, utc(now)):
            return False
        after = before.rotate(self.name, utc(now)).issuer
        LOG.warning("the issuing authority %s signs from now on, in place of %s", after.id, before.issuer.id)
        return True

    def _look(self) -> tuple[str, int]:
        """Return what differs after every change of the issuing authorities."""
        try:
            return str(self.folder.issuing.readlink()), self.folder.issuers.stat().st_mtime_ns
        except OSError as error:
            raise PkiError(f"Cannot read {error.filename}: {error.strerror}. Restore {self.folder.path}.") from error


def utc(seconds: float) -> datetime:
    """Return a time, in seconds since the epoch, as certificates have it."""
    return datetime.fromtimestamp(seconds, UTC)
