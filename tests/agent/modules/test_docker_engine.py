"""`docker-compose` with a real engine, real images and real containers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.modules.tree import Tree
from tests.agent.update.lab import Lab
from tests.support.docker_engine import Engine, require_docker
from tests.support.wait import wait_until
from wainwright_agent.config import OWN_MODULES

pytestmark = pytest.mark.long

META = '{"version": "1", "project_name": "shop"}'
UP_S = 60.0  # for a container to be up: a second on a machine that does nothing else
MANIFEST = """
services:
  web:
    image: {image}
    command: {command}
    network_mode: none
    stop_signal: SIGKILL
    healthcheck:
      test: {health}
      interval: 1s
      retries: 2
"""
RUNS_ON = '["/bin/busybox", "sleep", "3600"]'
ENDS = '["/bin/busybox", "cat", "/no-such-valve"]'
WELL = '["CMD", "/bin/busybox", "true"]'
SICK = '["CMD", "/bin/busybox", "false"]'


def packed(name: str, content: bytes, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # mode is one of tarfile's
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Device:
    """A device with an engine, and the module's store."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.store = root / "store"
        self.env = engine.env | {"WAINWRIGHT_COMPOSE_STORE": str(self.store), "WAINWRIGHT_COMPOSE_WAIT_S": "20"}
        self._trees = 0

    def files(self, version: int, *, command: str = RUNS_ON, health: str = WELL) -> dict[str, bytes]:
        """Return the payload of one version, with its image."""
        image = f"shop-web:{version}"
        manifest = MANIFEST.format(image=image, command=command, health=health)
        return {
            "manifests.tar": packed("manifests/compose.yaml", manifest.encode()),
            "images.tar.gz": packed("images/web.tar", self.engine.save_image(image, version), "w:gz"),
        }

    def tree(self, files: dict[str, bytes]) -> Tree:
        """Return the work tree of the next update."""
        self._trees += 1
        folder = self.root / f"update-{self._trees}"
        folder.mkdir()
        tree = Tree(folder, "docker-compose", self.env, files)
        (tree.path / "header/meta-data").write_text(META)
        return tree

    def install(self, version: int) -> None:
        """Bring the device to a version."""
        self.tree(self.files(version)).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")

    def assert_runs(self, version: int) -> None:
        """Assert that one healthy container of this version runs, and that nothing of others is left."""
        [container] = self.engine.docker("container", "ls", "--all", "--quiet").split()
        state = json.loads(self.engine.docker("inspect", "--format", "{{json .State}}", container))
        assert (state["Status"], state["Health"]["Status"]) == ("running", "healthy")
        assert self.engine.docker("exec", container, "/bin/busybox", "cat", "/version") == str(version)
        images = self.engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
        assert images == [f"shop-web:{version}"]
        assert {folder.name for folder in (self.store / "shop").iterdir()} == {"current"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    require_docker()
    with Engine() as engine:
        yield engine


@pytest.fixture
def device(engine: Engine, tmp_path: Path) -> Iterator[Device]:
    yield Device(engine, tmp_path)
    engine.remove_all()


def test_consecutive_updates_replace_the_containers_and_remove_old_images(device: Device) -> None:
    for version in (1, 2, 3):
        device.install(version)
        device.assert_runs(version)


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"health": SICK}, "is unhealthy"), ({"command": ENDS}, "no-such-valve")],
    ids=["it is unhealthy", "it ends"],
)
def test_a_service_that_does_not_stay_healthy_is_rolled_back(device: Device, fault: dict[str, str], words: str) -> None:
    device.install(1)
    tree = device.tree(device.files(2, **fault))

    result = tree.call("ArtifactInstall")
    assert result.returncode == 1
    assert "did not become healthy in 20 s" in result.stderr
    assert words in result.stdout + result.stderr
    tree.ok("ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup", "Cleanup")

    device.assert_runs(1)


def test_a_rollback_of_the_first_composition_leaves_nothing(device: Device) -> None:
    tree = device.tree(device.files(1, health=SICK))
    tree.refused("ArtifactInstall")

    tree.ok("ArtifactRollback", "ArtifactRollback", "Cleanup")

    assert not device.engine.docker("container", "ls", "--all", "--quiet")
    assert not device.engine.docker("image", "ls", "--quiet")


def test_a_module_that_is_killed_while_it_waits_for_the_containers_is_rolled_back(device: Device) -> None:
    device.install(1)
    waits = device.files(2, health='["CMD", "/bin/busybox", "sleep", "3600"]')
    tree = device.tree(waits)
    env = os.environ | tree.env
    module = subprocess.Popen([tree.module, "ArtifactInstall", tree.path], cwd=tree.path, env=env, process_group=0)
    ids = ("container", "ls", "--quiet", "--filter", "ancestor=shop-web:2")
    wait_until(lambda: device.engine.docker(*ids), UP_S, "the new container to run")

    os.killpg(module.pid, signal.SIGKILL)
    module.wait()

    tree.ok("ArtifactRollback", "Cleanup")
    device.assert_runs(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images.tar.gz": packed("images/web.tar", b"rubbish", "w:gz")}, "the image web.tar cannot be loaded"),
        ({"manifests.tar": packed("manifests/compose.yaml", b"services: [1]")}, "the manifests are not valid"),
        ({"images.tar.gz": b""}, "images.tar.gz cannot be unpacked"),
    ],
    ids=["no image", "no manifest", "no archive"],
)
def test_a_bad_payload_is_refused_while_the_old_container_runs_on(
    device: Device, change: dict[str, bytes], words: str
) -> None:
    device.install(1)
    before = device.engine.docker("container", "ls", "--quiet")
    tree = device.tree(device.files(2) | change)

    assert words in tree.refused("ArtifactInstall")
    tree.ok("ArtifactRollback", "ArtifactFailure", "Cleanup")

    assert device.engine.docker("container", "ls", "--quiet") == before


def test_the_agent_installs_a_composition_and_returns_from_a_sick_one(
    lab: Lab, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in device.env.items():
        monkeypatch.setenv(key, value)
    (lab.root / "meta.json").write_text(META)
    args = ("-T", "docker-compose", "-m", str(lab.root / "meta.json"))

    reports = lab.update(lab.offer(lab.artifact(files=device.files(1), args=args)), modules=(OWN_MODULES,))
    assert reports[-1].status == "success"
    sick = lab.artifact("release-3", files=device.files(2, health=SICK), args=args)
    reports = lab.update(lab.offer(sick, name="release-3", deployment_id="d-2"), modules=(OWN_MODULES,))

    assert reports[-1].status == "failure"
    assert reports[-1].error
    assert "did not become healthy" in reports[-1].error.text
    assert reports[-1].inconsistent is not True
    device.assert_runs(1)
