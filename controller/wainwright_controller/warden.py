"""Sees to it that what was revoked is refused: writes the revocation list, has the broker read it, ends sessions.

1. The list is what the store says, written anew when that changes, or an issuing authority does, or a third of its life
   has passed: a broker refuses *everybody* when its list has expired.
2. The broker reads it only when told to, and that does not end connections: measured with Mosquitto 2.0.11.
3. So whoever is connected with a revoked certificate is disconnected after that, by taking his session over, twice,
   SETTLE_S apart: a broker that reads late would let him in again in between. Only then the store says that it is done.
   He has FAREWELL_S before that: a device in the middle of an update is told to stop, and would not hear it otherwise.
4. All of it may be repeated, and is, after a restart or a failure, until it has worked.
5. Whether the broker has read its list, nobody tells: a device that is heard again is what shows that it has not.

Besides, it renews the issuing authority and the certificates of servers and controllers, and removes what is old. A
step that fails keeps none from its turn but those that need what it does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from wainwright_common.errors import WainwrightError
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.pki import Authority, validity
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.pki.revocation import Revoked
from wainwright_controller.records import Certificate
from wainwright_controller.store import Store, is_refusal, said

LOG = logging.getLogger(__name__)

TICK_S = 1.0  # how late a revocation begins to hold
RETRY_S = 10.0  # after a failure
FAREWELL_S = 1.0  # for a device to hear that its deployment is over, before it hears nothing more
SETTLE_S = 5.0  # for a broker to read its list: systemd and a shell take less than one
TIDY_EVERY_S = 3600.0
WARN_EVERY_S = 86_400.0  # of an authority that ends: years before it does
WATCH_EVERY_S = 60.0  # for devices that should not be heard any more
STILL_S = 60.0  # after its end a session's last messages may still be read
NAMED_MAX = 10  # devices in one line of the log
REFUSED_MAX = 3  # sessions that cannot be ended, in one round: each may take half a minute, and the list has to wait
REWRITTEN_AT = 1 / 3  # of a list's life: two thirds of it are left for a controller that is away


class BrokerOrders(NamedTuple):
    """How a broker is told things; None where the configuration does not say how."""

    reload: Callable[[], None] | None
    """Have it read its files again; raises WainwrightError."""
    end_session: Callable[[str], None] | None
    """Disconnect who is connected by a name; raises WainwrightError."""


class SessionsRemain(WainwrightError):  # noqa: N818  the name is the sentence: "not yet: sessions remain"
    """Some whose certificates were revoked could not be disconnected."""


class Warden:
    """A thread that looks every TICK_S."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        orders: BrokerOrders,
        crl_lifetime_s: float,
        renew: Sequence[Callable[[float], bool]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._orders = orders
        self._lifetime_s = crl_lifetime_s
        self._renew = renew
        self._clock = clock
        self._revoked: list[Certificate] = []
        self._stamp: tuple[object, ...] = ()
        self._written: Mapping[str, frozenset[str]] | None = None
        self._written_at = 0.0
        self._wants_reload = True
        self._disconnected_at: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}
        self._tidy_at = 0.0
        self._watch_at = 0.0
        self._let_in: list[str] = []
        self._warn_at = 0.0
        self._complained_at: dict[Callable[[float], bool], float] = {}
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warden", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        if self._orders.reload is None:
            LOG.warning(
                "nobody tells the broker of a new revocation list: set broker.pid_file or broker.reload_command,"
                " or have its machine watch %s",
                self._keeper.folder.crl,
            )
        if self._orders.end_session is None:
            LOG.warning(
                "devices whose certificates are revoked stay connected until they are disconnected by something else:"
                " set broker.takeover_url or broker.disconnect_command"
            )
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._hurry.set()
        self._thread.join()

    def hurry(self) -> None:
        """Look now."""
        self._hurry.set()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            self._hurry.wait(pause_s)
            self._hurry.clear()
            if self._stopping.is_set():
                return
            pause_s = TICK_S
            try:
                self.look()
            except WainwrightError as error:
                LOG.error("a revocation does not hold yet: %s", error)  # noqa: TRY400  a sentence, no trace
                pause_s = RETRY_S
            except Exception as error:  # a bug of ours must not leave the fleet with a list that expires
                if is_refusal(error):
                    LOG.warning("the warden waits for the store: %s", said(error))
                else:
                    LOG.exception("what was revoked could not be seen to; trying again")
                pause_s = RETRY_S

    def look(self) -> None:
        """Do what there is to do; raises WainwrightError when something has to be tried again."""
        now = self._clock()
        self._watch(now)  # and what else needs no broker that does what it is told
        authority = self._keeper.authority()
        self._tidy(authority, now)
        self._warn(authority, now)
        self._renew_machines(now)
        revoked, authority = self._load_revoked(now), self._keeper.authority()
        if self._is_due(authority, revoked, now):
            self._write(authority, revoked, now)
        if self._wants_reload:
            if self._orders.reload is not None:
                self._orders.reload()
            self._wants_reload = False
        self._disconnect([one for one in revoked if one.session_ended_at is None], now)

    def _tidy(self, authority: Authority, now: float) -> None:
        if self._tidy_at - TIDY_EVERY_S <= now < self._tidy_at:
            return
        self._tidy_at = now + TIDY_EVERY_S
        with self._store.write() as connection:
            shelf.forget_old(connection, now, [one.id for one in authority.issuers])

    def _load_revoked(self, now: float) -> list[Certificate]:
        """Return what was taken back and is to be listed: many rows, read again only when they have changed."""
        with self._store.read() as connection:
            stamp = shelf.stamp_of_revoked(connection, now)
            if stamp != self._stamp:
                self._revoked, self._stamp = shelf.load_revoked(connection, now), stamp
        return self._revoked

    def _renew_machines(self, now: float) -> None:
        """Renew what signs, and what it signed for machines; a file that cannot be used keeps no list from it."""
        for renew in (self._keeper.rotate_if_due, *self._renew):
            try:
                self._wants_reload |= renew(now)
            except (WainwrightError, OSError, ValueError) as error:
                if not 0 <= now - self._complained_at.get(renew, -TIDY_EVERY_S) < TIDY_EVERY_S:
                    self._complained_at[renew] = now
                    LOG.error("what the controller and its broker need is not renewed: %s", error)  # noqa: TRY400

    def _warn(self, authority: Authority, now: float) -> None:
        """Say daily what of the authority ends, and a person has to see to."""
        if self._warn_at - WARN_EVERY_S <= now < self._warn_at:
            return
        self._warn_at = now + WARN_EVERY_S
        for sentence in validity.warnings(authority, utc(now)):
            LOG.error("%s", sentence)

    def _watch(self, now: float) -> None:
        """Say so when a broker lets in whom it should refuse; again only when it is others."""
        if self._watch_at - WATCH_EVERY_S <= now < self._watch_at:
            return
        self._watch_at = now + WATCH_EVERY_S
        with self._store.read() as connection:
            let_in = shelf.heard_after_their_end(connection, now, STILL_S)
        if let_in and let_in != self._let_in:
            more = f" and {len(let_in) - NAMED_MAX} more" if len(let_in) > NAMED_MAX else ""
            LOG.error(
                "the broker lets in devices whose certificates are revoked: %s%s. Does it read %s, and is it told to"
                " read it again? See docs/enrolment.md.",
                *(", ".join(let_in[:NAMED_MAX]), more, self._keeper.folder.crl),
            )
        self._let_in = let_in

    # ---- the list ---------------------------------------------------------------------------------------------

    def _is_due(self, authority: Authority, revoked: list[Certificate], now: float) -> bool:
        age = now - self._written_at
        is_old = not 0 <= age < self._lifetime_s * REWRITTEN_AT
        return is_old or self._written != _by_issuer(authority, revoked) or not authority.folder.crl.exists()

    def _write(self, authority: Authority, revoked: list[Certificate], now: float) -> None:
        entries: dict[str, list[Revoked]] = {}
        for one in revoked:
            entry = Revoked(int(one.serial, 16), utc(min(one.revoked_at or now, now)), one.reason)
            entries.setdefault(one.issuer, []).append(entry)
        number = int(now * 1000)  # grows from list to list, whichever controller writes it
        authority.write_crl(entries, number, utc(now), timedelta(seconds=self._lifetime_s))
        self._written, self._written_at = _by_issuer(authority, revoked), now
        self._wants_reload = True
        LOG.info("wrote the revocation list %s: %d certificates", authority.folder.crl, len(revoked))

    # ---- sessions ---------------------------------------------------------------------------------------------

    def _disconnect(self, revoked: list[Certificate], now: float) -> None:
        """End the sessions of all whom it can; raises SessionsRemain with the others, a few at a time and in turn."""
        if self._orders.end_session is None:
            return
        names = {one.name for one in revoked if one.kind != "server"}
        over = [one.name for one in revoked if 0 <= now - (one.revoked_at or 0) < FAREWELL_S]
        done: set[str] = set()
        refused: list[str] = []
        for name in sorted(names.difference(over), key=lambda name: (self._refused_at.get(name, 0.0), name)):
            try:
                done |= self._end(name, self._orders.end_session, now)
            except WainwrightError as error:
                self._refused_at[name] = now
                refused.append(str(error))
                if len(refused) == REFUSED_MAX:
                    break
        ended = [one.serial for one in revoked if one.kind == "server" or one.name in done]
        if ended:
            with self._store.write() as connection:
                shelf.note_session_ended(connection, ended, now)
        if refused:
            raise SessionsRemain(" ".join(refused))

    def _end(self, name: str, end_session: Callable[[str], None], now: float) -> set[str]:
        """End a session, the first time or the second; returns the name if that was all. Raises WainwrightError."""
        before = self._disconnected_at.get(name)
        if before is not None and 0 <= now - before < SETTLE_S:
            return set()
        end_session(name)
        self._refused_at.pop(name, None)
        if before is None or now < before:
            self._disconnected_at[name] = now
            return set()
        del self._disconnected_at[name]
        LOG.info("ended the session of %s, whose certificate was revoked", name)
        return {name}


def _by_issuer(authority: Authority, revoked: list[Certificate]) -> Mapping[str, frozenset[str]]:
    """Return what a list says: the numbers by issuing authority, of all that there are."""
    return {
        issuer.id: frozenset(one.serial for one in revoked if one.issuer == issuer.id) for issuer in authority.issuers
    }
