"""The Yocto recipe of docs/install.md, as OpenEmbedded's style guide has it. It is parsed, not built."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_boundaries import files, imports

ROOT = Path(__file__).parents[3]
# What OpenEmbedded-Core cuts Python into: meta/recipes-devtools/python/python3/python3-manifest.json, as of commit
# 01982411b5cc. Of each package, the modules that the agent imports; and the packages that come with it.
# fmt: off
MODULES = {
    "core": {
        "__future__", "argparse", "binascii", "collections", "contextlib", "dataclasses", "enum", "errno", "fcntl",
        "functools", "grp", "importlib", "io", "ipaddress", "itertools", "lzma", "math", "os", "pathlib", "platform",
        "pwd", "re", "select", "selectors", "shutil", "signal", "stat", "struct", "subprocess", "sys", "textwrap",
        "threading", "time", "types", "typing", "urllib.parse", "warnings", "weakref", "zlib",
    },
    "compression": {"tarfile"},
    "crypt":       {"hashlib"},
    "ctypes":      {"ctypes"},
    "datetime":    {"datetime"},
    "difflib":     {"difflib"},
    "email":       {"email"},
    "io":          {"socket", "ssl", "tempfile"},
    "json":        {"json"},
    "logging":     {"logging"},
    "math":        {"random"},
    "netclient":   {"base64", "http", "uuid"},
    "threading":   {"queue"},
    "tomllib":     {"tomllib"},
    "zoneinfo":    {"zoneinfo"},
}
BRINGS = {
    "core":      {"compression"},
    "ctypes":    {"core", "io", "math"},
    "email":     {"core", "datetime", "io", "math", "netclient"},
    "io":        {"core", "math", "netclient"},
    "logging":   {"core", "io", "threading"},
    "netclient": {"core", "crypt", "datetime", "email", "io", "math"},
    "zoneinfo":  {"core", "datetime"},
}
# fmt: on
RELEASES = ("langdale", "scarthgap", "styhead", "latest")
LIMIT_S = 100


def recipe() -> str:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    found = re.search(r"test_recipe.py -->\n```bitbake\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def lint(folder: Path, text: str, release: str) -> str:
    """Return what oelint-adv has to say against a recipe; '' for nothing."""
    file = folder / "recipes-support/wainwright/wainwright-agent_0.1.0.bb"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    # The rule that is left out asks the network for HOMEPAGE, which here is an example's.
    left_out = "--suppress=oelint.vars.homepageping"
    options = ("--quiet", "--relpaths", "--jobs=1", "--hide=info", left_out, f"--release={release}")
    command = [sys.executable, "-m", "oelint_adv", *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode == 0) == (not done.stderr), done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("release", RELEASES)
def test_the_recipe_is_well_formed(tmp_path: Path, release: str) -> None:
    assert lint(tmp_path, recipe(), release) == ""


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('LICENSE = "Apache-2.0"\n', "", "oelint.var.mandatoryvar.LICENSE"),
        ('SECTION = "support"', "SECTION = support", "oelint.vars.valuequoted"),
        ("RDEPENDS:${PN}", "RDEPENDS_${PN}", "oelint.vars.mispell"),
    ],
    ids=["no license", "no quotes", "old syntax"],
)
def test_a_flaw_of_the_recipe_would_be_found(tmp_path: Path, old: str, new: str, rule: str) -> None:
    assert old in recipe()
    assert rule in lint(tmp_path, recipe().replace(old, new), "latest")


def test_the_recipe_names_the_files_and_packages_that_there_are() -> None:
    for file in re.findall(r"\$\{S\}/(\S+)", recipe()):
        assert (ROOT / file).exists()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert needed
    for name in re.findall(r'"([A-Za-z.-]+)', needed[1]):
        assert f"python3-{name.replace('.', '-')} " in recipe()


def test_the_recipe_brings_every_module_of_python_that_the_agent_imports() -> None:
    """A device whose image lacks one ends the agent at its start, or the day that it is needed."""
    package_of = {module: package for package, modules in MODULES.items() for module in modules}
    there: set[str] = set()
    named = set(re.findall(r"python3-(\S+)", recipe()))
    while named - there:
        there |= named
        named = set().union(*(BRINGS.get(package, {"core"}) for package in there))
    imported = {
        name
        for package in ("wainwright_agent", "wainwright_common")
        for path in files(package)
        for name, _, _ in imports(path)
        if name.split(".")[0] in sys.stdlib_module_names
    }

    needed = {name: package_of.get(name) or package_of.get(name.split(".")[0]) for name in imported}
    missing = {name: package for name, package in needed.items() if package not in there}

    assert {"tomllib", "logging", "urllib.parse"} <= imported
    assert missing == {}  # None: look up its package in the manifest, and add it to MODULES
