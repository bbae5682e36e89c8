"""The files of a controller: closed to everybody else, where nobody can lead it out of its folder, and bounded."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.controller.api.served import artifact
from tests.support.mosquitto import Mosquitto
from tests.support.serve import Serve, head
from tests.support.wait import free_port
from wainwright_common.data_folder import FOR_OTHERS
from wainwright_controller.config import EMBEDDED
from wainwright_controller.first_admin import FILE

NOBODY = 65534
OUTSIDE = "secrets-of-somebody-else"


def modes_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield a folder and all that is in it, with their modes; what is being replaced just now may be gone already."""
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            yield path, path.lstat().st_mode


def test_everything_that_it_stores_is_for_its_own_user_alone(tmp_path: Path) -> None:
    """With an embedded broker, and a umask that would leave everything open."""
    settings = {"http__token": "", "http__require_token": True, "broker__port": free_port()}
    with Serve(tmp_path, EMBEDDED, **settings) as controller:
        token = (controller.data_dir / FILE).read_text().strip()
        assert controller.call("POST", "artifacts", token, data=artifact("modes-1")).status_code == 201
        found = dict(modes_in(controller.data_dir))
    names = {path.name for path in found}
    assert names >= {FILE, "lock", "wainwright.db", "wainwright.db-wal", "nats.conf", "nats.log", "artifacts", "broker"}
    assert any(name.endswith(".mender") for name in names)
    assert {path: oct(mode) for path, mode in found.items() if mode & FOR_OTHERS} == {}


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    with Serve(tmp_path, mosquitto.url) as controller:
        assert stat.S_IMODE(controller.data_dir.stat().st_mode) == 0o700
        assert "was open to other users" in controller.log


def test_a_folder_in_which_somebody_else_had_a_hand_is_refused(tmp_path: Path, mosquitto: Mosquitto) -> None:
    assert os.geteuid() == 0, "only root can give a file to somebody else: run this test as root"
    (tmp_path / "data").mkdir(mode=0o700)
    planted = tmp_path / "data" / "wainwright.db"
    planted.touch()
    os.chown(planted, NOBODY, NOBODY)
    with (
        pytest.raises(AssertionError, match=r"wainwright.db belongs to the user nobody"),
        Serve(tmp_path, mosquitto.url),
    ):
        pass
    assert planted.stat().st_size == 0


TRAVERSALS = [
    "../serve.log",
    "..%2fserve.log",
    "..%252fserve.log",
    "%2e%2e%2fserve.log",
    "..\\serve.log",
    "....//serve.log",
    "..%c0%afserve.log",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:%2f%2f%2fetc%2fpasswd",
    ".%00./serve.log",
    "lock",
    "wainwright.db%00",
    "%25",
    "____",
    "*",
]


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_path_leads_out_of_the_folder_of_artifacts(controller: Serve, name: str) -> None:
    controller.call("POST", "artifacts", data=artifact("inside-1"))
    for target in (f"/api/v1/artifacts/{name}/file", f"/api/v1/artifacts/{name}", f"/download/{name}"):
        for query in ("", "?expires=9999999999&signature=0"):
            said = controller.say(head("GET", target + query))
            assert int(said[9:12]) in {403, 404, 409, 422}, said
            assert b"root:" not in said
            assert b"INFO wainwright" not in said
    assert int(controller.say(head("DELETE", f"/api/v1/artifacts/{name}"))[9:12]) in {404, 405, 409, 422}
    assert controller.good("GET", "releases/inside-1")["artifact_count"] == 1


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/cron.d/evil", "..", "a\\..\\b", "-rf", "~root", "x;id", '"; a="b']
)
def test_no_name_of_a_release_leads_out_of_a_folder(controller: Serve, tmp_path: Path, name: str) -> None:
    """Neither the controller's, nor that of whoever fetches it."""
    outside = {path for path in controller.folder.rglob("*") if path.parent.name != "artifacts"}
    answer = controller.call("POST", "artifacts", data=artifact(name))
    assert answer.status_code == 201, answer.text
    stored = answer.json()["id"]
    assert {path for path in controller.folder.rglob("*") if path.parent.name != "artifacts"} == outside
    shown = controller.call("GET", f"artifacts/{stored}/file").headers["content-disposition"]
    assert shown.startswith("attachment; filename")
    assert shown.count('"') in {0, 2}
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    done = subprocess.run(
        [Path(sys.executable).with_name("wainwright"), "artifact", "download", stored],
        cwd=here,
        env=os.environ
        | {"WAINWRIGHT_CONTROLLER": controller.url, "WAINWRIGHT_TOKEN": str(controller.settings["http__token"])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [here]
    controller.good("DELETE", f"artifacts/{stored}")


def test_the_store_of_artifacts_has_a_bound_of_its_own(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Whether or not an upload says its size; what is refused leaves nothing, and deleting makes room."""
    blob = artifact("fits-1", payload=os.urandom(300_000))
    with Serve(tmp_path, mosquitto.url, artifacts__total_max_bytes=2 * len(blob) - 1) as controller:
        first = controller.good("POST", "artifacts", data=blob)
        second = artifact("fits-2", payload=os.urandom(300_000))
        for body in (second, iter([second])):
            answer = controller.call("POST", "artifacts", data=body)
            assert (answer.status_code, answer.json()["code"]) == (507, "storage-full")
            assert "artifacts.total_max_bytes" in answer.json()["detail"]
        assert len(list((controller.data_dir / "artifacts").iterdir())) == 1
        assert controller.call("POST", "artifacts", data=artifact("small-1")).status_code == 201
        controller.good("DELETE", f"artifacts/{first['id']}")
        assert controller.call("POST", "artifacts", data=second).status_code == 201


def test_the_disk_keeps_what_the_database_needs(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Serve(tmp_path, mosquitto.url, artifacts__keep_free_bytes=2**60) as controller:
        answer = controller.call("POST", "artifacts", data=artifact("full-1"))
        assert (answer.status_code, answer.json()["code"]) == (507, "storage-full")
