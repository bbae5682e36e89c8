"""What is installed is what the locks say, file by file, and the locks say what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
RENEW = "run: make lock"
ENTRY = re.compile(
    r"^([a-z0-9-]+)==(\S+?)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
OURS = "wainwright"


def asked(*extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for: always, with these extras, and to build."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    texts = [*found["project"]["dependencies"], *found["dependency-groups"]["build"]]
    for extra in extras:
        texts += found["project"]["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def locked(name: str) -> dict[str, tuple[str, str]]:
    """Return (version, marker) of each package in a lock."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {match[1]: (match[2], match[3] or "") for match in ENTRY.finditer(text)}


def here(lock: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Return the versions of those packages that this Python, on this machine, gets."""
    wanted = {name: version for name, (version, marker) in lock.items() if is_for_us(marker)}
    assert len(wanted) > 20
    return wanted


def is_for_us(marker: str) -> bool:
    return not marker or Marker(marker).evaluate({"extra": ""})


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of all that requirements lead to, by what is installed."""
    todo, seen = list(named(requirements, "")), set[tuple[str, str]]()
    while todo:
        name, extra = todo.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            todo += named(map(Requirement, metadata.requires(name) or ()), extra)
    return {name for name, _ in seen}


def named(requirements: Iterable[Requirement], extra: str) -> Iterator[tuple[str, str]]:
    """Yield (package, extra of it) of those requirements that hold here, with an extra of their own package."""
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for theirs in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), theirs


@pytest.mark.parametrize(
    ("name", "extras"),
    [("requirements.lock", ["controller"]), ("requirements-dev.lock", ["controller", "postgresql", "dev"])],
)
def test_a_lock_has_what_is_asked_for_and_what_that_needs_and_nothing_else(name: str, extras: list[str]) -> None:
    lock = locked(name)
    for requirement in asked(*extras):
        version, _ = lock.get(canonicalize_name(requirement.name), ("", ""))
        assert version, f"{requirement} is not in {name}: {RENEW}"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is not {version}: {RENEW}"
    assert here(lock).keys() == closure(asked(*extras)), RENEW


def test_what_is_installed_is_what_is_locked() -> None:
    wrong = {
        name: (version, metadata.version(name))
        for name, version in here(locked("requirements-dev.lock")).items()
        if metadata.version(name) != version
    }
    assert wrong == {}, "run: make .venv/.dev"


def test_the_two_locks_agree() -> None:
    all_of_it = locked("requirements-dev.lock")
    assert {name: entry for name, entry in locked("requirements.lock").items() if all_of_it.get(name) != entry} == {}


def test_every_line_of_a_lock_is_understood_and_names_no_place() -> None:
    """An entry without a hash, with an address, or from a folder would be installed as it is."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        rest = re.sub(r"^ *#.*\n", "", ENTRY.sub("", text), flags=re.MULTILINE)
        assert rest == "", rest[:200]
        assert not re.search(r"https?:|file:|@|index", text)


def test_the_makefile_installs_nothing_past_the_locks() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [
        line.strip()
        for line in makefile.splitlines()
        if line.startswith("\t") and ("pip install" in line or "PIP)" in line)
    ]
    assert lines == ["$(PIP) --no-deps --no-build-isolation --editable .", "$(PIP) uv==$(UV)", "$(PIP) pip-audit"]
    assert "--require-hashes --only-binary :all:" in makefile
