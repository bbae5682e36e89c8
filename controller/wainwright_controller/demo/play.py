"""What happens in the demo, in order; see `play`."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from wainwright_common.errors import WainwrightError
from wainwright_controller.demo.api import Api, Json
from wainwright_controller.demo.hints import where_to_look
from wainwright_controller.demo.processes import Processes
from wainwright_controller.demo.releases import make_key, name_of, write_release
from wainwright_controller.demo.screen import Look, Screen, screen_for
from wainwright_controller.demo.signals import Interrupted, ignore_signals, signals_raise
from wainwright_controller.demo.stage import DEVICE_TYPES, DemoDevice, Stage, environment
from wainwright_controller.demo.verdict import Facts, Plan, problems, table

DEVICES = 12
DEVICES_MIN = 4  # two canaries, one that fails, one that is killed
DEVICES_MAX = 100  # each is a process of about 25 MB
CANARIES = 2
FORMER, RELEASE = "hello-1.0", "hello-2.0"
FORMER_SIZE = 64 * 1024  # bytes of software; quick
RELEASE_SIZE = 1536 * 1024  # bytes; at the paces below a download of 2 to 6 s, long enough to watch
PACE_S = 0.06  # for every 64 KiB
SLOW_PACE_S = 0.25  # of the device that is killed in its download
KILL_AT = 0.3  # of its download
DEAD_S = 1.0  # until it is started again
LOOK_S = 0.2  # between two looks at the controller
READY_S = 60.0  # for the processes to be up; 10 s on a machine with two cores that does nothing else
ROLLOUT_S = 120.0  # for one deployment
LOG_LINES = 5  # of a process that ended, in the error
REMOVE_S = 30.0  # a broker ends within a tenth of a second of its controller, where the machine has time for it
REMOVE_PAUSE_S = 0.05

INTERRUPTED = 130


class DemoFailed(WainwrightError):  # noqa: N818  the name is the sentence
    """Something did not come about; the text says what."""


def main(
    *,
    devices: int = DEVICES,
    keep: bool = False,
    broker: str | None = None,
    secure: bool = False,
    out: TextIO = sys.stdout,
) -> int:
    """Run the demo; returns 0 when everything ended as it should, 1 when not, 130 when it was interrupted.

    `keep` leaves the system running until Ctrl+C. `broker` is the address of a broker to use, else one is embedded;
    where it is `secure` all speak TLS.
    Every process has ended when this returns, and the folder is gone; after a failure the folder stays, with the logs.
    """
    screen = screen_for(out)
    folder = Path(tempfile.mkdtemp(prefix="wainwright-demo-"))
    processes = Processes(folder / "logs")
    keep_folder = False
    with signals_raise():
        try:
            stage = Stage(folder, broker, usual_ports=keep, secure=secure)
            return play(stage, processes, screen, devices=devices, keep=keep)
        except Interrupted:
            screen.rest()
            screen.say("Interrupted.")
            return INTERRUPTED
        except WainwrightError as error:
            keep_folder = True
            screen.rest()
            screen.say(f"The demo failed. {error} The logs are in {folder / 'logs'}.")
            return 1
        finally:
            ignore_signals()
            processes.stop_all()
            if not keep_folder:
                remove(folder)
                screen.say("All processes have ended, and the demo's folder is removed.")


def remove(folder: Path) -> None:
    """Remove the folder; again while the broker of a controller that was interrupted in its start still writes."""
    deadline = time.monotonic() + REMOVE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(REMOVE_PAUSE_S if folder.exists() else 0)


def play(stage: Stage, processes: Processes, screen: Screen, *, devices: int, keep: bool) -> int:
    """Start a fleet, give it a first release, roll out the next one by canary with two mishaps; tell, check, tell."""
    began = time.monotonic()
    stage.build(devices)
    make_key(stage.private_key, stage.public_key)
    play = _Play(stage, processes, screen)
    play.raise_curtain()
    play.install_former()
    facts = play.roll_out()
    wrong = problems(play.plan, facts)
    screen.rest()
    screen.print(["", *table(play.plan, facts), ""])
    for text in wrong:
        screen.say(f"WRONG: {text}")
    if not wrong:
        screen.say(f"Everything ended as it should, in {time.monotonic() - began:.0f} s.")
    screen.print(where_to_look(stage, play.plan, facts, keep=keep))
    if keep:
        play.wait_for_the_end()
    if wrong:
        raise DemoFailed(f"{len(wrong)} things did not end as they should.")
    return 0


class SuddenDeath:
    """Kills one device's agent in the middle of its download, once, and starts it again a little later."""

    def __init__(self, device: DemoDevice, kill: Callable[[str], None], start: Callable[[DemoDevice], None]) -> None:
        self._device = device
        self._kill = kill
        self._start = start
        self._back_at: float | None = None
        self._is_over = False
        self.progress = 0.0
        """How much of the download was done when the agent was killed, 0 to 1."""

    def look(self, part: Json, now: float) -> str | None:
        """Do what is due at `now` (monotonic seconds), given the device's part; return what was done."""
        if self._is_over:
            return None
        if self._back_at is not None:
            return self._come_back() if now >= self._back_at else None
        progress = part.get("progress")
        if part["status"] != "downloading" or not progress or progress["done"] < KILL_AT * progress["total"]:
            return None
        self._kill(self._device.id)
        self._device.set_pace(None)
        self._back_at = now + DEAD_S
        self.progress = progress["done"] / progress["total"]
        return f"{self._device.id} is killed with SIGKILL, at {self.progress:.0%} of its download."

    def _come_back(self) -> str:
        self._start(self._device)
        self._is_over = True
        return f"{self._device.id} starts again."


class _Play:
    """The acts; each leaves the stage ready for the next."""

    def __init__(self, stage: Stage, processes: Processes, screen: Screen) -> None:
        self.stage = stage
        self.processes = processes
        self.screen = screen
        self.api = Api(stage.url, stage.ca)
        self._env = environment()
        ids = [device.id for device in stage.devices]
        self._rigged, self._killed = stage.devices[CANARIES], stage.devices[CANARIES + 1]
        self.plan = Plan(FORMER, RELEASE, frozenset(ids[:CANARIES]), self._rigged.id, self._killed.id)
        self._sudden_death = SuddenDeath(self._killed, self.processes.kill, self._start)

    def raise_curtain(self) -> None:
        """Start all processes, and accept the devices."""
        stage, count = self.stage, len(self.stage.devices)
        broker = stage.broker or f"a broker of its own{', both with TLS' if stage.secure else ''}"
        self.screen.say(f"Starting a controller with {broker}, and {count} devices, each a process of its own.")
        self.processes.start("controller", stage.controller_argv, self._env)
        self._await(self.api.is_ready, "the controller to be ready", READY_S)
        if stage.secure:
            stage.token_file.touch(mode=0o600)
            stage.token_file.write_text(self.api.enrolment_token(count), encoding="utf-8")
            self.screen.say(f"The controller has an authority; a token lets {count} devices have a certificate each.")
        for device in stage.devices:
            self._start(device)
        self._await(self._all_online, f"{count} devices to ask to join", READY_S)
        self.api.accept_all()
        how = "enrolled by the token" if stage.secure else "asked to join"
        self.screen.say(f"{count} devices of the types {' and '.join(DEVICE_TYPES)} {how}, and are accepted.")

    def install_former(self) -> None:
        """Give all devices a first release, so that there is something to go back to."""
        self._publish(FORMER, FORMER_SIZE)
        deployment_id = self.api.deploy(release=FORMER, all_devices=True, name=f"{FORMER} to all devices")["id"]
        look = self._follow(deployment_id, show=False)
        if look.deployment.get("outcome") != "success":
            raise DemoFailed(f"The first release did not reach all devices: {look.deployment['counts']}.")
        self.screen.say(f"All devices run {FORMER}.")

    def roll_out(self) -> Facts:
        """Roll the next release out: canaries first, then the rest; one device fails, one is killed."""
        devices = self.stage.devices
        self._publish(RELEASE, RELEASE_SIZE)
        for device in devices:
            device.set_pace(SLOW_PACE_S if device is self._killed else PACE_S)
        self._rigged.rig()
        deployment_id = self.api.deploy(
            release=RELEASE,
            devices=[device.id for device in devices],
            name=f"{RELEASE} to all devices",
            strategy="canary",
            phases=[{"count": CANARIES}, {"opens": "approval"}],
        )["id"]
        look = self._follow(deployment_id, show=True)
        return Facts(
            deployment=look.deployment,
            parts=look.parts,
            devices=self._settled_devices(),
            software={device.id: name_of(device.software) for device in devices},
            types={device.id: device.type for device in devices},
            progress_when_killed=self._sudden_death.progress,
        )

    def wait_for_the_end(self) -> None:
        """Keep everything running until a signal comes, which is how it is meant to end."""
        with suppress(Interrupted):
            while True:
                signal.pause()

    # ---- the parts of the acts ----------------------------------------------------------------------------------

    def _start(self, device: DemoDevice) -> None:
        self.processes.start(device.id, self.stage.agent_argv(device), self._env)

    def _all_online(self) -> bool:
        known = self.api.devices()
        return all(known.get(device.id, {}).get("last_check_in_at") for device in self.stage.devices)

    def _publish(self, release: str, size: int) -> None:
        paths = write_release(self.stage.folder, release, size, self.stage.private_key)
        for path in paths:
            self.api.upload(path)
        types = " and ".join(DEVICE_TYPES)
        self.screen.say(f"Release {release} is built, signed and uploaded: {len(paths)} artifacts, for {types}.")

    def _follow(self, deployment_id: str, *, show: bool) -> Look:
        """Look at a deployment until it is finished, and do what is to be done meanwhile."""
        deadline = time.monotonic() + ROLLOUT_S
        while True:
            look = Look(self.api.deployment(deployment_id), self.api.parts(deployment_id))
            if show:
                self.screen.show(look)
            if look.deployment["status"] == "finished":
                return look
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"{look.deployment['name']} was not finished within {ROLLOUT_S:.0f} s: {look.deployment['counts']}."
                )
            self._check_processes()
            if look.deployment.get("hold") == "awaiting-promotion":
                self.screen.say("The canaries are well: the rest is let in.")
                self.api.promote(deployment_id, "the canaries are well")
            if show and (news := self._sudden_death.look(look.parts[self._killed.id], time.monotonic())):
                self.screen.say(news)
            time.sleep(LOOK_S)

    def _settled_devices(self) -> dict[str, dict[str, object]]:
        """Return the devices, once each has told the controller what it runs after its update."""

        def told() -> bool:
            known = self.api.devices()
            return all(known[d.id].get("artifact_name") == self._expected(d) for d in self.stage.devices)

        with suppress(DemoFailed):  # the verdict says which did not
            self._await(told, "the devices to tell what they run", READY_S / 4)
        return self.api.devices()

    def _expected(self, device: DemoDevice) -> str:
        return FORMER if device is self._rigged else RELEASE

    def _await(self, check: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not check():
            self._check_processes()
            if time.monotonic() > deadline:
                raise DemoFailed(f"Waited {timeout_s:.0f} s for {what}, in vain.")
            time.sleep(LOOK_S)

    def _check_processes(self) -> None:
        for name, code in self.processes.ended().items():
            log = self.processes.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
            raise DemoFailed(f"The process {name} ended with status {code}: " + " | ".join(log[-LOG_LINES:]))
