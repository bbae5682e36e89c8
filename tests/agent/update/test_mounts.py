"""What a module has mounted in its work tree and left there: removing the tree must not remove what is in the mount."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.agent.update.lab import Lab
from wainwright_agent.config import OWN_MODULES

ROOT = Path(__file__).parents[3]
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")  # its mounts end with the last process in it
REMOVE = """
import sys
from pathlib import Path
from wainwright_agent.mounts import remove_tree
try:
    remove_tree(Path(sys.argv[1]))
except OSError as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def _may_mount() -> None:
    if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mounts in a namespace of one's own")


def _in_namespace(script: str, *arguments: object) -> str:
    """Run a shell script that may mount; return what it said. `$1` is the Python that runs these tests."""
    argv = [*NAMESPACE, "sh", "-euc", script, "sh", sys.executable, *map(str, arguments)]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_cleanup_of_a_failed_update_leaves_what_its_module_has_mounted(lab: Lab) -> None:
    precious = lab.root / "root slot"
    precious.mkdir()
    (precious / "etc").write_text("all that the device is")
    mount = 'mkdir "tmp/a slot"; mount --bind "$lab/root slot" "$tree/tmp/a slot"; echo $? >$lab/status; exit 1'
    lab.on("ArtifactInstall", mount)
    (lab.root / "config.json").write_bytes(msgspec.json.encode(lab.config(), enc_hook=str))
    (lab.root / "offer.json").write_bytes(msgspec.json.encode(lab.offer(lab.artifact())))

    _in_namespace('"$1" -m tests.support.updater_driver "$2"', lab.root)

    assert lab.text("status") == "0\n"
    assert lab.calls[-1] == "Cleanup"
    assert (precious / "etc").read_text() == "all that the device is"
    assert not lab.tree.exists()


def test_mounts_in_and_over_one_another_are_all_taken_away(tmp_path: Path) -> None:
    precious, tree = tmp_path / "precious", tmp_path / "tree"
    for folder in (precious, tree / "tmp" / "below"):
        folder.mkdir(parents=True)
    (precious / "file").touch()
    mounts = (
        'mount --bind "$2" "$3/tmp/below"; mount --bind "$2" "$3/tmp/below"; mount -t tmpfs none "$3/tmp"; '
        'mkdir "$3/tmp/in"; mount --bind "$2" "$3/tmp/in"; mount --bind "$2" "$3/tmp/in"; '
    )

    _in_namespace(mounts + '"$1" -c "$4" "$3"', precious, tree, REMOVE)

    assert (precious / "file").exists()
    assert not tree.exists()


def test_what_is_mounted_elsewhere_too_stays_mounted_there(tmp_path: Path) -> None:
    """With the usual shared mounts, unmounting `mount --rbind / DIR` unmounts /proc, too."""
    tree = tmp_path / "tree"
    (tree / "tmp").mkdir(parents=True)
    device = (
        'mkdir "$2/root"; mount -t tmpfs none "$2/root"; mount --make-shared "$2/root"; '
        'mkdir "$2/root/proc"; mount -t tmpfs none "$2/root/proc"; touch "$2/root/proc/stat"; '
        'mount --rbind "$2/root" "$2/tree/tmp"; '
    )

    there = _in_namespace(device + '"$1" -c "$3" "$2/tree"; ls "$2/root/proc"', tmp_path, REMOVE)

    assert there == "stat\n"
    assert not tree.exists()


def test_nothing_is_unmounted_where_a_module_has_left_a_link_to(tmp_path: Path) -> None:
    """A module with little room may have put its files on another disk, and a link in their place."""
    tree, elsewhere = tmp_path / "tree", tmp_path / "disk"
    for folder in (tree, elsewhere / "in"):
        folder.mkdir(parents=True)
    (tree / "files").symlink_to(elsewhere)
    disk = 'mount -t tmpfs none "$2/disk/in"; touch "$2/disk/in/file"; '

    there = _in_namespace(disk + '"$1" -c "$3" "$2/tree/files" >&2; ls "$2/disk/in"', tmp_path, REMOVE)

    assert there == "file\n"
    assert (tree / "files").is_symlink()


def test_a_tree_whose_mount_cannot_be_taken_away_stays_as_it_is(tmp_path: Path) -> None:
    """The kernel lets nobody unmount what a namespace has from one with more rights."""
    precious, tree = tmp_path / "precious", tmp_path / "tree"
    for folder in (precious, tree / "tmp"):
        folder.mkdir(parents=True)
    (precious / "file").touch()
    (tree / "version").touch()

    said = _in_namespace(f'mount --bind "$2" "$3/tmp"; {" ".join(NAMESPACE)} "$1" -c "$4" "$3"', precious, tree, REMOVE)

    assert f"'{tree}/tmp'" in said
    assert "Unmount it" in said
    assert (precious / "file").exists()
    assert (tree / "version").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        # Before the update: the new tree would be without it, and Cleanup remove what is in it with the old one.
        ('mount_data; ! "$module" ArtifactInstall "$tree"; cat "$dest/old"', "/an app/data is mounted in"),
        # By the new software, before it is rolled back.
        (
            """
            "$module" ArtifactInstall "$tree"
            mkdir "$dest/data"
            mount_data
            "$module" ArtifactRollback "$tree"
            "$module" Cleanup "$tree"
            cat "$dest/old"
            """,
            "an app.wainwright-new is left, for",
        ),
    ],
    ids=["before", "by the new software"],
)
def test_the_module_directory_removes_nothing_through_a_mount(tmp_path: Path, script: str, said: str) -> None:
    dest, precious, tree = tmp_path / "an app", tmp_path / "precious", tmp_path / "tree"
    for folder in (dest / "data", precious, tree / "files", tree / "tmp"):
        folder.mkdir(parents=True)
    (dest / "old").write_text("old")
    (precious / "file").touch()
    (tree / "files" / "dest_dir").write_text(str(dest))
    subprocess.run(["tar", "-cf", tree / "files" / "update.tar", "-C", precious, "--exclude=file", "."], check=True)
    prelude = (
        'exec 2>&1; module=$2; root=$3; tree=$root/tree; dest="$root/an app"; '
        'mount_data() { mount --bind "$root/precious" "$dest/data"; }; '
    )

    told = _in_namespace(prelude + script, OWN_MODULES / "directory", tmp_path)

    assert said in told
    assert told.endswith("old")
    assert (precious / "file").exists()
