"""`wainwright enrolment`, `ca`, and what of `device` is about keys and certificates; over HTTPS."""

from __future__ import annotations

import itertools
import os
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.controller.api.served import Served
from tests.controller.cli.conftest import Ran, Run
from tests.support.est import EstDevice
from tests.support.mosquitto import Mosquitto
from tests.support.openssl import openssl
from tests.support.wait import wait_until
from wainwright_controller.cli.main import wainwright
from wainwright_controller.config import Enrolment
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.pki.keeper import Keeper

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that gives certificates."""
    with Served(tmp_path_factory.mktemp("controller"), mosquitto, enrolment=Enrolment(enabled=True)) as running:
        yield running


@pytest.fixture
def run(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As in the other tests, but the controller is known by its authority's file."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WAINWRIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WAINWRIGHT_CONTROLLER", served.url)
    monkeypatch.setenv("WAINWRIGHT_CA", str(served.config.pki_folder / "root.pem"))

    def run(*words: str, stdin: str | None = None) -> Ran:
        arguments = words[0].split() if len(words) == 1 else list(words)
        result = CliRunner().invoke(wainwright, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


def new_device(served: Served, folder: Path, name: str = "") -> EstDevice:
    number = next(NUMBERS)
    place = folder / f"device-{number}"
    place.mkdir()
    return EstDevice(served.url, served.config.pki_folder / "root.pem", place, name or f"mill-{number}")


def test_from_a_device_that_waits_to_its_certificate(served: Served, run: Run, tmp_path: Path) -> None:
    device = new_device(served, tmp_path)
    assert device.enrol().status_code == 202

    row = next(line for line in run("enrolment list").out.splitlines() if line.startswith(device.name))
    assert device.digest in row
    assert "pending" in row
    assert f"{device.digest}  pending, asked" in run(f"device show {device.name}").out
    assert run(f"device accept {device.name}").code == 0
    assert device.enrol().status_code == 200

    listed = run(f"device certificates {device.name}").out.splitlines()
    assert len(listed) == 2
    assert f"{device.certificate.serial_number:040x}" in listed[1]
    assert "in 90 days" in listed[1]
    assert run("enrolment list -o json").json == []


def test_of_two_keys_a_person_has_to_name_one(served: Served, run: Run, tmp_path: Path) -> None:
    first = new_device(served, tmp_path)
    second = new_device(served, tmp_path, first.name)
    for device in (first, second):
        assert device.enrol().status_code == 202

    refused = run(f"device accept {first.name}")
    assert (refused.code, "2 keys ask for this name" in refused.err) == (4, True)
    assert run(f"device accept {first.name} --key {second.digest[:8].upper()}").code == 0
    assert second.enrol().status_code == 200
    unsure = run(f"device accept {first.name} --key {first.digest[:8]}")
    assert (unsure.code, "Nobody can be asked here" in unsure.err) == (4, True)
    assert run(f"device accept {first.name} --key {first.digest[:8]} --yes").code == 0
    assert first.enrol().status_code == 200
    assert second.enrol().status_code == 403
    assert run("device accept a b --key 0000").code == 2


def test_a_key_that_is_known_in_advance(served: Served, run: Run, tmp_path: Path) -> None:
    device = new_device(served, tmp_path)

    assert run(f"device preauthorize {device.name} --key {device.digest}").code == 0
    assert device.enrol().status_code == 200

    other = run(f"device preauthorize {device.name} --key {'0' * 64}")
    assert (other.code, "has another key" in other.err) == (4, True)
    assert run("device preauthorize a b --key 00").code == 2


def test_a_token_for_a_pallet_of_devices(served: Served, run: Run, tmp_path: Path) -> None:
    made = run("enrolment", "token", "create", "--budget", "2", "--expires", "8h", "--note", "line 7")
    assert made.code == 0
    assert "for 2 devices" in made.err
    text = made.out.strip()
    assert re.fullmatch(r"wwe_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    assert new_device(served, tmp_path).enrol(text).status_code == 200

    token_id = text.split("_")[1]
    row = next(line for line in run("enrolment token list").out.splitlines() if line.startswith(token_id))
    assert "1 of 2" in row
    assert "line 7" in row
    assert text not in row
    assert run(f"enrolment token revoke {token_id}").code == 4
    assert run(f"enrolment token revoke {token_id} --yes").code == 0
    assert new_device(served, tmp_path).enrol(text).status_code == 401
    past = run("enrolment token create --expires 2020-01-01T00:00Z")
    assert (past.code, "would have expired" in past.err) == (4, True)


def test_a_device_is_revoked_by_who_means_it(served: Served, run: Run, tmp_path: Path) -> None:
    device = new_device(served, tmp_path)
    run(f"device preauthorize {device.name} --key {device.digest}")
    assert device.enrol().status_code == 200

    asked = run(f"device revoke {device.name}")
    assert (asked.code, "for good, and disconnects it" in asked.err) == (4, True)
    done = run(f"device revoke {device.name} --yes --reason superseded")
    assert (done.code, f"1 certificate of {device.name} revoked" in done.err) == (0, True)

    assert "superseded" in run(f"device certificates {device.name}").out
    assert f"{device.digest}  revoked" in run(f"device show {device.name}").out
    entry = run("audit list --action revoke-device --limit 1 -o json").json[0]
    assert device.name in entry["object"]
    assert entry["after"][f"key {device.digest} of {device.name}"] == {"state": "revoked"}


def test_the_authority_is_shown_and_given_away(served: Served, run: Run, tmp_path: Path) -> None:
    shown = run("ca show").out
    assert served.get("ca")["fingerprint"] in shown
    assert "on the controller" in shown
    assert "signs now" in shown
    (tmp_path / "root.pem").write_text(run("ca export").out, encoding="ascii")
    assert (tmp_path / "root.pem").read_bytes() == (served.config.pki_folder / "root.pem").read_bytes()
    chain = run("ca export --chain").out
    assert chain.count("BEGIN CERTIFICATE") == 1 + len(served.get("ca")["issuers"])
    file = served.config.pki_folder / "crl.pem"  # which is written anew soon after somebody was revoked
    wait_until(lambda: served.call("GET", "/crl.pem").content == file.read_bytes(), what="the list as it is")


def test_the_issuing_authority_is_rotated_with_the_root_elsewhere(served: Served, run: Run, tmp_path: Path) -> None:
    pki = served.config.pki_folder
    media = tmp_path / "media"
    media.mkdir()
    for name in ("root.pem", "root.key"):
        (media / name).write_bytes((pki / name).read_bytes())
    (pki / "root.key").unlink()
    try:
        refused = run("ca rotate")
        assert (refused.code, "ca rotate --request" in refused.err) == (4, True)

        (tmp_path / "request.pem").write_text(run("ca rotate --request").out, encoding="ascii")
        signed = run("ca", "sign", "--root", str(media), str(tmp_path / "request.pem"))
        assert signed.code == 0, signed.err
        (tmp_path / "issuing.pem").write_text(signed.out, encoding="ascii")
        before = {one["id"] for one in served.get("ca")["issuers"]}
        # What somebody else has signed, or what is no certificate, does not get in.
        for wrong in ("root.pem", "request.pem"):
            file = media / wrong if wrong == "root.pem" else tmp_path / wrong
            assert run("ca", "rotate", "--certificate", str(file)).code == 4
        assert {one["id"] for one in served.get("ca")["issuers"]} == before

        done = run("ca", "rotate", "--certificate", str(tmp_path / "issuing.pem"))
        assert done.code == 0, done.err
        assert not (pki / "next.key").exists()
        assert run("ca", "rotate", "--certificate", str(tmp_path / "issuing.pem")).code == 4  # once
    finally:
        (pki / "root.key").write_bytes((media / "root.key").read_bytes())
    device = new_device(served, tmp_path)
    run(f"device preauthorize {device.name} --key {device.digest}")
    assert device.enrol().status_code == 200
    openssl("verify", "-CAfile", pki / "root.pem", "-untrusted", device.certificate_file, device.certificate_file)


def test_an_issuing_authority_that_has_ended_is_replaced_while_no_controller_runs(run: Run, tmp_path: Path) -> None:
    """A controller does not start with it; and who keeps the root's key elsewhere does not bring it here."""
    config, media = tmp_path / "c.toml", tmp_path / "media"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    on_files = ("ca", "rotate", "--files", "--config", str(config))
    assert run("ca", "init", "--config", str(config)).code == 0
    folder, now = Folder(tmp_path / "data" / "pki"), datetime.now(UTC)
    Authority.load(folder).rotate("Test", now - timedelta(days=6 * 365))
    media.mkdir()
    for name in ("root.pem", "root.key"):
        (media / name).write_bytes((folder.path / name).read_bytes())
    folder.root_key.unlink()
    assert "bring it back" in run(*on_files).err

    (tmp_path / "request.pem").write_text(run(*on_files, "--request").out, encoding="ascii")
    signed = run("ca", "sign", "--root", str(media), str(tmp_path / "request.pem"))
    (tmp_path / "issuing.pem").write_text(signed.out, encoding="ascii")
    done = run(*on_files, "--certificate", str(tmp_path / "issuing.pem"))

    assert done.code == 0, done.err
    signs = Keeper(folder, "Test", now.timestamp(), 86_400.0).authority().issuer  # as a start would
    assert signs.certificate.public_bytes(Encoding.PEM).decode() in signed.out
    assert done.err.startswith(signs.id)
    folder.root_key.write_bytes((media / "root.key").read_bytes())
    assert run(*on_files).code == 0
    assert Authority.load(folder).issuer.id != signs.id


def test_an_issuing_authority_is_retired_by_who_means_it(served: Served, run: Run) -> None:
    assert run("ca rotate").code == 0
    former = next(one["id"] for one in served.get("ca")["issuers"] if not one["signs_now"])
    signs = next(one["id"] for one in served.get("ca")["issuers"] if one["signs_now"])

    assert run(f"ca retire {former}").code == 4
    assert run(f"ca retire {former} --yes").code == 0
    assert former not in run("ca show").out
    assert run(f"ca retire {signs} --yes").code == 4
    assert run("ca retire 0000000000000000 --yes").code == 1


def test_a_servers_certificate_that_is_revoked_is_replaced_and_is_not_said_to_be_useless(
    served: Served, run: Run
) -> None:
    """Who believes it reads no revocation list: an operator must not think that a stolen key is worth nothing now."""

    def good() -> str:
        """Return the number of what HTTPS shows if it is recorded and not revoked."""
        number = shown(served)
        listed = run("ca certificates --kind server -o json").json
        is_good = any(one["serial"].lstrip("0") == number and "revoked_at" not in one for one in listed)
        return number if is_good else ""

    # The one that was looked for: it may be followed by another any time, as its authority was retired above.
    number = wait_until(good, what="HTTPS's own to be recorded")
    asked = run(f"ca revoke {number}")
    assert (asked.code, "devices read no revocation list" in asked.err) == (4, True)
    assert "devices read no revocation list" not in run(f"ca revoke {'0' * 40}").err

    assert run(f"ca revoke {number} --yes").code == 0

    wait_until(lambda: good() not in {"", number}, what="HTTPS to show another")


def shown(served: Served) -> str:
    """Return the number of the certificate that HTTPS shows."""
    root = str(served.config.pki_folder / "root.pem")
    pem = ssl.get_server_certificate(("127.0.0.1", served.port), ca_certs=root)
    return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}"


@pytest.mark.usefixtures("served")
def test_a_controller_that_is_not_trusted_is_not_spoken_to(run: Run, tmp_path: Path) -> None:
    stranger = run("--ca", str(tmp_path / "missing.pem"), "device", "list")
    assert (stranger.code, "--ca" in stranger.err) == (2, True)
    other = tmp_path / "other"
    config = tmp_path / "other.toml"
    config.write_text(f'data_dir = "{other}"\n', encoding="utf-8")
    assert run("ca", "init", "--config", str(config)).code == 0
    refused = run("--ca", str(other / "pki" / "root.pem"), "device", "list")
    assert (refused.code, "Cannot trust the controller" in refused.err) == (3, True)
    assert "ca export" in refused.err


def test_files_are_made_for_the_user_of_the_controller_and_written_down(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    pki = tmp_path / "data" / "pki"

    made = run("ca", "init", "--config", str(config))
    assert (made.code, re.fullmatch(r"[0-9a-f]{64}\n", made.out) is not None) == (0, True)
    again = run("ca", "init", "--config", str(config))
    assert (again.code, again.out) == (5, made.out)
    assert run("ca", "issue-server", "--name", "broker.example", "--config", str(config)).code == 0
    assert run("ca", "issue-controller", "--config", str(config)).code == 0
    wrong = run("ca", "issue-controller", "--name", "press-07", "--config", str(config))
    assert (wrong.code, "may be a device's name" in wrong.err) == (1, True)

    assert "DNS:broker.example" in openssl("x509", "-in", pki / "broker.pem", "-noout", "-ext", "subjectAltName")
    assert "wainwright-controller" in openssl("x509", "-in", pki / "controller.pem", "-noout", "-subject")
    from sqlalchemy import select

    from wainwright_controller.rows import AUDIT, CERTIFICATE
    from wainwright_controller.store import Store

    store = Store(f"sqlite:///{tmp_path / 'data' / 'wainwright.db'}")
    with store.read() as connection:
        kinds = connection.execute(select(CERTIFICATE.c.kind).order_by(CERTIFICATE.c.issued_at)).scalars().all()
        actions = connection.execute(select(AUDIT.c.action).order_by(AUDIT.c.number)).scalars().all()
    store.close()
    assert kinds == ["server", "controller"]
    assert actions == ["ca-issue-server", "ca-issue-controller"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_user_than_the_controllers_is_told_to_become_it(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    config = tmp_path / "c.toml"
    config.write_text(f'data_dir = "{data}"\n', encoding="utf-8")

    refused = run("ca", "init", "--config", str(config))

    assert (refused.code, "sudo -u nobody" in refused.err) == (2, True)
    assert list(data.iterdir()) == []
