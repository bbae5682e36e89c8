"""A Debian with the agent in it: as a folder, by docs/install.md, and as images of its whole root filesystem.

Needs root: what is mounted here is so in a mount namespace of its own, and gone with the process, however that ends.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE, PYTHON = "bookworm", "3.11"  # Debian 12, and its Python
PACKAGES = "systemd-sysv,dbus,python3,python3-venv,ca-certificates,grub-common"  # the last for grub-editenv
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
SLOT = "512M"  # of which some 300 MB are used
SITE = "opt/wainwright/lib/python3.11/site-packages"  # where docs/install.md puts the agent
SOURCES = ("agent", "common", "controller", "pyproject.toml", "README.md", "LICENSE")
# Installing as a package does it: with /proc, but without a service manager that runs.
CHROOT = """
mount -t proc proc "$1/proc"
exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \\
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/source/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 sh -euc "$2"
"""
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def require_machine() -> None:
    """Raise AssertionError, and say what is missing, where no guest can run."""
    assert os.geteuid() == 0, "systemd-nspawn needs root: run `sudo make test-long` on a machine of your own"
    for program in ("systemd-nspawn", "mmdebstrap", "nsenter", "unshare", "losetup", "mke2fs", "grub-editenv"):
        found = shutil.which(program)
        assert found, f"{program} is not installed: `make test-long` installs it"


def build_root(folder: Path, cache: Path) -> Path:
    """Return a root with the agent installed from its wheel, as docs/install.md has it; keeps Debian in `cache`."""
    root = unpack(folder, cache)
    source = root / "source"
    shutil.copytree(ROOT / "systemd", source / "systemd")
    wheels = source / "wheels"
    [ours] = _build_wheel(ROOT, wheels)
    run(*PIP, "download", "--only-binary=:all:", "--python-version", PYTHON, "--dest", str(wheels), str(ours))
    steps = re.search(r"test_systemd.py -->\n```sh\n(.*?)```", (ROOT / "docs/install.md").read_text(), re.DOTALL)
    assert steps
    _in_root(root, f"cd /source\n{steps[1]}")
    (root / "etc/machine-id").unlink(missing_ok=True)  # each guest makes its own
    return root


def unpack(folder: Path, cache: Path, *more: str) -> Path:
    """Return a root of Debian in a folder, with nothing of ours in it; keeps the archive of it in `cache`.

    `more` are packages besides those that a device has.
    """
    packages = ",".join([PACKAGES, *more])
    base = cache / f"{SUITE}-{hashlib.sha256(packages.encode()).hexdigest()[:8]}.tar"
    if not base.exists():
        part = base.with_suffix(".part.tar")
        options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        run("mmdebstrap", "--variant=minbase", f"--include={packages}", *options, SUITE, str(part))
        part.rename(base)
    root = folder / "root"
    root.mkdir(parents=True)
    run("tar", "-xf", str(base), "-C", str(root))
    return root


def install_controller(root: Path) -> None:
    """Install the controller in a root as docs/operations.md has it, from a wheel and the lock."""
    source = root / "source"
    shutil.copytree(ROOT / "systemd", source / "systemd")
    wheels = source / "wheels"
    [ours] = _build_wheel(ROOT, wheels)
    shutil.copy(ROOT / "requirements.lock", source)
    options = ["--only-binary=:all:", "--require-hashes", "--python-version", PYTHON, "--no-deps"]
    run(*PIP, "download", *options, "--dest", str(wheels), "--requirement", str(source / "requirements.lock"))
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    steps = re.search(r"test_controller_service.py -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert steps
    _in_root(root, f"cd /source\nmv wheels/{ours.name} /tmp\n{steps[1]}".replace("wainwright.whl", f"/tmp/{ours.name}"))


def authority_steps() -> str:
    """Return how docs/operations.md makes the authority, and Mosquitto what it has to be, as a shell reads it."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    steps = re.search(
        r"^   <!-- .*test_controller_service.py -->\n   ```sh\n(.*?)^   ```$", page, re.DOTALL | re.MULTILINE
    )
    assert steps
    return re.sub("(?m)^   ", "", steps[1])


def guides_configuration() -> str:
    """Return the controller's configuration that docs/operations.md has for one server."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    block = re.search(r"^   ```toml\n(.*?)^   ```$", page, re.DOTALL | re.MULTILINE)
    assert block
    return re.sub("(?m)^   ", "", block[1])


def install_version(root: Path, version: str) -> None:
    """Replace the agent in a root by one of the same source that calls itself `version`."""
    source, wheels = root / "source/tree", root / "source/wheels"
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)
    init = source / "common/wainwright_common/__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', init.read_text()))
    [wheel] = _build_wheel(source, wheels)
    _in_root(root, f"/opt/wainwright/bin/pip install --quiet --no-deps --force-reinstall /source/wheels/{wheel.name}")


def make_image(root: Path, image: Path) -> Path:
    """Make an image of a folder's content, as large as a slot."""
    run("mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(root), str(image), SLOT)
    return image


def edit_image(image: Path, script: str) -> None:
    """Run a shell script in the root folder of an image."""
    place = image.with_suffix(".mounted")
    place.mkdir()
    steps = f'mount -o loop "$1" "$2"; cd "$2"\n{script}'
    run("unshare", "--mount", "sh", "-euc", steps, "sh", str(image), str(place))
    place.rmdir()


def run(*command: str) -> str:
    """Run a command that has to succeed; returns its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)[:200]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def _build_wheel(source: Path, folder: Path) -> list[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source))
    return list(folder.glob("wainwright-*.whl"))


def _in_root(root: Path, steps: str) -> None:
    """Run steps in a root, which finds what they need below /source; removes that."""
    run("unshare", "--mount", "sh", "-euc", CHROOT, "chroot", str(root), steps)
    shutil.rmtree(root / "source")
