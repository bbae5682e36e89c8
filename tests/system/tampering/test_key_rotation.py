"""Keys are changed from old over both to new, also on a device that was away meanwhile; docs/artifacts.md says how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from tests.system.tampering.scene import Scene, build
from wainwright_common.artifact import PayloadSource, SigningKey, load_signing_key
from wainwright_controller.demo.api import Json
from wainwright_controller.demo.releases import make_key

pytestmark = pytest.mark.timeout(400)  # a few deployments one after another: half a minute on a quiet machine
HERE, AWAY = "press-01", "lathe-01"
KEYS = "release-keys"


class Fleet(Scene):
    """Two devices whose keys are one file each; `old` is what they know at first."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.old = self._key("old")
        self.new = self._key("new")
        for device in system.stage.devices:
            file = self.key_file(device.id)
            file.write_bytes(self._public("old"))
            config = device.config.read_text(encoding="utf-8")
            device.config.write_text(config.replace(str(system.stage.public_key), str(file)), encoding="utf-8")

    def key_file(self, device: str) -> Path:
        """Where a device has its keys."""
        return self.system.agent(device).folder / f"{KEYS}.pem"

    def _key(self, name: str) -> SigningKey:
        folder = self.system.stage.folder
        make_key(folder / f"{name}.pem", folder / f"{name}.pub")
        return load_signing_key(folder / f"{name}.pem")

    def _public(self, *names: str) -> bytes:
        return b"".join((self.system.stage.folder / f"{name}.pub").read_bytes() for name in names)

    def release(self, name: str, key: SigningKey, needs: str | None = None) -> None:
        """Upload a release of the software for both types, which needs a generation of keys, or none."""
        depends = {KEYS: (needs,)} if needs else {}
        for device_type in ("press", "lathe"):
            blob = build(name, device_type, key, depends=depends, provides={}, clears=())
            self.upload(f"{name}-{device_type}", blob)

    def release_of_keys(self, generation: str, key: SigningKey, *trusted: str, needs: str | None = None) -> None:
        """Upload a release that brings a file with these public keys."""
        for device in (HERE, AWAY):
            files = {
                "dest_dir": str(self.key_file(device).parent).encode(),
                "filename": self.key_file(device).name.encode(),
                "permissions": b"644",
                f"{KEYS}.pem": self._public(*trusted),
            }
            blob = build(
                f"keys-{generation}",
                self.system.agent(device).type,
                key,
                payload_type="single-file",
                files=tuple(PayloadSource.from_bytes(name, content) for name, content in files.items()),
                depends={KEYS: (needs,)} if needs else {},
                provides={KEYS: generation},
                clears=(KEYS,),
            )
            self.upload(f"keys-{generation}-{device}", blob)

    def open_for_all_without(self, generation: str, condition: str) -> str:
        """Deploy a release of keys to all that need it, now and later; returns the deployment's id."""
        order = {"release": f"keys-{generation}", "where": condition, "name": f"keys-{generation}"}
        deployment_id: str = self.system.api.deploy(**order)["id"]
        return deployment_id

    def ends(self, release: str, device: str, status: str) -> Json:
        """Deploy a release to a device and assert how its part ends; returns the part."""
        deployment_id = self.system.deploy(release, device)
        self.system.finished(deployment_id)
        part = self.system.part(deployment_id, device)
        assert part["status"] == status, part
        return part

    def generation(self, device: str) -> str | None:
        """Return what a device says of its keys."""
        provides = self.system.api.call("GET", f"/devices/{device}")["provides"]
        found: str | None = provides.get(KEYS)
        return found

    def wait_for_generation(self, device: str, generation: str) -> None:
        wait_until(lambda: self.generation(device) == generation, PATIENCE_S, f"{device} to have keys {generation}")


@pytest.fixture
def fleet(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Fleet]:
    system = System(tmp_path, mosquitto.url, agents=2, auto_accept=True)
    fleet = Fleet(system)
    with system:
        system.start_agents()
        yield fleet


def test_keys_change_from_old_over_both_to_new_and_a_device_that_was_away_follows(fleet: Fleet) -> None:
    system = fleet.system
    fleet.release("app-1", fleet.old)
    for device in (HERE, AWAY):
        fleet.ends("app-1", device, "success")
    system.processes.stop(AWAY)  # and so it misses all of what follows

    fleet.release_of_keys("2", fleet.old, "old", "new")
    fleet.open_for_all_without("2", f'provides.{KEYS} != "2" and provides.{KEYS} != "3"')
    fleet.wait_for_generation(HERE, "2")
    fleet.release("app-2-old", fleet.old, needs="2")
    fleet.release("app-2", fleet.new, needs="2")
    fleet.ends("app-2-old", HERE, "success")  # both are trusted now
    fleet.ends("app-2", HERE, "success")

    fleet.release_of_keys("3", fleet.new, "new", needs="2")
    fleet.open_for_all_without("3", f'provides.{KEYS} = "2"')
    fleet.wait_for_generation(HERE, "3")
    fleet.release("app-3-old", fleet.old)
    error = fleet.ends("app-3-old", HERE, "failure")["error"]  # the old one is not trusted any more
    assert error["code"] == "verification-failed"
    assert "tried release-keys.pem (ECDSA-P256)" in error["text"]

    fleet.release("app-4", fleet.new, needs="3")
    last = system.deploy("app-4")  # to all, also to the one that is away
    system.wait_for_part(last, HERE, "success")
    system.start_agents(AWAY)
    assert system.finished(last)["counts"] == {"success": 2}
    assert fleet.generation(AWAY) == "3"
    assert fleet.key_file(AWAY).read_bytes() == fleet._public("new")
    assert system.runs(AWAY) == "app-4"
    assert begun(fleet.said(AWAY)) == ["app-1", "keys-2", "keys-3", "app-4"]


def begun(said: str) -> list[str]:
    """Return the releases that a device began to install, by its log; one may be offered again meanwhile."""
    return re.findall(r" Updating to (\S+) \(deployment ", said)


def test_a_device_that_knows_the_old_key_only_refuses_clearly_and_a_bridge_helps_it(fleet: Fleet) -> None:
    fleet.release("app-1", fleet.new)
    with fleet.unchanged(AWAY):
        error = fleet.ends("app-1", AWAY, "failure")["error"]
    assert error["code"] == "verification-failed"
    assert error["text"].startswith(
        "The artifact was refused (signature-mismatch): No trusted key verifies the signature;"
        " tried release-keys.pem (ECDSA-P256). Sign the artifact with a key that is trusted here,"
        " or have its public key added"
    )

    fleet.release("app-2", fleet.new, needs="2")
    fleet.ends("app-2", AWAY, "noartifact")

    fleet.release_of_keys("1", fleet.new, "old", "new")  # by the new key: no bridge for who knows the old one only
    before = fleet.key_file(AWAY).read_bytes()
    assert fleet.ends("keys-1", AWAY, "failure")["error"]["code"] == "verification-failed"
    assert fleet.key_file(AWAY).read_bytes() == before

    fleet.release_of_keys("2", fleet.old, "old", "new")
    fleet.ends("keys-2", AWAY, "success")
    fleet.ends("app-1", AWAY, "success")
    fleet.ends("app-2", AWAY, "success")
    assert fleet.system.runs(AWAY) == "app-2"
