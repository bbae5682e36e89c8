"""Artifacts that somebody has changed, exchanged or made up: a real agent downloads each, and installs none."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.common.artifact.build import Recipe, header_info, type_info
from tests.fuzz.archives import Member, compress, pack, repaired, unpack
from tests.support.meddler import Meddler
from tests.support.system import System
from tests.system.tampering.scene import GUARDED, OPEN, Scene, as_long_as, build, with_member
from tests.system.tampering.swaps import EVIL, SWAPS, Chance
from wainwright_common.artifact import SigningKey

Json = dict[str, str]
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def scene(system: System, meddler: Meddler) -> Scene:
    """Both devices run a release that is theirs, so that every attack has something to lose."""
    scene = Scene(system, meddler)
    for device in (GUARDED, OPEN):
        name, _ = scene.genuine(device)
        assert system.finished(system.deploy(name, device))["counts"] == {"success": 1}
        assert system.runs(device) == name
    return scene


@pytest.fixture(scope="module")
def stranger(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return scene.stranger(tmp_path_factory.mktemp("stranger"))


def assert_refused(error: Json, *words: str) -> None:
    assert error["code"] == "verification-failed", error
    assert [word for word in words if word not in error["text"]] == [], error


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__.replace("_", "-"))
def test_what_a_man_in_the_middle_swaps_is_refused(
    scene: Scene, stranger: SigningKey, swap: Callable[[Chance], bytes]
) -> None:
    name, genuine = scene.genuine()
    evil = as_long_as(genuine, swap(Chance(scene, name, genuine, stranger)))
    error = scene.attack(name, GUARDED, lambda _: evil)
    assert_refused(error, *SWAPS[swap])


def test_the_man_in_the_middle_of_these_tests_lets_through_what_he_does_not_change(scene: Scene) -> None:
    name, _ = scene.genuine()
    asked = len(scene.meddler.paths)
    assert scene.system.finished(scene.system.deploy(name, GUARDED))["counts"] == {"success": 1}
    assert scene.system.runs(GUARDED) == name
    assert len(scene.meddler.paths) > asked


def test_without_a_verify_key_the_digest_in_the_offer_stops_the_exchange(scene: Scene, stranger: SigningKey) -> None:
    name, genuine = scene.genuine(OPEN)
    evil = as_long_as(genuine, build(name, "lathe", stranger, payload=EVIL))
    assert_refused(scene.attack(name, OPEN, lambda _: evil), "as offered", "changed in the store or on the way")


HOSTILE_NAMES = {
    "payload-name": ("data/0000.tar", b"software", b"../../../software"),
    "payload-name-hidden": ("data/0000.tar", b"software", b".."),
    "script-name": ("header.tar", b"scripts/ArtifactInstall_Enter_00", b"scripts/../../../evil"),
    "header-order": ("header.tar", b"scripts/ArtifactInstall_Enter_00", b"../evil"),
    "tar-entry": ("data/0000.tar", b"software", b"software"),
}


@pytest.mark.parametrize("rule", HOSTILE_NAMES)
def test_names_that_leave_their_folder_and_links_create_nothing_anywhere(scene: Scene, rule: str) -> None:
    member, old, new = HOSTILE_NAMES[rule]
    name, genuine = scene.genuine(OPEN, scripts={"ArtifactInstall_Enter_00": b"#!/bin/sh\n"})
    kind = b"2" if rule == "tar-entry" else b"0"  # a symbolic link

    def rename(content: bytes) -> bytes:
        files = [Member(new, f.content, kind) if f.name == old else f for f in unpack(content)]
        assert files != unpack(content)
        return pack(files)

    evil = as_long_as(genuine, pack(repaired(unpack(with_member(genuine, member, rename)))))
    before = folders(scene)
    error = scene.attack(name, OPEN, lambda _: evil)
    assert_refused(error, f"({rule.removesuffix('-hidden')})")
    assert folders(scene) == before


def folders(scene: Scene) -> set[str]:
    """Return what there is beside the data folder's own places, up to the folder of all devices."""
    scene.system.wait_until_idle(OPEN)  # and not in the midst of tidying up
    device = scene.system.agent(OPEN).folder
    return {str(path) for root in (device, device.parent, device / "data") for path in root.iterdir()}


INFO, TYPE = Member(b"header-info", header_info()), Member(b"headers/0000/type-info", type_info())
MB = 1_000_000
BOMBS = {
    # What is in the header, what is in the payload, the rule: a few KB each, that expand to more than 60 MB.
    "one script": ([INFO, Member(b"scripts/ArtifactInstall_Enter_00", bytes(60 * MB)), TYPE], [], "too-large"),
    "many scripts": (
        [INFO, *(Member(b"scripts/ArtifactInstall_Enter_%02d" % i, bytes(MB)) for i in range(60)), TYPE],
        [],
        "too-large",
    ),
    "a document": ([Member(b"header-info", b" " * 60 * MB), TYPE], [], "too-large"),
    "the payload": (None, [Member(b"software", bytes(250 * MB))], "expansion"),
}


def bomb_of(kind: str, genuine: bytes) -> bytes:
    """Return an artifact with a bomb in it, whose manifest is right."""
    header, payload, _ = BOMBS[kind]
    members = unpack(genuine)
    kept = [member for member in members if member.name in {b"version", b"manifest"}]
    if header is None:
        kept += [member for member in members if member.name.startswith(b"header.tar")]
    else:
        kept.append(Member(b"header.tar.zst", compress(pack(header), b".zst")))
    data = Member(b"data/0000.tar.zst", compress(pack(payload), b".zst"))
    return pack(repaired([*kept, data]))  # the digest is of the first bytes only: nobody gets as far as comparing it


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_and_leaves_nothing_on_the_disk(scene: Scene, kind: str) -> None:
    name, genuine = scene.genuine(OPEN)
    bomb = as_long_as(genuine, bomb_of(kind, genuine))
    assert_refused(scene.attack(name, OPEN, lambda _: bomb), f"({BOMBS[kind][2]})")
    scene.system.wait_until_idle(OPEN)
    folder = scene.system.agent(OPEN).folder
    assert sum(size_of(file) for file in folder.rglob("*")) < 3 * MB


def size_of(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # the agent runs, and replaces files
        return 0


def test_endless_data_is_cut_off_at_the_offered_size(scene: Scene) -> None:
    name, genuine = scene.genuine()
    sent = scene.meddler.sent

    def endless(body: bytes) -> Iterator[bytes]:
        yield body
        yield from itertools.repeat(bytes(64 * 1024))

    assert_refused(scene.attack(name, GUARDED, endless), "longer than")
    assert scene.meddler.sent - sent < len(genuine) + 20 * 2**20  # what kernels buffer


def test_a_server_that_drips_holds_nothing_up_for_longer_than_the_deployment_allows(scene: Scene) -> None:
    name, _ = scene.genuine()
    system = scene.system
    began = time.monotonic()

    def drip(body: bytes) -> Iterator[bytes]:
        for byte in body[:100_000]:
            yield bytes([byte])
            time.sleep(0.05)

    scene.meddler.change = drip
    try:
        with scene.unchanged(GUARDED):
            deployment_id = system.deploy(name, GUARDED, time_limits={"downloading_s": 3})
            assert system.finished(deployment_id)["counts"] == {"failure": 1}
    finally:
        scene.meddler.change = None
    assert system.part(deployment_id, GUARDED)["error"]["code"] == "timeout"
    assert time.monotonic() - began < LIMIT_S
    later, _ = scene.genuine()
    assert system.finished(system.deploy(later, GUARDED))["counts"] == {"success": 1}


def test_a_link_is_for_one_artifact_and_cannot_be_made_longer(scene: Scene) -> None:
    name, genuine = scene.genuine()
    other, _ = scene.genuine()
    scene.system.finished(scene.system.deploy(name, GUARDED))
    link = scene.system.stage.url + scene.meddler.paths[-1]
    ids = {a["name"]: a["id"] for a in scene.system.api.call("GET", "/artifacts", params={"limit": 500})["items"]}
    assert requests.get(link, timeout=LIMIT_S).content == genuine
    assert ids[name] in link
    for forged in (link.replace(ids[name], ids[other]), link.replace("expires=", "expires=9"), link[:-1]):
        answer = requests.get(forged, timeout=LIMIT_S)
        assert (answer.status_code, answer.json()["code"]) == (403, "link-invalid")


def test_a_man_in_the_middle_who_takes_another_artifacts_link_is_found_out(scene: Scene) -> None:
    """He forwards a request for one artifact to the genuine link of another."""
    name, _ = scene.genuine()
    other, blob = scene.genuine()
    assert_refused(scene.attack(name, GUARDED, lambda _: blob), f"of the release {other!r}")


def test_uploads_of_hostile_artifacts_are_refused_and_leave_nothing(scene: Scene) -> None:
    store = scene.system.stage.folder / "controller" / "artifacts"
    before = sorted(path.name for path in store.iterdir())
    bomb = bomb_of("many scripts", Recipe().blob())
    climbing = Recipe(files=(("../../../evil", b"x"),)).blob()
    for blob, code in ((bomb, "artifact-too-large"), (climbing, "artifact-payload-name")):
        answer = requests.post(f"{scene.system.stage.url}/api/v1/artifacts", data=blob, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert sorted(path.name for path in store.iterdir()) == before
