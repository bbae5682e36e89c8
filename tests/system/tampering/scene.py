"""Genuine releases, an attacker's artifacts of the same size, and what must be true after an attack."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.archives import Member, pack, unpack
from tests.support.meddler import Change, Meddler
from tests.support.system import System
from wainwright_common.artifact import ArtifactSpec, PayloadSource, SigningKey, load_signing_key, write_module_image
from wainwright_controller.demo.api import Json
from wainwright_controller.demo.releases import make_key, software

SIZE = 100_000  # bytes of the software in each artifact
ROOM = bytes(20 * 1024)  # behind each archive, as tar has it: an attacker needs it for what he adds
GUARDED, OPEN = "press-01", "lathe-01"  # with a verify key, and without one
BEGUN = (
    "Calling the update module demo ArtifactInstall",
    "Running the state script Artifact",
)  # as the agent's log has it
_numbers = itertools.count(100)


def fresh_name() -> str:
    """Return a release name that nobody has used; all are equally long, so that artifacts have the same size."""
    return f"release-{next(_numbers)}"


def build(name: str, device_type: str, key: SigningKey | None = None, **facts: Any) -> bytes:  # noqa: ANN401  as ArtifactSpec has
    """Return an artifact, uncompressed: its size depends on nothing but the lengths of names."""
    source = PayloadSource.from_bytes("software", facts.pop("payload", software(name, device_type, SIZE)))
    settings: dict[str, Any] = {"compression": "none", "files": (source,), "payload_type": "demo"}
    spec = ArtifactSpec(name=name, device_types=(device_type,), **(settings | facts))
    out = io.BytesIO()
    write_module_image(out, spec, key=key)
    return out.getvalue() + ROOM


def as_long_as(genuine: bytes, evil: bytes) -> bytes:
    """Return an artifact with as many zeros behind it as make it the size of another."""
    evil = evil.rstrip(b"\0")
    assert len(evil) + 1024 <= len(genuine)
    return evil + bytes(len(genuine) - len(evil))


def with_member(blob: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return an artifact with one member changed, its tar headers right."""
    members = unpack(blob)
    assert name.encode() in {member.name for member in members}
    return pack([Member(m.name, change(m.content)) if m.name == name.encode() else m for m in members])


def member_of(blob: bytes, name: str) -> bytes:
    """Return the content of a member."""
    return next(member.content for member in unpack(blob) if member.name == name.encode())


class Scene:
    """One system under attack. Without a meddler nobody is between the devices and the controller."""

    def __init__(self, system: System, meddler: Meddler | None = None) -> None:
        self.system = system
        self._meddler = meddler
        self.trusted = load_signing_key(system.stage.private_key)

    @property
    def meddler(self) -> Meddler:
        """The man in the middle."""
        assert self._meddler is not None
        return self._meddler

    def stranger(self, folder: Path) -> SigningKey:
        """Return a key that nobody trusts."""
        make_key(folder / "stranger.pem", folder / "stranger.pub")
        return load_signing_key(folder / "stranger.pem")

    def genuine(self, device: str = GUARDED, **facts: Any) -> tuple[str, bytes]:  # noqa: ANN401  as ArtifactSpec has
        """Build, sign and upload a release for a device; return its name and its bytes."""
        name = fresh_name()
        blob = build(name, self.system.agent(device).type, self.trusted, **facts)
        self.upload(name, blob)
        return name, blob

    def upload(self, name: str, blob: bytes) -> Json:
        """Store an artifact on the controller."""
        path = self.system.stage.folder / f"{name}.mender"
        path.write_bytes(blob)
        return self.system.api.upload(path)

    def said(self, device: str) -> str:
        """Return all that a device's agent has logged."""
        return self.system.processes.log(device).read_text(encoding="utf-8")

    @contextmanager
    def unchanged(self, device: str) -> Iterator[None]:
        """Whatever happens within: the device runs what it ran, and no step after the download was begun."""
        before, said = self.system.runs(device), len(self.said(device))
        commits = self.system.agent(device).commits
        yield
        assert self.system.runs(device) == before
        assert self.system.agent(device).commits == commits
        since = self.said(device)[said:]
        assert [begun for begun in BEGUN if begun in since] == []

    def attack(self, name: str, device: str, change: Change | None) -> Json:
        """Deploy a release to a device whose download is changed on the way; return the error that it ends with."""
        self.meddler.change = change
        try:
            with self.unchanged(device):
                deployment_id = self.system.deploy(name, device)
                assert self.system.finished(deployment_id)["counts"] == {"failure": 1}
        finally:
            self.meddler.change = None
        error: Json = self.system.part(deployment_id, device)["error"]
        return error
