"""`wain diag`: what support needs is in the archive, and no secret, in whatever file and form it was."""

from __future__ import annotations

import base64
import json
import os
import stat
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from tests.agent.service.peers import Agent, new_device_id, offer_of
from tests.support.wait import free_port
from wainwright_agent.checks import CHECKS
from wainwright_agent.journal import Journal
from wainwright_agent.masking import HIDDEN
from wainwright_agent.redaction import Redactor
from wainwright_agent.rules import Now, begin
from wainwright_common.messages import Reason

PASSWORD = 'hunter2 "and" päss/word'
SIGNATURE = "5ca1ab1e5ca1ab1e"
PROXY_PASSWORD = "proxy-pa55"
BEARER = "eyJhbGciOiJub25lIn0.e30"
TOKEN = "t0ken-of-the-script"
VARIABLE = "value-of-a-variable"
MARKER = "a line that support wants to see"


def private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def device(tmp_path: Path) -> Agent:
    """A device with an update under way, and a secret in every place that the archive is made from."""
    agent = Agent(
        tmp_path,
        f"mqtt://127.0.0.1:{free_port()}",
        new_device_id(),
        broker__username="press",
        broker__password=PASSWORD,
    )
    uri = f"http://user:{PROXY_PASSWORD}@127.0.0.1/download/a1?expires=1&signature={SIGNATURE}"
    with Journal.open(agent.data_dir) as journal:
        journal.change(lambda state: begin(state, offer_of(uri, b"x"), Now(at=datetime.now(UTC), boot_id="b", seq=1)))
        text = f"The broker refused the password {PASSWORD}."
        error = Reason(code="link-failed", text=text)
        journal.change(lambda state: replace(state, update=state.update and replace(state.update, failure=error)))
    logs = agent.data_dir / "logs"
    logs.mkdir()
    lines = [
        MARKER,
        f"GET {uri}",
        f"Authorization: Bearer {BEARER}",
        json.dumps({"message": json.dumps({"api_key": TOKEN})}),
        f"export DB_PASSWORD={TOKEN}",
        base64.b64encode(PASSWORD.encode()).decode(),
        quote(PASSWORD, safe=""),
        repr(PASSWORD),
        private_key(),
    ]
    (logs / "d-1.1.log").write_text("\n".join(lines), encoding="utf-8")
    scripts = tmp_path / "inventory"
    scripts.mkdir()
    script = scripts / "wainwright-inventory-app"
    script.write_text(f"#!/bin/sh\necho app_token={TOKEN}\necho app_version=7\n")
    script.chmod(0o755)
    return agent


def archive_of(agent: Agent, to: Path) -> tuple[Path, dict[str, str]]:
    """Make the archive; return its path, and its texts by their names in it."""
    done = agent.wain("diag", "--to", str(to), env={"WAINWRIGHT_LOG__LEVEL": "info", "WAINWRIGHT_X": VARIABLE})
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    with tarfile.open(path) as archive:
        texts = {}
        for member in archive:
            assert member.mode == 0o600
            folder, _, name = member.name.partition("/")
            assert folder == path.name.removesuffix(".tar.gz")
            file = archive.extractfile(member)
            assert file
            texts[name] = file.read().decode()
    return path, texts


def test_no_secret_is_in_the_archive_in_any_form(device: Agent, tmp_path: Path) -> None:
    logged = (device.data_dir / "logs" / "d-1.1.log").read_text(encoding="utf-8")
    key_lines = [line for line in logged.splitlines() if len(line) == 64]
    assert len(key_lines) >= 2
    forms = [
        *(PASSWORD, json.dumps(PASSWORD)[1:-1], json.dumps(PASSWORD, ensure_ascii=False)[1:-1]),
        *(quote(PASSWORD, safe=""), base64.b64encode(PASSWORD.encode()).decode(), "hunter2"),
        *(SIGNATURE, PROXY_PASSWORD, BEARER, TOKEN, VARIABLE, *key_lines),
    ]
    sources = device.config.read_text() + logged + (device.data_dir / "journal.json").read_text()
    assert [secret for secret in (SIGNATURE, PROXY_PASSWORD, BEARER, TOKEN, "hunter2") if secret not in sources] == []

    _, texts = archive_of(device, tmp_path)

    everything = "\n".join([*texts, *texts.values()])
    assert [form for form in forms if form in everything] == []


def test_what_support_needs_is_in_the_archive(device: Agent, tmp_path: Path) -> None:
    (device.data_dir / os.fsdecode(b"caf\xe9")).touch()

    _, texts = archive_of(device, tmp_path)

    assert {name for name in texts if not name.startswith(("service", "journal/journal.json.old"))} == {
        "about.json",
        "config.json",
        "status.json",
        "checks.txt",
        "inventory.json",
        "journal/journal.json",
        "logs/d-1.1.log",
        "files.txt",
    }
    assert MARKER in texts["logs/d-1.1.log"]
    assert json.loads(texts["about.json"])["packages"]["paho-mqtt"].startswith("2.")
    config = json.loads(texts["config.json"])
    assert (config["broker"]["username"], config["broker"]["password"]) == ("press", HIDDEN)
    assert {"WAINWRIGHT_LOG__LEVEL", "WAINWRIGHT_X"} <= set(config["set_by_environment"])
    assert json.loads(texts["status.json"])["trying"]["state"] == "download"
    assert json.loads(texts["inventory.json"])["app_version"] == "7"
    assert json.loads(texts["journal/journal.json"])["state"]["update"]["offer"]["artifact"]["name"] == "panel-2"
    assert len(texts["checks.txt"].splitlines()) == len(CHECKS)
    assert "NOT broker: " in texts["checks.txt"]
    assert str(device.data_dir / "journal.json") in texts["files.txt"]
    assert str(device.data_dir / "caf?") in texts["files.txt"]


def test_only_its_owner_can_read_the_archive_and_the_name_says_whose_it_is(device: Agent, tmp_path: Path) -> None:
    path, _ = archive_of(device, tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name.startswith(f"wainwright-diag-{device.device_id}-")


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(device: Agent, tmp_path: Path) -> None:
    done = device.wain("diag", "--to", str(tmp_path / "none"))

    assert done.returncode == 1
    assert "cannot be written: No such file or directory. Name another folder with --to." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_journal_is_in_the_archive_as_it_is(device: Agent, tmp_path: Path) -> None:
    for file in device.data_dir.glob("journal.json*"):
        file.write_text('{"sha256": "0", "state": {"schema": 99}', encoding="utf-8")

    _, texts = archive_of(device, tmp_path)

    assert texts["journal/journal.json"].startswith('{"sha256": "0"')


def test_a_log_that_cannot_be_read_costs_only_itself(device: Agent, tmp_path: Path) -> None:
    os.mkfifo(device.data_dir / "logs" / "pipe")
    (device.data_dir / "logs" / "link.log").symlink_to("/etc/shadow")

    _, texts = archive_of(device, tmp_path)

    assert "logs/d-1.1.log" in texts
    assert not {"logs/pipe", "logs/link.log"} & set(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password = hunter22", f"password = {HIDDEN}"),
        ('"apiKey": "abc", "b": 1', f'"apiKey": "{HIDDEN}", "b": 1'),
        ("secret: 'a b'", f"secret: '{HIDDEN}'"),
        (f"enrolled with wwe_0123456789ab_{'x' * 43}, used up", f"enrolled with {HIDDEN}, used up"),
        (f"curl -H X:wwt_0123456789ab_{'-' * 43}", f"curl -H X:{HIDDEN}"),
        (
            "broker.password: a password needs broker.username",
            f"broker.password: {HIDDEN} password needs broker.username",
        ),
        ("-----BEGIN EC PRIVATE KEY-----\nabc\n", HIDDEN),
        ("abc\n-----END PRIVATE KEY-----\nrest", f"{HIDDEN}\nrest"),
        ("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----", None),
        ("tokens were counted; passwords are kept", None),
        ("the state download: 62 %, disk 1.2 GB", None),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(text: str, expected: str | None) -> None:
    assert Redactor([]).redact(text) == (text if expected is None else expected)


def test_long_lines_do_not_take_long() -> None:
    began = time.process_time()
    for text in ("a." * 200_000, "x" * 400_000, "://" * 100_000, "password" * 40_000, '"' * 100_000):
        assert Redactor(["hunter2"]).redact(text)
    assert time.process_time() - began < 10


def test_a_secret_that_is_too_short_to_be_found_is_hidden_where_it_is_set() -> None:
    assert Redactor(["abc"]).redact("abcde") == "abcde"
