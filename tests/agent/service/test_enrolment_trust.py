"""What a device keeps of what it is given: the child that enrols, and servers that it trusts but must not believe."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from tests.support.impostor import DAY, Impostor, authority, signs
from wainwright_agent.credentials import Credentials, Record
from wainwright_agent.enrol import carry_out
from wainwright_agent.enrolment import PROGRAM, Job, Said
from wainwright_controller.pki import Authority
from wainwright_controller.pki.authority import Issuer, pem, read_certificate, read_key
from wainwright_controller.pki.profiles import fingerprint

FAKETIME = "/usr/$LIB/faketime/libfaketime.so.1"

Ask = Callable[..., Said]


@pytest.fixture
def real(tmp_path: Path) -> Authority:
    """The authority of the fleet."""
    return authority(tmp_path / "real")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    """An authority that the fleet knows nothing of."""
    return authority(tmp_path / "other", "Other")


@pytest.fixture
def files(tmp_path: Path) -> Credentials:
    """The device's files."""
    return Credentials(tmp_path / "device")


@pytest.fixture
def ask(files: Credentials) -> Ask:
    """`ask(server, ca=…)` has the device ask for a certificate; returns what comes of it."""

    def asked(server: Impostor, ahead: str = "", **trust: str) -> Said:
        job = Job(url=server.url, device_id="press-07", data_dir=str(files.folder.parent))
        job = msgspec.structs.replace(job, **trust)
        return in_a_child(job, {"LD_PRELOAD": FAKETIME, "FAKETIME": ahead}) if ahead else carry_out(job)

    return asked


def in_a_child(job: Job, env: dict[str, str]) -> Said:
    """Have the job carried out by a process with a clock of its own."""
    line = subprocess.run(
        PROGRAM,
        input=msgspec.json.encode(job),
        stdout=subprocess.PIPE,
        env=os.environ | env,
        timeout=60,
        check=True,
    ).stdout
    return msgspec.json.decode(line, type=Said)


def days() -> tuple[datetime, datetime]:
    """Return now, and when the test ran: it may have been the day before."""
    now = datetime.now(UTC)
    return now, now - timedelta(minutes=5)


def all_of(*authorities: Authority) -> list[x509.Certificate]:
    return [certificate for one in authorities for certificate in (one.root, one.issuer.certificate)]


def roots(file: Path, *authorities: Authority) -> str:
    """Write a file with the roots of authorities; returns its path."""
    file.write_bytes(b"".join(pem(one.root) for one in authorities))
    return str(file)


# ---- the root -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known_by", ["ca", "ca_fingerprint"])
def test_who_has_a_servers_certificate_cannot_bring_a_root_of_his_own(
    real: Authority, other: Authority, files: Credentials, ask: Ask, known_by: str
) -> None:
    """A stolen key of the broker, on the controller's host, or a stolen issuing key."""
    told = {"ca": str(real.folder.root), "ca_fingerprint": fingerprint(real.root)}[known_by]

    with Impostor(real, all_of(real, other), signs(other)) as impostor:
        said = ask(impostor, **{known_by: told})

    assert said.holding is None
    assert fingerprint(other.root) in said.text
    assert f"enrolment.{known_by}" in said.text
    assert "not kept" in said.text
    assert not files.device.exists()
    assert not files.ca.exists() or files.ca.read_bytes() == pem(real.root)


def test_what_a_servers_certificate_has_signed_is_not_kept(real: Authority, files: Credentials, ask: Ask) -> None:
    with Impostor(real, all_of(real), signs(real)) as impostor:
        folder = real.folder
        thief = Issuer(read_certificate(folder, folder.server), read_key(folder, folder.server_key))
        impostor.authorities = [*all_of(real), thief.certificate]
        impostor.sign = signs(Authority(folder, real.root, thief, [thief]))

        said = ask(impostor, ca=str(folder.root))

    assert (said.holding, "did not sign" in said.text) == (None, True)
    assert not files.device.exists()


def test_a_device_that_has_a_root_is_given_no_other(
    real: Authority, other: Authority, files: Credentials, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system's authorities vouch for the controller, the first root is the one; the next is a person's."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(real.folder.root))
    with Impostor(real, all_of(real), signs(real)) as server:
        assert ask(server).holding is not None
        before = files.device.read_bytes()
        server.authorities, server.sign = all_of(real, other), signs(other)

        said = ask(server)
        assert said.holding is None
        assert f"remove {files.ca}" in said.text
        assert (files.device.read_bytes(), files.ca.read_bytes()) == (before, pem(real.root))

        files.ca.unlink()
        assert ask(server).holding is not None
        assert files.ca.read_bytes() == pem(other.root)


def test_a_file_with_the_old_root_and_the_new_one_changes_the_root(
    real: Authority, other: Authority, files: Credentials, ask: Ask, tmp_path: Path
) -> None:
    both = roots(tmp_path / "both.pem", real, other)
    with Impostor(real, all_of(real), signs(real)) as before:
        assert ask(before, ca=both).holding is not None
    assert files.ca.read_bytes() == pem(real.root)

    with Impostor(other, all_of(other), signs(other)) as after:
        assert ask(after, ca=both).holding is not None
    assert files.ca.read_bytes() == pem(other.root)


def test_https_by_another_authority_needs_the_root_in_the_file_until_the_device_knows_it(
    real: Authority, other: Authority, files: Credentials, ask: Ask, tmp_path: Path
) -> None:
    https_alone = roots(tmp_path / "https.pem", other)
    with Impostor(other, all_of(real), signs(real)) as server:
        said = ask(server, ca=https_alone)
        assert (said.holding, fingerprint(real.root) in said.text) == (None, True)

        assert ask(server, ca=roots(tmp_path / "both.pem", other, real)).holding is not None
        assert files.ca.read_bytes() == pem(real.root)
        assert ask(server, ca=https_alone).holding is not None


# ---- the certificate's times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins_in", "lifetime"), [(-10 * DAY, 5 * DAY), (730 * DAY, 90 * DAY)], ids=["expired", "not yet valid"]
)
def test_a_certificate_that_does_not_hold_now_takes_the_place_of_none_that_does(
    real: Authority, files: Credentials, ask: Ask, begins_in: timedelta, lifetime: timedelta
) -> None:
    root = str(real.folder.root)
    with Impostor(real, all_of(real), signs(real)) as server:
        holding = ask(server, ca=root).holding
        before = files.device.read_bytes()
        server.sign = signs(real, begins_in, lifetime)

        said = ask(server, ca=root)

    assert said.holding is None
    assert any(f"its clock shows {day:%Y-%m-%d}" in said.text for day in days())
    assert "not kept" in said.text
    assert files.device.read_bytes() == before
    assert files.record().holding == holding


def test_whether_a_certificate_holds_is_judged_by_the_controllers_clock(
    real: Authority, files: Credentials, ask: Ask
) -> None:
    """A device whose clock is wrong, but not so wrong that it trusts nobody, gets its certificate all the same."""
    root = str(real.folder.root)
    with Impostor(real, all_of(real), signs(real, lifetime=10 * DAY)) as server:
        assert ask(server, ahead="+20d", ca=root).holding is not None
        before = files.device.read_bytes()
        server.clock = 20 * DAY

        said = ask(server, ca=root)

    assert said.holding is None
    assert any(f"its clock shows {day + 20 * DAY:%Y-%m-%d}" in said.text for day in days())
    assert files.device.read_bytes() == before


def test_the_same_certificate_again_is_no_renewal(real: Authority, files: Credentials, ask: Ask) -> None:
    """Taken for one, it would be asked for every 30 s until it had ended."""
    root = str(real.folder.root)
    with Impostor(real, all_of(real), signs(real)) as server:
        holding = ask(server, ca=root).holding
        held = x509.load_pem_x509_certificate(files.device.read_bytes())
        server.sign = lambda _: held
        assert holding is not None
        assert ask(server, ca=root).holding is not None  # nothing newer is needed

        due = msgspec.structs.replace(holding, renew_at=datetime.now(UTC) - timedelta(minutes=1))
        files.write_record(Record(holding=due))
        said = ask(server, ca=root)
        assert said.holding is None
        assert "has already" in said.text
        assert files.record().holding == due


def test_the_same_certificate_again_is_welcome_where_the_device_has_lost_it(
    real: Authority, files: Credentials, ask: Ask
) -> None:
    """By a power cut before the record was written, a damaged file, or an older one from a backup."""
    root = str(real.folder.root)
    with Impostor(real, all_of(real), signs(real)) as server:
        assert ask(server, ca=root).holding is not None
        older = files.device.read_bytes()
        holding = ask(server, ca=root).holding
        held = x509.load_pem_x509_certificate(files.device.read_bytes())
        server.sign = lambda _: held
        assert holding is not None
        due = msgspec.structs.replace(holding, renew_at=datetime.now(UTC) - timedelta(minutes=1))

        files.write_record(Record(holding=msgspec.structs.replace(due, serial="0" * 40)))
        assert ask(server, ca=root).holding is not None
        for content in (b"\0" * 100, older):
            files.write_record(Record(holding=due))
            files.device.write_bytes(content)
            assert ask(server, ca=root).holding is not None
            assert x509.load_pem_x509_certificate(files.device.read_bytes()) == held


# ---- passwords for others -------------------------------------------------------------------------------------------


def test_a_server_with_an_expired_certificate_hears_no_password_when_it_is_asked_for_its_clock(
    real: Authority, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login root password hunter2\n", encoding="ascii")
    with Impostor(real, all_of(real), signs(real), began=-60 * DAY) as server:
        server.clock = -400 * DAY
        monkeypatch.setenv("NETRC", str(netrc))

        said = ask(server, ca=str(real.folder.root))

    assert any(f"the controller's {day - 400 * DAY:%Y-%m-%d}" in said.text for day in days())
    assert [method for method, _ in server.heard] == ["HEAD"]
    assert [headers for _, headers in server.heard if "Authorization" in headers] == []
