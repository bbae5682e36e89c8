"""What a device keeps of what it is given: the child that enrols, and servers that it trusts but must not believe."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from tests.support.impostor import DAY, Impostor, authority, signs
from wainwright_agent.credentials import Credentials
from wainwright_agent.enrol import carry_out
from wainwright_agent.enrolment import Job, Said
from wainwright_controller.pki import Authority

Ask = Callable[..., Said]


@pytest.fixture
def real(tmp_path: Path) -> Authority:
    """The authority of the fleet."""
    return authority(tmp_path / "real")


@pytest.fixture
def files(tmp_path: Path) -> Credentials:
    """The device's files."""
    return Credentials(tmp_path / "device")


@pytest.fixture
def ask(files: Credentials) -> Ask:
    """`ask(server, ca=…)` has the device ask for a certificate; returns what comes of it."""

    def asked(server: Impostor, **trust: str) -> Said:
        job = Job(url=server.url, device_id="press-07", data_dir=str(files.folder.parent))
        job = msgspec.structs.replace(job, **trust)
        return carry_out(job)

    return asked


def all_of(*authorities: Authority) -> list[x509.Certificate]:
    return [certificate for one in authorities for certificate in (one.root, one.issuer.certificate)]


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

    assert f"the controller's {datetime.now(UTC) - 400 * DAY:%Y-%m-%d}" in said.text
    assert [method for method, _ in server.heard] == ["HEAD"]
    assert [headers for _, headers in server.heard if "Authorization" in headers] == []
