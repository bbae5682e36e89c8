"""`deb`: real packages and the real dpkg, in a root of its own."""

from __future__ import annotations

import fcntl
import subprocess
import threading
from pathlib import Path

import pytest

from tests.agent.modules.tree import Tree
from tests.agent.update.lab import Lab, run
from wainwright_agent.config import OWN_MODULES


class Root:
    """A system of Debian packages below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "root"
        self.keep = folder / "keep"
        self.cache = folder / "cache"
        self.reboot_required = folder / "reboot-required"
        (self.path / "var/lib/dpkg/info").mkdir(parents=True)
        (self.path / "var/lib/dpkg/updates").mkdir()
        (self.path / "var/lib/dpkg/status").touch()
        self.cache.mkdir()
        self._trees = 0

    @property
    def dpkg(self) -> list[str]:
        """The command: scripts of packages run in this test's system, and nobody need be root."""
        options = ["--force-not-root", "--force-script-chrootless", "--force-unsafe-io", "--log=/dev/null"]
        return ["dpkg", f"--root={self.path}", *options]

    @property
    def env(self) -> dict[str, str]:
        return {
            "WAINWRIGHT_DEB_DPKG": " ".join(self.dpkg),
            "WAINWRIGHT_DEB_KEEP": str(self.keep),
            "WAINWRIGHT_DEB_CACHE": str(self.cache),
            "WAINWRIGHT_DEB_REBOOT_REQUIRED": str(self.reboot_required),
            "WAINWRIGHT_DEB_LOCK_WAIT_S": "20",
        }

    def build(self, version: str, name: str = "app", *, control: str = "", **scripts: str) -> bytes:
        """Return a package with one file, /opt/<name>, that says the version."""
        source = self.folder / f"{name}-{version}"
        (source / "DEBIAN").mkdir(parents=True)
        (source / "opt").mkdir()
        (source / "opt" / name).write_text(version)
        fields = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.org>\n"
        (source / "DEBIAN/control").write_text(f"{fields}{control}Description: a test's\n")
        for script, text in scripts.items():
            (source / "DEBIAN" / script).write_text(f"#!/bin/sh\n{text}\n")
            (source / "DEBIAN" / script).chmod(0o755)
        out = self.folder / f"{name}-{version}.deb"
        run("dpkg-deb", "--build", "-Znone", "--root-owner-group", str(source), str(out))
        return out.read_bytes()

    def install(self, package: bytes) -> None:
        """Install without the module, as whoever built the device."""
        file = self.folder / "factory.deb"
        file.write_bytes(package)
        run(*self.dpkg, "--install", str(file))

    def tree(self, **packages: bytes) -> Tree:
        """Return the work tree of the next update."""
        self._trees += 1
        folder = self.folder / f"update-{self._trees}"
        folder.mkdir()
        return Tree(folder, "deb", self.env, {f"{name}.deb": package for name, package in packages.items()})

    def version(self, name: str = "app") -> str:
        """Return the version of a package that is wholly installed, and whose file says the same; else ''."""
        known = subprocess.run([*self.dpkg, "--status", name], check=False, capture_output=True, text=True)
        fields = dict(line.split(": ", 1) for line in known.stdout.splitlines() if ": " in line)
        if not fields.get("Status", "").endswith(" installed"):
            return ""
        assert (self.path / "opt" / name).read_text() == fields["Version"]
        return fields["Version"]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_the_questions_are_answered_and_other_states_do_nothing(root: Root) -> None:
    tree = root.tree()

    assert tree.ok("NeedsArtifactReboot") == "No\n"
    assert tree.ok("SupportsRollback") == "Yes\n"
    for state in ("Download", "ProvidePayloadFileSizes", "ArtifactRollback", "ArtifactFailure", "Cleanup"):
        assert tree.ok(state) == ""
    assert "the payload has no files" in tree.refused("ArtifactInstall")


def test_a_package_is_installed_and_kept_for_the_rollback_of_the_next_one(root: Root) -> None:
    first = root.tree(app=root.build("1:1.0"))
    first.ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert root.version() == "1:1.0"

    second = root.tree(app=root.build("1:2.0-1"))
    second.ok("ArtifactInstall")
    assert root.version() == "1:2.0-1"
    assert second.ok("SupportsRollback") == "Yes\n"
    second.ok("ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert root.version() == "1:1.0"
    assert [file.name for file in root.keep.iterdir()] == ["app_1%3a1.0_all.deb"]


def test_only_the_version_that_is_installed_stays_kept(root: Root) -> None:
    for version in ("1.0", "2.0"):
        root.tree(app=root.build(version)).ok("ArtifactInstall", "ArtifactCommit", "Cleanup", "Cleanup")

    assert [file.name for file in root.keep.iterdir()] == ["app_2.0_all.deb"]


def test_a_rollback_after_the_commit_is_possible_until_cleanup(root: Root) -> None:
    root.tree(app=root.build("1.0")).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    tree = root.tree(app=root.build("2.0"))

    tree.ok("ArtifactInstall", "ArtifactCommit", "ArtifactRollback", "Cleanup")

    assert root.version() == "1.0"
    assert [file.name for file in root.keep.iterdir()] == ["app_1.0_all.deb"]


def test_the_former_version_may_come_from_the_cache_of_apt(root: Root) -> None:
    package = root.build("1:1.0")
    root.install(package)
    (root.cache / "app_1%3a1.0_all.deb").write_bytes(package)
    tree = root.tree(app=root.build("1:2.0"))

    tree.ok("ArtifactInstall", "ArtifactRollback")

    assert root.version() == "1:1.0"


def test_without_the_former_package_there_is_no_rollback_and_the_answer_says_why(root: Root) -> None:
    root.install(root.build("1.0"))
    (root.cache / "app_1.0_all.deb").write_bytes(root.build("9.9"))  # has the name, but is another one
    tree = root.tree(app=root.build("2.0"))
    tree.ok("ArtifactInstall")

    answer = tree.call("SupportsRollback")

    assert (answer.returncode, answer.stdout) == (0, "No\n")
    assert "these versions were not kept: app 1.0;" in answer.stderr
    assert "cannot be restored, for its package was not kept: app 1.0" in tree.refused("ArtifactRollback")
    assert root.version() == "2.0"


def test_packages_that_were_not_there_are_removed_by_a_rollback(root: Root) -> None:
    root.install(root.build("1.0"))
    (root.cache / "app_1.0_all.deb").write_bytes((root.folder / "app-1.0.deb").read_bytes())
    tree = root.tree(app=root.build("2.0", control="Depends: lib\n"), lib=root.build("1", "lib"))

    tree.ok("ArtifactInstall")
    assert (root.version(), root.version("lib")) == ("2.0", "1")
    tree.ok("ArtifactRollback", "ArtifactRollback")

    assert (root.version(), root.version("lib")) == ("1.0", "")
    assert not (root.path / "opt/lib").exists()


def test_a_power_cut_in_the_middle_of_dpkg_is_rolled_back(root: Root) -> None:
    root.tree(app=root.build("1.0")).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    kill_dpkg_and_module = "kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat) $PPID"
    tree = root.tree(app=root.build("2.0", postinst=kill_dpkg_and_module))

    assert tree.call("ArtifactInstall").returncode == -9
    assert root.version() == ""
    assert tree.ok("SupportsRollback") == "Yes\n"
    tree.ok("ArtifactRollback", "ArtifactFailure", "Cleanup")

    assert root.version() == "1.0"


@pytest.mark.parametrize("fault", ["a script fails", "a dependency is missing"])
def test_a_package_that_cannot_be_configured_is_rolled_back(root: Root, fault: str) -> None:
    root.tree(app=root.build("1.0")).ok("ArtifactInstall", "ArtifactCommit", "Cleanup")
    bad = (
        root.build("2.0", postinst="echo the valve is open >&2; exit 1")
        if fault == "a script fails"
        else root.build("2.0", control="Depends: absent\n")
    )
    tree = root.tree(app=bad)

    said = tree.refused("ArtifactInstall")
    assert ("the valve is open" if fault == "a script fails" else "Package absent is not installed") in said
    assert root.version() == ""
    assert tree.ok("SupportsRollback") == "Yes\n"
    tree.ok("ArtifactRollback", "ArtifactFailure", "Cleanup")

    assert root.version() == "1.0"


def test_what_is_no_package_is_refused_before_dpkg_is_called(root: Root) -> None:
    tree = root.tree(app=root.build("1.0"), readme=b"not a package")

    assert "the payload file readme.deb is not a Debian package" in tree.refused("ArtifactInstall")
    assert tree.ok("SupportsRollback") == "Yes\n"
    tree.ok("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert root.version() == ""


def test_another_dpkg_at_work_is_waited_for(root: Root) -> None:
    tree = root.tree(app=root.build("1.0"))
    with (root.path / "var/lib/dpkg/lock-frontend").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        assert "lock was locked" in tree.refused("ArtifactInstall", WAINWRIGHT_DEB_LOCK_WAIT_S="0")
        release = threading.Timer(0.5, lambda: fcntl.lockf(lock, fcntl.LOCK_UN))
        release.start()
        tree.ok("ArtifactInstall")
        release.join()

    assert root.version() == "1.0"


def test_a_reboot_is_asked_for_when_a_package_says_that_it_needs_one(root: Root) -> None:
    needs = root.build("1.0", postinst=f"touch {root.reboot_required}")
    tree = root.tree(app=needs)
    tree.ok("ArtifactInstall")
    assert tree.ok("NeedsArtifactReboot") == "Automatic\n"

    later = root.tree(app=root.build("2.0"))  # the earlier one's wish is not this one's
    later.ok("ArtifactInstall")
    assert later.ok("NeedsArtifactReboot") == "No\n"


def test_the_agent_installs_a_package_and_marks_a_device_that_has_no_way_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.root / "debian").mkdir()
    root = Root(lab.root / "debian")
    for key, value in root.env.items():
        monkeypatch.setenv(key, value)
    good = lab.artifact(files={"app.deb": root.build("1.0")}, args=("-T", "deb"))
    assert lab.update(lab.offer(good), modules=(OWN_MODULES,))[-1].status == "success"
    assert root.version() == "1.0"

    for kept in root.keep.iterdir():
        kept.unlink()
    bad = lab.artifact("release-3", files={"app.deb": root.build("2.0", postinst="exit 1")}, args=("-T", "deb"))
    reports = lab.update(lab.offer(bad, name="release-3", deployment_id="d-2"), modules=(OWN_MODULES,))

    assert reports[-1].status == "failure"
    assert reports[-1].inconsistent is True
