"""The modules that come with the agent: what they change, and that they leave nothing half-changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.agent.update.lab import Lab, run
from wainwright_agent.config import OWN_MODULES


class Tree:
    """A work tree for calling a module by hand, as after a power cut."""

    def __init__(self, root: Path, module: str, files: dict[str, bytes]) -> None:
        self.module = OWN_MODULES / module
        self.path = root / "tree"
        (self.path / "files").mkdir(parents=True)
        (self.path / "tmp").mkdir()
        for name, content in files.items():
            (self.path / "files" / name).write_bytes(content)

    def call(self, state: str, path: str = "") -> subprocess.CompletedProcess[str]:
        env = os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})
        return subprocess.run(
            [self.module, state, self.path], cwd=self.path, check=False, capture_output=True, text=True, env=env
        )

    def ok(self, *states: str) -> None:
        for state in states:
            result = self.call(state)
            assert result.returncode == 0, result.stderr


def _single_file(root: Path, dest: Path, content: bytes = b"new", name: str = "app.conf") -> Tree:
    return Tree(
        root,
        "single-file",
        {"dest_dir": f"{dest}\n".encode(), "filename": f"{name}\n".encode(), "permissions": b"640\n", name: content},
    )


def _directory(root: Path, dest: Path) -> Tree:
    source = root / "source"
    source.mkdir()
    (source / "new.txt").write_text("new")
    run("tar", "-cf", str(root / "update.tar"), "-C", str(source), ".")
    return Tree(root, "directory", {"dest_dir": f"{dest}\n".encode(), "update.tar": (root / "update.tar").read_bytes()})


@pytest.mark.parametrize("module", ["single-file", "directory", "script"])
def test_a_shipped_module_keeps_the_protocol(tmp_path: Path, module: str) -> None:
    tree = Tree(tmp_path, module, {})
    assert os.access(tree.module, os.X_OK)
    assert tree.call("NeedsArtifactReboot").stdout == "No\n"
    assert tree.call("SupportsRollback").stdout == ("No\n" if module == "script" else "Yes\n")
    for state in (
        "ProvidePayloadFileSizes",
        "Download",
        "ArtifactCommit",
        "ArtifactRollback",
        "ArtifactFailure",
        "Cleanup",
    ):
        result = tree.call(state)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    refused = tree.call("ArtifactInstall")
    assert refused.returncode == 1
    assert "the payload has no file" in refused.stderr


def test_single_file_replaces_a_file_with_its_mode(tmp_path: Path) -> None:
    dest = tmp_path / "etc"
    dest.mkdir()
    (dest / "app.conf").write_text("old")
    tree = _single_file(tmp_path, dest)
    tree.ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert (dest / "app.conf").read_text() == "new"
    assert (dest / "app.conf").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in dest.iterdir()] == ["app.conf"]


@pytest.mark.parametrize("before", ["a file", "nothing", "a link"])
def test_single_file_rolls_back_as_often_as_it_is_asked(tmp_path: Path, before: str) -> None:
    dest = tmp_path / "etc"
    dest.mkdir()
    target = dest / "app.conf"
    if before == "a file":
        target.write_text("old")
        target.chmod(0o600)
    if before == "a link":
        (tmp_path / "elsewhere").write_text("old")
        target.symlink_to(tmp_path / "elsewhere")
    tree = _single_file(tmp_path, dest)
    tree.ok("ArtifactInstall")
    assert target.read_text() == "new"
    tree.ok("ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup", "Cleanup")
    if before == "nothing":
        assert list(dest.iterdir()) == []
    else:
        assert target.read_text() == "old"
        assert target.is_symlink() is (before == "a link")
        assert [path.name for path in dest.iterdir()] == ["app.conf"]


def test_single_file_that_was_cut_off_before_the_backup_rolls_back_to_what_is_there(tmp_path: Path) -> None:
    dest = tmp_path / "etc"
    dest.mkdir()
    (dest / "app.conf").write_text("old")
    tree = _single_file(tmp_path, dest)
    (tree.path / "tmp" / "backup.part").write_text("ol")
    (dest / ".app.conf.wainwright-new").write_text("ne")
    tree.ok("ArtifactRollback", "Cleanup")
    assert (dest / "app.conf").read_text() == "old"
    assert [path.name for path in dest.iterdir()] == ["app.conf"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"dest_dir": b"etc\n", "filename": b"a", "a": b""}, "dest_dir is 'etc', which is not an absolute path"),
        ({"dest_dir": b"/tmp\n", "filename": b"../a"}, "filename is '../a', which is not the name of a file"),
        ({"dest_dir": b"/tmp\n", "filename": b"a"}, "the payload has no file a"),
        ({"dest_dir": b"/\n", "filename": b"usr", "usr": b""}, "//usr is a directory"),
    ],
)
def test_single_file_refuses_what_it_cannot_do_and_says_why(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    result = Tree(tmp_path, "single-file", files).call("ArtifactInstall")
    assert result.returncode == 1
    assert words in result.stderr


def test_directory_replaces_the_whole_tree(tmp_path: Path) -> None:
    dest = tmp_path / "app"
    dest.mkdir()
    (dest / "old.txt").write_text("old")
    _directory(tmp_path, dest).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert [path.name for path in dest.iterdir()] == ["new.txt"]
    assert not list(tmp_path.glob("app.*"))


@pytest.mark.parametrize("before", ["a directory", "nothing"])
def test_directory_rolls_back_as_often_as_it_is_asked(tmp_path: Path, before: str) -> None:
    dest = tmp_path / "app"
    if before == "a directory":
        dest.mkdir()
        (dest / "old.txt").write_text("old")
    tree = _directory(tmp_path, dest)
    tree.ok("ArtifactInstall")
    assert (dest / "new.txt").exists()
    tree.ok("ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup", "Cleanup")
    assert not list(tmp_path.glob("app.*"))
    assert dest.exists() is (before == "a directory")
    if before == "a directory":
        assert [path.name for path in dest.iterdir()] == ["old.txt"]


def test_directory_keeps_the_old_tree_when_it_cannot_be_put_back(tmp_path: Path) -> None:
    dest = tmp_path / "app"
    dest.mkdir()
    (dest / "old.txt").write_text("old")
    tree = _directory(tmp_path, dest)
    tree.ok("ArtifactInstall")
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / "mv").write_text('#!/bin/sh\ncase $1 in *-old) exit 1 ;; esac\nexec /bin/mv "$@"\n')
    (stubs / "mv").chmod(0o755)

    assert tree.call("ArtifactRollback", str(stubs)).returncode == 1
    tree.ok("ArtifactFailure", "Cleanup")

    assert (tmp_path / "app.wainwright-old" / "old.txt").exists()
    tree.ok("ArtifactRollback", "Cleanup")
    assert [path.name for path in dest.iterdir()] == ["old.txt"]
    assert not list(tmp_path.glob("app.*"))


def test_directory_cut_off_between_the_two_renames_rolls_back(tmp_path: Path) -> None:
    dest = tmp_path / "app"
    tree = _directory(tmp_path, dest)
    (tree.path / "tmp" / "had").write_text("present\n")
    old = tmp_path / "app.wainwright-old"
    old.mkdir()
    (old / "old.txt").write_text("old")
    tree.ok("Cleanup")
    assert (old / "old.txt").exists()  # the only copy there is
    tree.ok("ArtifactRollback", "Cleanup")
    assert [path.name for path in dest.iterdir()] == ["old.txt"]


def test_directory_with_a_broken_archive_changes_nothing(tmp_path: Path) -> None:
    dest = tmp_path / "app"
    dest.mkdir()
    (dest / "old.txt").write_text("old")
    tree = _directory(tmp_path, dest)
    (tree.path / "files" / "update.tar").write_bytes(b"no archive" * 100)
    result = tree.call("ArtifactInstall")
    assert result.returncode == 1
    assert "update.tar cannot be unpacked beside" in result.stderr
    tree.ok("ArtifactRollback", "Cleanup")
    assert [path.name for path in dest.iterdir()] == ["old.txt"]
    assert not list(tmp_path.glob("app.*"))


@pytest.mark.parametrize("dest", ["/", "///", "relative"])
def test_directory_refuses_a_bad_destination(tmp_path: Path, dest: str) -> None:
    tree = Tree(tmp_path, "directory", {"dest_dir": dest.encode(), "update.tar": b""})
    assert tree.call("ArtifactInstall").returncode == 1


def test_modules_work_where_sync_takes_no_names(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sync").write_text("#!/bin/sh\n[ $# -eq 0 ]\n")
    (tools / "sync").chmod(0o755)
    dest = tmp_path / "etc"
    tree = _single_file(tmp_path, dest)
    assert tree.call("ArtifactInstall", path=str(tools)).returncode == 0
    assert (dest / "app.conf").read_text() == "new"


def test_script_runs_its_files_in_order_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    good = f"#!/bin/sh\nbasename $0 >>{log}\n".encode()
    tree = Tree(tmp_path, "script", {"02": good, "01": good, "03": b"#!/bin/sh\nexit 4\n", "04": good})
    result = tree.call("ArtifactInstall")
    assert log.read_text().split() == ["01", "02"]
    assert result.returncode == 1
    assert "03 ended with status 4" in result.stderr


def test_single_file_artifact_of_the_real_tool_installs_by_the_agent(lab: Lab) -> None:
    dest = lab.root / "etc"
    files = {"dest_dir": f"{dest}\n".encode(), "filename": b"app.conf\n", "permissions": b"644\n", "app.conf": b"new"}
    reports = lab.update(lab.offer(lab.artifact(files=files, args=("-T", "single-file"))), modules=(OWN_MODULES,))
    assert reports[-1].status == "success"
    assert (dest / "app.conf").read_bytes() == b"new"


def test_script_artifact_that_fails_leaves_the_device_marked(lab: Lab) -> None:
    files = {"run": b"#!/bin/sh\necho no such valve >&2\nexit 1\n"}
    reports = lab.update(lab.offer(lab.artifact(files=files, args=("-T", "script"))), modules=(OWN_MODULES,))
    assert reports[-1].inconsistent is True
    assert reports[-1].error
    assert "no such valve" in reports[-1].error.text
    assert lab.state.provides["artifact_name"] == "release-2_INCONSISTENT"
