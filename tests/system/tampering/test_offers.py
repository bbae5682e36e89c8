"""Old offers sent again by somebody who has the broker: what stops them, and what does not.

The attacker hears all, speaks in the controller's name, and has silenced the controller where that helps him.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.agent.update.web import Web
from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from tests.support.wiretap import Wiretap, offering
from tests.system.tampering.scene import GUARDED, Scene, build, fresh_name
from wainwright_common.messages import Artifact, Command, CommandName, Offer
from wainwright_common.topics import Kind

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def scene(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One device with a verify key, which downloads straight from the controller."""
    with System(tmp_path_factory.mktemp("replayed"), mosquitto.url, agents=1, auto_accept=True) as system:
        system.start_agents()
        yield Scene(system)


@pytest.fixture
def attacker(scene: Scene, mosquitto: Mosquitto) -> Iterator[Wiretap]:
    with Wiretap(mosquitto.port, scene.system.stage.prefix, GUARDED) as tap:
        yield tap


@pytest.fixture
def web() -> Iterator[Web]:
    """The attacker's own web server."""
    web = Web()
    yield web
    web.close()


@contextmanager
def silenced(scene: Scene) -> Iterator[None]:
    """Nobody but the attacker speaks within: the controller would take back what it has not offered."""
    scene.system.kill_controller()
    yield
    scene.system.start_controller()


def update(scene: Scene, **facts: Any) -> str:  # noqa: ANN401  as ArtifactSpec has
    """Bring the device to a new release; returns its name."""
    name, _ = scene.genuine(**facts)
    assert scene.system.finished(scene.system.deploy(name, GUARDED))["counts"] == {"success": 1}
    return name


def wake(attacker: Wiretap) -> None:
    attacker.say(Kind.COMMAND, Command(id="x", name=CommandName.CHECK_IN))


def wait_for_log(scene: Scene, since: int, *words: str) -> None:
    wait_until(lambda: all(word in scene.said(GUARDED)[since:] for word in words), PATIENCE_S, f"{words} in the log")


def test_an_old_reply_sent_again_as_it_was_answers_no_check_in(scene: Scene, attacker: Wiretap) -> None:
    old, _ = update(scene), update(scene)
    recorded, _ = attacker.wait_for_offer_of(old)
    since = len(scene.said(GUARDED))
    with scene.unchanged(GUARDED):
        for _ in range(3):
            attacker.say(Kind.REPLY, recorded)
        wait_for_log(scene, since, "ignored a reply to check-in")
        wake(attacker)
        wait_for_log(scene, since, "no offer: ")


def test_an_old_offer_under_a_fresh_check_in_is_known_to_have_ended_here(scene: Scene, attacker: Wiretap) -> None:
    first, second, _ = update(scene), update(scene), update(scene)
    with silenced(scene), scene.unchanged(GUARDED):
        for name in (first, second):
            _, offer = attacker.wait_for_offer_of(name)
            attacker.answer = offering(offer)
            since = len(scene.said(GUARDED))
            wake(attacker)
            wait_for_log(scene, since, f"Refused an old offer of {name}", "not taken")
        scene.system.processes.kill(GUARDED)  # it knows after a restart, too
        since = len(scene.said(GUARDED))
        scene.system.start_agent_without_waiting(GUARDED)
        wait_for_log(scene, since, f"Refused an old offer of {second}")


def forged(web: Web, name: str, blob: bytes, deployment_id: str) -> Offer:
    """Return an offer that nobody but the attacker has made, of a file on his own server."""
    digest = hashlib.sha256(blob).hexdigest()
    web.files[f"/{digest}"] = blob
    expires = datetime.now(UTC) + timedelta(hours=1)
    artifact = Artifact(
        id="forged", name=name, size=len(blob), sha256=digest, uri=f"{web.url}/{digest}", expires=expires
    )
    return Offer(deployment_id=deployment_id, attempt=1, action="install", artifact=artifact)  # type: ignore[arg-type]


def test_a_forged_offer_of_an_old_release_is_refused_by_the_epoch_that_it_was_built_in(
    scene: Scene, attacker: Wiretap, web: Web
) -> None:
    update(scene, provides={"epoch": "1"}, clears=("epoch",))
    name = fresh_name()
    with_a_hole = build(name, "press", scene.trusted, depends={"epoch": ("1",)}, provides={}, clears=())
    update(scene, depends={"epoch": ("1",)}, provides={"epoch": "2"}, clears=("epoch",))
    offer = offering(forged(web, name, with_a_hole, "forged-1"))
    with silenced(scene), scene.unchanged(GUARDED):
        since = len(scene.said(GUARDED))
        attacker.answer = offer
        wake(attacker)
        wait_for_log(scene, since, "offered " + name, "The artifact needs epoch '1', but the device has '2'.")


def test_without_an_epoch_nothing_stops_a_forged_offer_of_an_old_release_that_is_signed(
    scene: Scene, attacker: Wiretap, web: Web
) -> None:
    """The hole that docs/artifacts.md tells of: should this fail one day, that page has to change."""
    name = fresh_name()
    old = build(name, "press", scene.trusted)
    update(scene)
    offer = offering(forged(web, name, old, "forged-2"))
    with silenced(scene):
        attacker.answer = offer
        wake(attacker)
        wait_until(lambda: scene.system.runs(GUARDED) == name, PATIENCE_S, "the old release to be installed")


def test_a_forged_offer_of_what_nobody_signed_is_refused(scene: Scene, attacker: Wiretap, web: Web) -> None:
    update(scene)
    name = fresh_name()
    evil = build(name, "press", scene.stranger(scene.system.stage.folder))
    offer = offering(forged(web, name, evil, "forged-3"))
    with silenced(scene), scene.unchanged(GUARDED):
        since = len(scene.said(GUARDED))
        attacker.answer = offer
        wake(attacker)
        wait_for_log(scene, since, "offered " + name, "signature-mismatch")
