"""The running agent: one loop over one queue of events, with everything that happens answered in one place.

Threads bring events and never decide: the link (messages), the update (its state), the control socket (technicians),
the inventory (its scripts), signals. The loop decides with the plans of checkin.py, outbox.py and inquiries.py, and
sleeps until the next event or the earliest time that one of them names. What it does itself that is slow
is to store in the journal what it was told, and to sync what it sends of a log, where a module may keep the medium
busy; the watchdog is fed for it meanwhile.

A thread that ends by an error is a bug: the service says so and ends, and the service manager starts it again.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from datetime import UTC, datetime
from queue import Empty
from random import Random, SystemRandom
from threading import Thread

from msgspec import UNSET

from wainwright_agent import by_hand, identity, signals, status, technician
from wainwright_agent.boot import boot_id
from wainwright_agent.checkin import CheckIns
from wainwright_agent.collector import Collector
from wainwright_agent.config import Config
from wainwright_agent.control import Server
from wainwright_agent.enrolment import Enroller, Said
from wainwright_agent.events import (
    Asked,
    Collected,
    Connected,
    Disconnected,
    Enrolled,
    Event,
    EventQueue,
    Received,
    ScriptsRan,
    Stop,
    UpdateChanged,
    spawn,
)
from wainwright_agent.inquiries import Inquiries, problem
from wainwright_agent.journal import Journal
from wainwright_agent.link import Link
from wainwright_agent.log_sender import LogSender
from wainwright_agent.outbox import Outbox
from wainwright_agent.ration import Ration
from wainwright_agent.rounds import Rounds
from wainwright_agent.supervisor import Watchdog, notify
from wainwright_agent.update import Updater
from wainwright_common import __version__, settings
from wainwright_common.messages import (
    Ack,
    CheckIn,
    CheckInReason,
    Command,
    CommandName,
    Reply,
    Running,
    WhyCode,
)
from wainwright_common.topics import Kind

FIRST_INVENTORY_S = 3.0  # how long the first check-in waits for the inventory scripts, to spare a second inventory
SLEEP_MAX_S = 30.0  # a plan that another thread has changed is seen after this at the latest
WORKER_STOP_S = 20.0  # the update thread ends a module's process group within this, then the process ends anyway

UNDECIDED = frozenset({WhyCode.RATE_LIMITED, WhyCode.PAUSED, WhyCode.WINDOW})
"""Answers without an offer that say nothing about the deployment that a device is in the middle of."""

log = logging.getLogger(__name__)


class Service:
    """One agent. `run` returns when it was asked to end, and raises when it cannot go on."""

    def __init__(self, config: Config, random: Random | None = None) -> None:
        """Raises IdentityError without an id, JournalError when the journal is not to be had."""
        self._config = config
        self._random = random or SystemRandom()
        self._device_id = identity.device_id(config)
        self._events: EventQueue = EventQueue()
        self._watchdog = Watchdog(self._is_healthy)
        self._journal = Journal.open(config.data_dir, self._watchdog.patience)
        self._link = Link(config.broker, self._device_id, self._events, self._random)
        self._outbox = Outbox(self._journal, self._link, self._random)
        self._log_sender = LogSender(config.data_dir, lambda lines: self._link.deliver(Kind.LOG, lines))
        self._updater = Updater(
            config, self._journal, publish=self._outbox.publish, changed=lambda: self._events.put(UpdateChanged())
        )
        self._control = Server(config, self._events)
        self._check_ins = CheckIns(config.check_in.interval_s, self._random)
        self._inquiries = Inquiries()
        self._chatter = Ration(log, "commands and replies")
        self._rounds = Rounds(config, self._events)
        self._enroller = Enroller(config, self._device_id, self._events, self._random)
        self._collector = Collector(config, self._journal, self._link, self._events, self._random)
        self._running: Running | None = None
        """What the latest check-in said is running."""
        self._was_updating = self._journal.state.update is not None
        self._last_reply: Reply | None = None
        self._last_reply_at: datetime | None = None
        self._worker: Thread | None = None

    @property
    def device_id(self) -> str:
        """The id under which this agent speaks."""
        return self._device_id

    def run(self) -> None:
        """Serve until a signal; call it from the main thread. Raises what a thread could not go on with."""
        signals.listen(self._events)
        log.info("agent %s of %s starts in %s", __version__, self._device_id, self._config.data_dir)
        self._enroller.start()
        if self._enroller.is_ready:
            self._link.start()
        self._control.start()
        worker = self._worker = spawn(self._events, "update", self._updater.run)
        self._rounds.start()
        if not self._was_updating:
            self._rounds.rest()
        self._collector.collect()
        notify("READY=1")
        try:
            stop = self._loop()
        finally:
            notify("STOPPING=1")
            self._control.stop()
            self._rounds.stop()
            self._enroller.stop()
            self._updater.stop()
            worker.join(WORKER_STOP_S)
            self._link.stop()
            self._journal.close()
        log.info("agent ends: %s", stop.reason)
        if stop.error is not None:
            raise stop.error

    def _loop(self) -> Stop:
        while True:
            self._do_what_is_due(time.monotonic())
            event = self._next_event()
            if isinstance(event, Stop):
                return event
            if event is not None:
                self._take(event, time.monotonic())

    def _next_event(self) -> Event | None:
        check_in_at = math.inf if self._rounds.is_busy else self._check_ins.due_at
        plans = (check_in_at, self._outbox.due_at, self._inquiries.due_at)
        log_at = self._log_sender.due_at if self._link.is_up else math.inf
        due_at = min(*plans, log_at, self._collector.due_at, self._enroller.due_at, self._watchdog.due_at)
        try:
            return self._events.get(timeout=min(max(0.0, due_at - time.monotonic()), SLEEP_MAX_S))
        except Empty:
            return None

    def _do_what_is_due(self, now: float) -> None:
        if self._check_ins.due_at <= now and not self._rounds.is_busy:
            self._begin_check_in()
        self._chatter.sum_up(now)
        if self._outbox.due_at <= now:
            self._outbox.resend()
        if self._inquiries.due_at <= now:
            self._inquiries.expire(now, is_up=self._link.is_up)
        if self._collector.due_at <= now:
            self._collector.collect()
        if self._enroller.clock_was_set():
            self._link.retry_now()
        if self._enroller.due_at <= now:
            self._enroller.step()
        if self._link.is_up and self._log_sender.due_at <= now:
            with self._watchdog.patience():
                self._log_sender.step(now, more_to_come=self._journal.state.update is not None)
        if self._watchdog.due_at <= now:
            self._watchdog.feed()

    def _is_healthy(self) -> bool:
        """Say whether this agent works: its loop turns, and the threads live without which it is deaf or idle.

        Not asked: whether the broker answers or the disk takes a byte. Those a restart does not repair.
        """
        threads = {"update": self._worker is not None and self._worker.is_alive()}
        if self._enroller.is_ready:
            threads["link"] = self._link.is_alive
        for name in (name for name, is_alive in threads.items() if not is_alive):
            log.critical("the thread %s has ended; without the watchdog's sign this agent will be started again", name)
        return all(threads.values())

    def _take(self, event: Event, now: float) -> None:
        match event:
            case Connected():
                self._enroller.link_is_up()
                self._check_ins.link_up(now if self._collector.is_complete else now + FIRST_INVENTORY_S)
                self._outbox.hasten()
                self._log_sender.notice(now)
            case Disconnected(reason):
                self._check_ins.link_down()
                self._rounds.give_up()
                self._log_sender.link_down()
                self._enroller.link_failed(now)
                self._inquiries.link_failed(reason)
            case Received(Reply() as reply):
                self._on_reply(reply, now)
            case Received(Command() as command):
                self._on_command(command, now)
            case Received(Ack() as ack):
                self._updater.verdict(ack)
            case Collected(attributes):
                self._collector.collected(attributes, now)
                self._check_ins.hasten(now)
            case UpdateChanged():
                self._log_sender.notice(now)
                self._on_update_changed()
            case ScriptsRan():
                self._rounds.ran(event)
            case Enrolled(said):
                self._on_enrolled(said, now)
            case Asked():
                self._on_asked(event, now)

    def _on_enrolled(self, said: Said, now: float) -> None:
        had_none = not self._enroller.is_ready
        if self._enroller.done(said, now):
            self._link.start() if had_none else self._link.renew()

    def _begin_check_in(self) -> None:
        if self._journal.state.update is None:
            self._rounds.enter(lambda is_right: self._check_in(time.monotonic(), is_allowed=is_right))
        else:
            self._check_in(time.monotonic())

    def _check_in(self, now: float, *, is_allowed: bool = True) -> None:
        """Check in; one that is not allowed counts as one without an answer, and is tried again like it."""
        check_in_id = uuid.uuid4().hex
        reason = self._check_ins.take(now, check_in_id)
        if reason is None or not is_allowed:
            return
        state = self._journal.state
        update = state.update
        running = None
        if update is not None:
            offer = update.offer
            running = Running(deployment_id=offer.deployment_id, attempt=offer.attempt, status=update.status)
        # Of an update by hand the controller is told, so that it waits; but it has no say in it.
        self._running = None if update is None or update.by_hand is not None else running
        message = CheckIn(
            id=check_in_id,
            reason=reason,
            device_type=self._config.device_type,
            provides=state.provides,
            boot_id=boot_id(self._config.update.boot_id_file),
            agent_version=__version__,
            inventory_digest=self._collector.digest,
            running=running or UNSET,
            by_hand=True if state.last is not None and by_hand.is_by_hand(state.last.deployment_id) else UNSET,
        )
        log.info("checks in (%s)", reason.value)
        self._link.publish(Kind.CHECK_IN, message)
        self._inquiries.sent()

    def _on_reply(self, reply: Reply, now: float) -> None:
        if not self._check_ins.accept(reply, now):
            self._chatter.log(now, logging.INFO, "ignored a reply to check-in %s: not the latest", reply.check_in_id)
            return
        self._last_reply, self._last_reply_at = reply, datetime.now(UTC)
        if reply.send_inventory:
            self._collector.send()
        self._rounds.leave(lambda is_right: self._after_reply(reply, is_right=is_right))

    def _after_reply(self, reply: Reply, *, is_right: bool) -> None:
        self._inquiries.replied(reply, taken=is_right and self._follow(reply))
        if is_right and self._journal.state.update is None:
            self._rounds.rest()

    def _follow(self, reply: Reply) -> bool:
        """Give the update what a reply says of it; return whether an offer was taken."""
        running, offer = self._running, reply.offer
        if offer is UNSET:
            why = reply.why
            code, text = ("", "") if why is UNSET else (why.code, why.text)
            log.info("no offer: %s %s", code, text)
            if running is not None and code not in UNDECIDED:
                self._updater.gone(running.deployment_id)
            return False
        if running is not None and (offer.deployment_id, offer.attempt) != (running.deployment_id, running.attempt):
            self._updater.gone(running.deployment_id)
        taken: bool = self._updater.offer(offer)
        log.info(
            "offered %s by deployment %s, attempt %d%s",
            offer.artifact.name,
            offer.deployment_id,
            offer.attempt,
            "" if taken else ": not taken, for it is done already or another is under way",
        )
        return taken

    def _on_command(self, command: Command, now: float) -> None:
        self._chatter.log(now, logging.INFO, "command %s", command.name.value)
        if command.name is CommandName.CHECK_IN:
            self._check_ins.ask(CheckInReason.COMMAND)
        elif command.name is CommandName.SEND_INVENTORY:
            self._collector.collect_and_send()
        elif command.deployment_id is UNSET:
            log.warning("ignored the command abort: it names no deployment")
        else:
            self._updater.abort(command.deployment_id)

    def _on_update_changed(self) -> None:
        is_updating = self._journal.state.update is not None
        if self._was_updating and not is_updating:
            self._rounds.rest()
            self._check_ins.ask(CheckInReason.FINISHED)
            self._collector.collect()
        elif self._updater.needs_link:
            self._check_ins.ask(CheckInReason.START)
        self._was_updating = is_updating

    def _on_asked(self, asked: Asked, now: float) -> None:
        match asked.command:
            case "enrol":
                self._enroller.ask(asked)
            case "status":
                asked.answer(self._status(now))
            case "check-in":
                self._inquiries.add(asked, now)
                self._check_ins.ask(CheckInReason.LOCAL)
                self._link.retry_now()
            case "send-inventory" if self._link.is_up:
                self._collector.collect_and_send(asked)
            case "send-inventory":
                asked.answer(problem("not-connected", self._link.why_down))
            case command if command in by_hand.COMMANDS:
                asked.answer(technician.carry_out(self._updater, self._journal.state, asked))
            case _:
                asked.answer(problem("bad-request", f"This agent knows no command {asked.command!r}."))

    def _status(self, now: float) -> status.Status:
        link: status.Status = {"connected": self._link.is_up, "broker": self._config.broker.url}
        if since := self._link.since:
            link["since"] = settings.plain(since)
        elif self._link.last_error:
            link["error"] = self._link.last_error
            link["retry_in_s"] = max(0.0, round(self._link.retry_at - now, 1))
        check_in: status.Status = {}
        if self._last_reply is not None:
            check_in = {"answered_at": settings.plain(self._last_reply_at), "reply": status.of_reply(self._last_reply)}
        if (planned_at := self._check_ins.planned_at) != math.inf:
            check_in["next_in_s"] = max(0.0, round(planned_at - now, 1))
        record = status.of_record(self._config, self._device_id, self._journal.state)
        if "trying" in record:
            record["trying"].update(settings.plain(self._updater.snapshot()))
        live = {"agent": "running", "link": link, "check_in": check_in, "dropped_messages": dict(self._link.dropped)}
        if self._enroller.is_wanted:
            live["enrolment"] = self._enroller.status(now)
        return record | live
