"""`docker-compose`, with a program in the place of docker that behaves as recorded: no engine runs in the tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.agent.modules.tree import Tree
from tests.agent.update.lab import Lab
from wainwright_agent.config import OWN_MODULES

DOCKER = Path(__file__).with_name("docker")


def _tar(files: Mapping[str, str], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # mode is one of tarfile's
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _manifest(version: int, *, sick: bool = False) -> str:
    return f"services:\n  web:\n    image: web:{version}\n    x-test:\n      sick: {str(sick).lower()}\n"


class Device:
    """What the docker of one device has, and the module's store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.docker = root / "docker"
        self.store = root / "store"
        for name in ("registry", "images", "running"):
            (self.docker / name).mkdir(parents=True)
        self._trees = 0

    @property
    def env(self) -> dict[str, str]:
        return {
            "FAKE_DOCKER": str(self.docker),
            "WAINWRIGHT_COMPOSE_DOCKER": str(DOCKER),
            "WAINWRIGHT_COMPOSE_STORE": str(self.store),
        }

    @property
    def running(self) -> str:
        """The manifest that is up; '' for none."""
        file = self.docker / "running" / "shop"
        return file.read_text() if file.exists() else ""

    @property
    def images(self) -> set[str]:
        return {file.name for file in (self.docker / "images").iterdir()}

    @property
    def places(self) -> set[str]:
        return {folder.name for folder in (self.store / "shop").iterdir()}

    def files(self, version: int, *, sick: bool = False) -> dict[str, bytes]:
        """Return the payload of one version, with its image."""
        return {
            "manifests.tar": _tar({"manifests/compose.yaml": _manifest(version, sick=sick)}),
            "images.tar.gz": _tar({"images/web.tar": f"image web:{version} sha256:{version}\n"}, "w:gz"),
        }

    def tree(self, files: dict[str, bytes], meta: object = None) -> Tree:
        """Return the work tree of the next update."""
        self._trees += 1
        folder = self.root / f"update-{self._trees}"
        folder.mkdir()
        tree = Tree(folder, "docker-compose", self.env, files)
        meta = {"version": "1", "project_name": "shop"} if meta is None else meta
        (tree.path / "header/meta-data").write_text(json.dumps(meta))
        return tree

    def install(self, version: int) -> None:
        """Bring the device to a version."""
        self.tree(self.files(version)).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_consecutive_updates_replace_the_composition_and_remove_old_images(device: Device) -> None:
    for version in (1, 2, 3):
        device.install(version)
        assert device.running == _manifest(version)
        assert device.images == {f"web:{version}"}
        assert device.places == {"current"}


def test_the_questions_are_answered_and_other_states_do_nothing(device: Device) -> None:
    tree = device.tree({})
    assert tree.ok("NeedsArtifactReboot") == "No\n"
    assert tree.ok("SupportsRollback") == "Yes\n"
    assert tree.ok("Download", "ArtifactRollback", "ArtifactFailure", "Cleanup") == ""


def test_a_service_that_does_not_become_healthy_is_rolled_back(device: Device) -> None:
    device.install(1)
    tree = device.tree(device.files(2, sick=True))

    result = tree.call("ArtifactInstall")
    assert result.returncode == 1
    assert "did not become healthy in 120 s" in result.stderr
    assert "no such valve" in result.stdout
    tree.ok("ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup", "Cleanup")

    assert device.running == _manifest(1)
    assert device.images == {"web:1"}
    assert device.places == {"current"}


def test_a_rollback_of_the_first_composition_leaves_none(device: Device) -> None:
    tree = device.tree(device.files(1, sick=True))
    tree.refused("ArtifactInstall")

    tree.ok("ArtifactRollback", "ArtifactRollback", "Cleanup")

    assert device.running == ""
    assert device.images == set()
    assert device.places == set()


def test_a_rollback_after_the_commit_is_possible_until_cleanup(device: Device) -> None:
    device.install(1)
    device.tree(device.files(2)).ok("ArtifactInstall", "ArtifactCommit", "ArtifactRollback", "Cleanup")

    assert device.running == _manifest(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"manifests.tar": b"no archive"}, "manifests.tar cannot be unpacked"),
        ({"manifests.tar": _tar({"compose.yaml": _manifest(2)})}, "has no folder manifests/"),
        ({"manifests.tar": _tar({"manifests/compose.yaml": "a: b: c"})}, "the manifests are not valid"),
        ({"images.tar.gz": b"no archive"}, "images.tar.gz cannot be unpacked"),
        ({"images.tar.gz": _tar({}, "w:gz")}, "has no folder images/"),
        ({"images.tar.gz": _tar({"images/web.tar": "rubbish"}, "w:gz")}, "the image web.tar cannot be loaded"),
        ({"images.tar.gz": _tar({"images/o.tar": "image other:1 sha256:9"}, "w:gz")}, "an image of the composition is"),
    ],
)
def test_a_bad_payload_is_refused_while_the_old_composition_runs_on(
    device: Device, change: dict[str, bytes], words: str
) -> None:
    device.install(1)
    (device.docker / "calls").unlink()
    tree = device.tree(device.files(2) | change)

    assert words in tree.refused("ArtifactInstall")
    calls = (device.docker / "calls").read_text()
    assert " up " not in calls
    assert " down" not in calls
    tree.ok("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert device.running == _manifest(1)
    assert device.places == {"current"}


def test_images_are_pulled_before_anything_is_stopped_when_the_artifact_has_none(device: Device) -> None:
    device.install(1)
    only_manifests = {"manifests.tar": device.files(2)["manifests.tar"]}

    cut_off = device.tree(only_manifests)
    assert "cannot be pulled; the composition that runs was not touched" in cut_off.refused("ArtifactInstall")
    cut_off.ok("ArtifactRollback", "Cleanup")
    assert device.running == _manifest(1)

    (device.docker / "registry/web:2").write_text("sha256:2\n")
    device.tree(only_manifests).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert device.running == _manifest(2)


def test_without_a_daemon_the_update_fails_before_anything_changes(device: Device) -> None:
    (device.docker / "down").touch()
    tree = device.tree(device.files(1))

    said = tree.refused("ArtifactInstall")

    assert "Is the docker daemon running?" in said
    assert "the Docker daemon does not answer" in said
    tree.ok("ArtifactRollback", "ArtifactFailure", "Cleanup")


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({}, "must have project_name"),
        ({"version": "2", "project_name": "shop"}, "another version than 1"),
        ({"version": "1", "project_name": "../etc"}, "use small letters"),
        ({"version": "1", "project_name": ""}, "use small letters"),
        ([], "must have project_name"),
    ],
)
def test_wrong_meta_data_is_refused(device: Device, meta: object, words: str) -> None:
    assert words in device.tree(device.files(1), meta).refused("ArtifactInstall")
    assert not device.store.exists()


@pytest.mark.parametrize("cut", ["before the first rename", "between the renames", "after them", "in the rollback"])
def test_a_power_cut_anywhere_in_the_switch_leads_back(device: Device, cut: str) -> None:
    device.install(1)
    tree = device.tree(device.files(2))
    place = device.store / "shop"
    (tree.path / "tmp/had").write_text("present\n")
    (place / "new/manifests").mkdir(parents=True)
    (place / "new/manifests/compose.yaml").write_text(_manifest(2))
    if cut != "before the first rename":
        (place / "current").rename(place / "previous")
    if cut == "after them":
        (place / "new").rename(place / "current")
    if cut == "in the rollback":
        (place / "new").rename(place / "failed")

    if cut != "before the first rename":
        tree.ok("Cleanup")  # must not remove the only former composition, whatever comes first
        assert (place / "previous").exists() is (cut != "after them")
    if cut != "after them":
        tree.ok("ArtifactRollback", "ArtifactRollback", "Cleanup")
        assert device.running == _manifest(1)
        assert device.places == {"current"}


def test_the_agent_installs_a_composition(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(lab.root / "device")
    for key, value in device.env.items():
        monkeypatch.setenv(key, value)
    (lab.root / "meta.json").write_text('{"version": "1", "project_name": "shop"}')
    args = ("-T", "docker-compose", "-m", str(lab.root / "meta.json"))

    reports = lab.update(lab.offer(lab.artifact(files=device.files(1), args=args)), modules=(OWN_MODULES,))
    assert reports[-1].status == "success"
    sick = lab.artifact("release-3", files=device.files(2, sick=True), args=args)
    reports = lab.update(lab.offer(sick, name="release-3", deployment_id="d-2"), modules=(OWN_MODULES,))

    assert reports[-1].status == "failure"
    assert reports[-1].error
    assert "did not become healthy" in reports[-1].error.text
    assert reports[-1].inconsistent is not True
    assert device.running == _manifest(1)
    assert device.places == {"current"}
