"""What the authority makes, in the eyes of openssl; and that a rotation reaches nobody's trust."""

from __future__ import annotations

import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.openssl import openssl, openssl_says
from wainwright_controller.pki import CONTROLLER, Authority, Folder, PkiError, revocation
from wainwright_controller.pki.authority import pem
from wainwright_controller.pki.profiles import new_key
from wainwright_controller.pki.revocation import Revoked

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
TRIES = 5  # of a measurement, that whatever else the machine does may spoil


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(Folder(tmp_path / "pki"), "Test", NOW, 30 * DAY)


def device(authority: Authority, name: str = "press-07") -> x509.Certificate:
    return authority.issue_client(new_key().public_key(), name, NOW, 90 * DAY)


def verdict(authority: Authority, path: Path, *options: str) -> tuple[int, str]:
    """Say what openssl thinks of a certificate, knowing only the root and the lists."""
    root = authority.folder.root
    chain = ["-untrusted", str(path)]
    return openssl_says("verify", "-CAfile", root, *chain, *options, path)


def stored(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_device_certificate_is_for_its_name_and_for_clients_only(authority: Authority, tmp_path: Path) -> None:
    file = stored(tmp_path / "device.pem", authority.chain(device(authority)))

    assert verdict(authority, file, "-purpose", "sslclient")[0] == 0
    assert "certificate purpose" in verdict(authority, file, "-purpose", "sslserver")[1]
    said = openssl("x509", "-in", file, "-noout", "-subject", "-dates", "-ext", "extendedKeyUsage,basicConstraints")
    assert "CN = press-07" in said
    assert "CA:FALSE" in said
    assert "TLS Web Client Authentication" in said


def test_a_server_certificate_is_for_its_names_and_for_servers_only(authority: Authority) -> None:
    folder = authority.folder
    authority.issue_server(["broker.example", "192.0.2.7"], folder.broker, folder.broker_key, NOW)

    assert verdict(authority, folder.broker, "-purpose", "sslserver", "-verify_hostname", "broker.example")[0] == 0
    assert verdict(authority, folder.broker, "-purpose", "sslserver", "-verify_ip", "192.0.2.7")[0] == 0
    assert "hostname mismatch" in verdict(authority, folder.broker, "-verify_hostname", "other.example")[1]
    assert "certificate purpose" in verdict(authority, folder.broker, "-purpose", "sslclient")[1]


def test_a_controller_has_a_name_that_no_device_may_have(authority: Authority) -> None:
    folder = authority.folder
    made = authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, NOW)

    assert verdict(authority, folder.controller, "-purpose", "sslclient")[0] == 0
    assert "CN=wainwright-controller" in made.subject.rfc4514_string()
    with pytest.raises(PkiError, match="may be a device's name"):
        authority.issue_controller("press-07", folder.controller, folder.controller_key, NOW)


def test_a_revoked_certificate_is_refused_and_its_neighbour_is_not(authority: Authority, tmp_path: Path) -> None:
    stolen, good = device(authority, "stolen"), device(authority, "good")
    lists = {authority.issuer.id: [Revoked(stolen.serial_number, NOW, "key-compromise")]}
    authority.write_crl(lists, 2, NOW, 30 * DAY)
    check = ("-crl_check", "-CRLfile", str(authority.folder.crl))

    code, said = verdict(authority, stored(tmp_path / "stolen.pem", authority.chain(stolen)), *check)
    assert (code != 0, "certificate revoked" in said) == (True, True)
    assert verdict(authority, stored(tmp_path / "good.pem", authority.chain(good)), *check)[0] == 0
    printed = openssl("crl", "-in", authority.folder.crl, "-noout", "-text")
    assert "Key Compromise" in printed
    assert "X509v3 CRL Number" in printed


@pytest.mark.parametrize("name", ["", "issuers"])
@pytest.mark.parametrize("mode", [0o2770, 0o757])
def test_a_folder_that_others_may_write_to_is_no_authoritys(authority: Authority, name: str, mode: int) -> None:
    """Whoever can put a key into it, such as a broker that may read its own, signs for every device."""
    folder = authority.folder.path / name
    folder.chmod(mode)
    with pytest.raises(PkiError, match="others may write"):
        Authority.create(authority.folder, "Test", NOW, 30 * DAY)
    folder.chmod(0o2750)
    assert Authority.create(authority.folder, "Test", NOW, 30 * DAY).issuer.id == authority.issuer.id


def test_a_list_of_ten_times_as_many_takes_ten_times_as_long(authority: Authority) -> None:
    """While a list is made, no other revocation begins to hold."""
    signer = authority.issuer

    def seconds(number: int) -> float:
        revoked = [Revoked(2**158 + i, NOW, "superseded") for i in range(number)]
        began = time.process_time()
        revocation.crl(signer.certificate, signer.key, revoked, 1, NOW, 30 * DAY)
        return time.process_time() - began

    seconds(100)
    assert any(seconds(40_000) < 20 * seconds(4000) for _ in range(TRIES))


def test_after_a_rotation_old_and_new_certificates_hold_for_who_knows_the_root_alone(
    authority: Authority, tmp_path: Path
) -> None:
    old = device(authority, "old")
    root = authority.folder.root.read_bytes()
    rotated = authority.rotate("Test", NOW)
    new = device(rotated, "new")
    lists = {authority.issuer.id: [Revoked(old.serial_number, NOW, "superseded")]}
    rotated.write_crl(lists, 3, NOW, 30 * DAY)
    check = ("-crl_check", "-CRLfile", str(rotated.folder.crl))

    assert rotated.issuer.id != authority.issuer.id
    assert authority.folder.root.read_bytes() == root
    old_file = stored(tmp_path / "old.pem", rotated.chain(old))
    assert verdict(rotated, old_file)[0] == 0
    assert "certificate revoked" in verdict(rotated, old_file, *check)[1]
    assert verdict(rotated, stored(tmp_path / "new.pem", rotated.chain(new)), *check)[0] == 0
    trusted = x509.load_pem_x509_certificates(rotated.folder.ca.read_bytes())
    assert trusted[0] == rotated.root
    assert {one.subject for one in trusted[1:]} == {one.certificate.subject for one in rotated.issuers}


def test_an_issuing_authority_that_is_taken_back_makes_its_certificates_unusable(
    authority: Authority, tmp_path: Path
) -> None:
    old = device(authority, "old")
    file = stored(tmp_path / "old.pem", authority.chain(old))
    rotated = authority.rotate("Test", NOW).retire(authority.issuer.id, NOW)
    rotated.write_crl({}, 3, NOW, 30 * DAY)

    said = verdict(rotated, file, "-crl_check", "-CRLfile", str(rotated.folder.crl))[1]

    assert "unable to get certificate CRL" in said
    with pytest.raises(PkiError, match="rotate first"):
        rotated.retire(rotated.issuer.id, NOW)


def test_without_the_key_of_the_root_all_goes_on_but_a_rotation(authority: Authority) -> None:
    authority.folder.root_key.unlink()
    loaded = Authority.load(authority.folder)

    assert not loaded.has_root_key
    assert device(loaded).issuer == authority.issuer.certificate.subject
    with pytest.raises(PkiError, match="bring it back"):
        loaded.rotate("Test", NOW)
    assert Authority.load(authority.folder).issuer.id == authority.issuer.id


def test_an_authority_that_is_there_is_not_made_again(authority: Authority) -> None:
    again = Authority.create(authority.folder, "Other", NOW, 30 * DAY)

    assert again.root == authority.root
    assert again.issuer.id == authority.issuer.id


def test_keys_are_for_their_owner_alone_and_what_is_public_for_all(authority: Authority) -> None:
    folder = authority.folder
    authority.issue_server(["localhost"], folder.broker, folder.broker_key, NOW)
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, NOW)

    def mode(path: Path) -> int:
        return stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116  follows the link, as a reader does

    assert {mode(path) for path in (folder.root_key, folder.issuing_key, folder.controller_key)} == {0o600}
    assert mode(folder.broker_key) == 0o640
    assert {mode(path) for path in (folder.ca, folder.crl, folder.root, folder.issuing, folder.broker)} == {0o644}
    assert mode(folder.path) == 0o750


def test_a_certificate_never_outlives_the_one_that_signed_it(authority: Authority) -> None:
    made = authority.issue_client(new_key().public_key(), "press-07", NOW, timedelta(days=100 * 365))

    assert made.not_valid_after_utc == authority.issuer.certificate.not_valid_after_utc
    assert authority.issuer.certificate.not_valid_after_utc <= authority.root.not_valid_after_utc


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: folder.root.unlink(), "ca init"),
        (lambda folder: folder.root.write_bytes(b"no certificate"), "has no certificate"),
        (lambda folder: folder.issuing_key.resolve().write_bytes(b"no key"), "has no private key"),
        (lambda folder: folder.issuing_key.resolve().write_bytes(folder.root_key.read_bytes()), "do not belong"),
        (lambda folder: folder.root.write_bytes(pem(_other_root(folder))), "was not signed by"),
    ],
)
def test_damaged_files_are_named(authority: Authority, damage: object, said: str) -> None:
    damage(authority.folder)  # type: ignore[operator]  # one of the lines above

    with pytest.raises(PkiError, match=said):
        Authority.load(authority.folder)


def _other_root(folder: Folder) -> x509.Certificate:
    return Authority.create(Folder(folder.path / "other"), "Other", NOW, DAY).root
