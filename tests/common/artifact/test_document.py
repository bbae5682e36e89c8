"""docs/artifacts.md says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from wainwright_common.artifact import DEFAULT, MEANINGS
from wainwright_common.artifact.limits import GIB, KIB, MIB

DOCUMENT = (Path(__file__).parents[3] / "docs" / "artifacts.md").read_text()


def test_the_table_of_rules_is_the_programs() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (.*) \|$", DOCUMENT.partition("<!-- rules")[2], flags=re.MULTILINE)
    assert rows == [(str(rule), meaning.demand, meaning.remedy) for rule, meaning in MEANINGS.items()]


def test_the_limits_are_the_programs() -> None:
    window = 2**DEFAULT.zstd_window_log // MIB
    for row in (
        f"| `version` | {DEFAULT.version // KIB} KiB |",
        f"| `manifest` | {DEFAULT.manifest // MIB} MiB |",
        f"| `manifest.sig` | {DEFAULT.signature // KIB} KiB |",
        f"| header, stored and expanded | {DEFAULT.header // MIB} MiB each |",
        f"| all payload files together | {DEFAULT.payload // GIB} GiB |",
        f"| expansion | {DEFAULT.expansion:,} times, beyond the first {DEFAULT.expansion_allowance // MIB} MiB |",
        f"| memory of a decoder | {DEFAULT.decoder_memory // MIB} MiB for xz, a window of {window} MiB",
        f"| zeros after the end of an archive | {DEFAULT.padding // MIB} MiB |",
        f"| an extended tar header | {DEFAULT.extension // KIB} KiB |",
    ):
        assert row in DOCUMENT
