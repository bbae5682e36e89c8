"""The daemon's side of enrolment: when a certificate is asked for, by which child, and what comes of it.

The child (enrol.py) is a process of its own, as that of a download is, and for the same reason. It gets one Job on its
standard input and says one line of JSON. The rules of when:

1. Without a certificate: at once, then as the controller says while somebody has to accept the device; a refusal or a
   failure is tried again after a pause that doubles.
2. With one: at `renew_at`, at about two thirds of its life; then, if that fails, after the same pauses, for ever. The
   certificate that there is stays in use until there is another.
3. If the broker refuses it although it should hold: ask once an hour. The authority may have been rotated away.
4. The clock is only looked at. When it is set, all of this is judged anew, and at once.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from random import Random

import msgspec

from wainwright_agent.config import Config, Enrolment
from wainwright_agent.credentials import Credentials, Holding
from wainwright_agent.events import Asked, Enrolled, EventQueue, spawn
from wainwright_agent.failure import Interrupted
from wainwright_agent.groups import end_leftovers
from wainwright_agent.inquiries import problem
from wainwright_agent.pace import backoff, jittered
from wainwright_agent.processes import Lines, Process, Surroundings, TimedOut, Wake
from wainwright_common import settings
from wainwright_common.prepared import prepare

PROGRAM = (sys.executable, "-m", "wainwright_agent.enrol")
RECORDS = "processes-enrolment"  # of the data folder; apart from the updater's, which ends what it finds in its own
LIMIT_S = 300.0  # for the child: four requests of 40 s each, on a slow device
STOP_S = 15.0
RETRY_FIRST_S, RETRY_MAX_S = 30.0, 3600.0  # between two attempts that failed
REFUSED_FIRST_S = 600.0  # after a refusal: a person has to change something, so it is no haste
SUSPECT_AFTER = 4  # connections that failed one after the other before the certificate is suspected
SUSPECT_EVERY_S = 3600.0
CLOCK_STEP_S = 60.0  # of the wall clock against the steady one: less is a time service that keeps it

log = logging.getLogger(__name__)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the child needs to know; paths as text, since it travels as JSON."""

    url: str
    device_id: str
    data_dir: str
    ca: str = ""
    ca_fingerprint: str = ""
    token: str = ""
    new_key: bool = False


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the child said: a certificate, or to wait, or a refusal by its code, or else why it failed."""

    holding: Holding | None = None
    waits_s: int | None = None
    refused: str = ""
    key: str = ""
    text: str = ""


prepare(Said)  # a thread decodes it


def job_of(config: Config, device_id: str, *, new_key: bool = False) -> Job:
    """Return what a configuration has to say to the child."""
    enrolment = config.enrolment
    return Job(
        url=enrolment.url,
        device_id=device_id,
        data_dir=str(config.data_dir),
        ca=str(enrolment.ca or ""),
        ca_fingerprint=enrolment.ca_fingerprint,
        token=token_of(enrolment),
        new_key=new_key,
    )


def token_of(enrolment: Enrolment) -> str:
    """Return the token, from its file if it has one; none if that is gone, as it may be once it was used."""
    if enrolment.token_file is None:
        return enrolment.token
    try:
        return enrolment.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        log.info("no enrolment token in %s: %s", enrolment.token_file, error)
        return ""


def attempt(job: Job, surroundings: Surroundings) -> Said:
    """Run the child to its end and return what it said; raises Interrupted."""
    heard: list[str] = []
    output, errors = Lines(heard.append), Lines(lambda line: log.info("enrolment: %s", line))
    try:
        with Process(
            PROGRAM,
            surroundings,
            cwd=Path(job.data_dir),
            stdin=msgspec.json.encode(job),
            on_output=output.feed,
            on_errors=errors.feed,
        ) as process:
            status = process.wait(time.monotonic() + LIMIT_S)
    except TimedOut:
        return Said(text=f"The controller did not answer within {LIMIT_S:g} s.")
    except OSError as error:
        return Said(text=f"Enrolment could not be started: {error}.")
    output.end()
    errors.end()
    try:
        return msgspec.json.decode(heard[-1] if heard else b"", type=Said)
    except msgspec.DecodeError:
        return Said(text=f"Enrolment ended with status {status}. Its last words: {errors.tail or 'none'}.")


class Enroller:
    """Keeps one device's certificate. All methods but `_work` are called from the service's loop."""

    def __init__(self, config: Config, device_id: str, events: EventQueue, random: Random) -> None:
        self._config = config
        self._device_id = device_id
        self._events = events
        self._random = random
        self._files = Credentials(config.data_dir)
        self._stopping = False
        self._wake = Wake()
        self._records = config.data_dir / RECORDS
        self._around = Surroundings(self._records, lambda: self._stopping, self._wake)
        self._holding = self._files.holding(device_id) if self.is_wanted else None
        self._last: Said | None = None
        self._is_busy = False
        self._failures = 0
        self._broken_links = 0
        self._retry_at = 0.0
        self._suspected_at = -math.inf
        self._clock = time.time() - time.monotonic()
        self._waiting: list[Asked] = []

    @property
    def is_wanted(self) -> bool:
        """Whether this device gets its certificate so."""
        return bool(self._config.enrolment.url)

    @property
    def is_ready(self) -> bool:
        """Whether the device has what it shows to the broker."""
        return not self.is_wanted or self._holding is not None

    @property
    def due_at(self) -> float:
        """When to call `step`, in monotonic seconds."""
        if not self.is_wanted or self._is_busy:
            return math.inf
        if self._holding is None:
            return self._retry_at
        return max(self._retry_at, time.monotonic() + self._holding.renew_at.timestamp() - time.time())

    def start(self) -> None:
        """End what an agent before has left running."""
        if self.is_wanted:
            self._files.prepare()
            end_leftovers(self._records)

    def stop(self) -> None:
        """End the child, if one runs."""
        self._stopping = True
        self._wake.poke()

    def step(self, *, new_key: bool = False) -> None:
        """Ask for a certificate, in a thread."""
        if self._is_busy:
            return
        self._is_busy = True
        job = job_of(self._config, self._device_id, new_key=new_key)
        spawn(self._events, "enrolment", lambda: self._work(job))

    def _work(self, job: Job) -> None:
        try:
            self._events.put(Enrolled(attempt(job, self._around)))
        except Interrupted:
            return  # the service ends

    def clock_was_set(self) -> bool:
        """Say whether the wall clock was set since the last time that this was asked; then all is judged anew."""
        offset = time.time() - time.monotonic()
        is_step = abs(offset - self._clock) > CLOCK_STEP_S
        if is_step:
            self._retry_at = 0.0
            log.info("the clock was set, by %+.0f s", offset - self._clock)
        if is_step or abs(offset - self._clock) < 1:
            self._clock = offset
        return is_step

    def link_is_up(self) -> None:
        """Take note that the broker takes the certificate."""
        self._broken_links = 0

    def link_failed(self, now: float) -> None:
        """Take note that a connection failed; after some, the certificate may be why, though it should hold."""
        self._broken_links += 1
        suspects = self._broken_links >= SUSPECT_AFTER and now - self._suspected_at > SUSPECT_EVERY_S
        if self.is_wanted and self._holding is not None and suspects:
            self._suspected_at = now
            log.info("the broker cannot be reached; asking whether there is a newer certificate")
            self.step()

    def done(self, said: Said, now: float) -> bool:
        """Take what an attempt came to; says whether the link has a new certificate to show."""
        self._is_busy = False
        self._last = said
        for asked in self._waiting:
            asked.answer(answer_of(said))
        self._waiting.clear()
        if said.holding is not None:
            is_new = self._holding is None or said.holding.serial != self._holding.serial
            self._holding = said.holding
            self._failures, self._retry_at = 0, now + RETRY_FIRST_S
            until = said.holding.ends_at.strftime("%Y-%m-%d %H:%M UTC")
            log.info("has a certificate until %s", until) if is_new else log.info("the certificate is the newest")
            return is_new
        self._retry_at = now + self._pause_s(said)
        what = "waits to be accepted" if said.waits_s is not None else "has no new certificate"
        level = logging.INFO if said.waits_s is not None else logging.WARNING
        log.log(level, "%s, asks again in %.0f s: %s", what, self._retry_at - now, _with_key(said))
        return False

    def _pause_s(self, said: Said) -> float:
        if said.waits_s is not None:
            self._failures = 0
            return jittered(said.waits_s, self._random)
        first_s = REFUSED_FIRST_S if said.refused else RETRY_FIRST_S
        pause_s = backoff(self._failures, first_s, RETRY_MAX_S, self._random)
        self._failures += 1
        return pause_s

    def ask(self, asked: Asked) -> None:
        """Have a technician's wish carried out: ask now, with a new key perhaps; he is told what comes of it."""
        if not self.is_wanted:
            asked.answer(problem("nothing", "No controller gives certificates here: enrolment.url is not set."))
            return
        if not asked.is_owner:
            asked.answer(problem("forbidden", "Only root and the agent's own user may have the device enrol."))
            return
        wants_more = bool(asked.options.get("new_key") or asked.options.get("renew"))
        if self._holding is not None and not wants_more and not self._is_busy:
            asked.answer(answer_of(Said(holding=self._holding, key=self._holding.key)))
            return
        self._waiting.append(asked)
        self.step(new_key=bool(asked.options.get("new_key")))

    def status(self, now: float) -> dict[str, object]:
        """Return what is known, for `wain status`."""
        found: dict[str, object] = {"controller": self._config.enrolment.url}
        if self._holding is not None:
            found |= {"certificate_until": settings.plain(self._holding.ends_at), "key": self._holding.key}
            found["renews_at"] = settings.plain(self._holding.renew_at)
        if self._last is not None and self._last.holding is None:
            found["trouble"] = answer_of(self._last)
        if self._is_busy:
            found["asks"] = "now"
        elif self._retry_at > now and (self._holding is None or self._failures):
            found["asks_in_s"] = round(self._retry_at - now, 1)
        return found


def answer_of(said: Said) -> dict[str, object]:
    """Return what an attempt came to, as a technician's command prints it."""
    if said.holding is not None:
        until = settings.plain(said.holding.ends_at)
        return {"enrolled": said.holding.device_id, "key": said.holding.key, "until": until}
    code = "waiting" if said.waits_s is not None else "refused" if said.refused else "failed"
    answer: dict[str, object] = {"error": code, "text": said.text}
    answer |= {"key": said.key} if said.key else {}
    answer |= {"wait_s": said.waits_s} if said.waits_s is not None else {}
    return answer | ({"reason": said.refused} if said.refused else {})


def _with_key(said: Said) -> str:
    return f"{said.text} Its key is {said.key}." if said.key and said.waits_s is not None else said.text
