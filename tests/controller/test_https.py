"""The controller's own HTTPS: which certificate it shows, and that it takes another without a restart."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from asyncio import constants
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509

from tests.controller.api.served import Served
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, free_port, wait_until
from wainwright_common.settings import ConfigError
from wainwright_controller import config as configuration
from wainwright_controller import http_server
from wainwright_controller.config import Config, Enrolment, Http
from wainwright_controller.https import LIFETIME, ServerTls, TlsError, names_of, subject_names
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.pki.keeper import Keeper

DAY_S = 86_400.0
LIST_S = 30 * DAY_S


@pytest.fixture
def served(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Served]:
    with Served(tmp_path / "controller", mosquitto, enrolment=Enrolment(enabled=True)) as running:
        yield running


def shown(port: int, root: Path) -> x509.Certificate:
    """Return the certificate that a server shows to who believes the root."""
    context = ssl.create_default_context(cafile=str(root))
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_the_certificate_is_renewed_at_two_thirds_and_shown_without_a_restart(served: Served) -> None:
    root, keeper = served.config.pki_folder / "root.pem", served.controller.keeper
    assert keeper is not None
    files, names = (keeper.folder.server, keeper.folder.server_key), names_of(served.config)
    assert served.controller.warden is not None

    # Renewed by the warden, and by nobody beside it: two at a time would take turns with the files.
    for days, is_due in ((19, False), (21, True)):
        then = datetime.now(UTC) - timedelta(days=days)
        old = keeper.authority().issue_server(names, *files, then, LIFETIME)
        served.controller.warden.hurry()
        if is_due:
            wait_until(
                lambda: shown(served.port, root).not_valid_before_utc > old.not_valid_before_utc,  # noqa: B023  waited for here
                what="another to be shown",
            )
        else:
            wait_until(lambda: shown(served.port, root) == old, what="this one to be shown")  # noqa: B023  as above


@pytest.mark.parametrize("until", ["keep-alive", "close"])
def test_who_keeps_a_connection_open_and_asks_nothing_does_not_hold_up_the_end(
    served: Served, monkeypatch: pytest.MonkeyPatch, until: str
) -> None:
    """Nor who was told that it is closed, and does not close it."""
    monkeypatch.setattr(http_server, "GRACE_S", 300)  # only what is under way is given that time
    monkeypatch.setattr(constants, "SSL_SHUTDOWN_TIMEOUT", 300)  # so long asyncio waits for the other end to close TLS
    served.stop()
    served.start()
    context = ssl.create_default_context(cafile=str(served.config.pki_folder / "root.pem"))
    with (
        socket.create_connection(("127.0.0.1", served.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: {until}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")

        began = time.monotonic()
        served.stop()
        took_s = time.monotonic() - began
    served.start()

    assert took_s < PATIENCE_S, "it waits for the other end, which says nothing"


def test_a_rotation_reaches_https_as_well(served: Served) -> None:
    root = served.config.pki_folder / "root.pem"
    first = shown(served.port, root)

    served.post("ca/rotate")

    wait_until(lambda: shown(served.port, root).issuer != first.issuer, what="a certificate of the new authority")


def test_a_certificate_for_other_names_is_made_anew(tmp_path: Path) -> None:
    keeper = Keeper(Folder(tmp_path / "pki"), "Test", time.time(), LIST_S)
    plain = Config(data_dir=tmp_path, http=Http(tls=True))
    ServerTls(plain, keeper, time.time())
    first = keeper.folder.server.read_bytes()
    ServerTls(plain, keeper, time.time())
    assert keeper.folder.server.read_bytes() == first

    public = Config(data_dir=tmp_path, http=Http(tls=True, host="0.0.0.0", public_url="https://updates.example:8443"))  # noqa: S104  that address is what is tried
    ServerTls(public, keeper, time.time())

    names = x509.load_pem_x509_certificate(keeper.folder.server.read_bytes()).extensions
    found = {str(one.value) for one in names.get_extension_for_class(x509.SubjectAlternativeName).value}
    assert found == set(names_of(public)) == {"updates.example", "localhost", "127.0.0.1"}


def test_a_certificate_that_a_clock_ahead_has_made_is_made_anew_when_it_is_set_back(tmp_path: Path) -> None:
    now = time.time()
    keeper = Keeper(Folder(tmp_path / "pki"), "Test", now, LIST_S)
    tls = ServerTls(Config(data_dir=tmp_path, http=Http(tls=True)), keeper, now + 300 * DAY_S)

    tls.renew(now)

    made = x509.load_pem_x509_certificate(keeper.folder.server.read_bytes())
    assert made.not_valid_before_utc <= datetime.now(UTC)


def test_controllers_that_share_an_authority_do_not_take_turns_with_its_certificate(tmp_path: Path) -> None:
    """Each would write it anew for its own names, every second, and record it."""
    keeper = Keeper(Folder(tmp_path / "pki"), "Test", time.time(), LIST_S)
    hosts = ("192.0.2.1", "192.0.2.2")
    both = [ServerTls(Config(data_dir=tmp_path, http=Http(tls=True, host=h)), keeper, time.time()) for h in hosts]
    made = keeper.folder.server.read_bytes()

    for one in both:
        one.renew(time.time())

    assert keeper.folder.server.read_bytes() == made
    assert subject_names(x509.load_pem_x509_certificate(made)) == {*hosts, "localhost", "127.0.0.1"}


def test_files_of_the_administrator_are_shown_and_taken_anew_when_they_change(tmp_path: Path) -> None:
    theirs = Authority.create(Folder(tmp_path / "theirs"), "Theirs", datetime.now(UTC), timedelta(days=1))
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    theirs.issue_server(["localhost"], certificate, key, datetime.now(UTC))
    config = Config(data_dir=tmp_path, http=Http(tls=True, certificate=str(certificate), key=str(key)))
    tls = ServerTls(config, None, time.time())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        first = _handshake(tls, listener, theirs.folder.root)
        theirs.issue_server(["localhost"], certificate, key, datetime.now(UTC))
        tls.renew(time.time())
        second = _handshake(tls, listener, theirs.folder.root)
        assert second != first

        theirs.issue_server(["localhost"], certificate, tmp_path / "next.key", datetime.now(UTC))  # not its key yet
        with pytest.raises(TlsError, match=r"own\.pem"):
            tls.renew(time.time())
        assert _handshake(tls, listener, theirs.folder.root) == second
        (tmp_path / "next.key").replace(key)
        tls.renew(time.time())
        assert _handshake(tls, listener, theirs.folder.root) != second


def _handshake(tls: ServerTls, listener: socket.socket, root: Path) -> int:
    def serve() -> None:
        peer, _ = listener.accept()
        with tls.context.wrap_socket(peer, server_side=True):
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    number = shown(listener.getsockname()[1], root).serial_number
    thread.join(PATIENCE_S)
    return number


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no PEM", encoding="ascii")
    for certificate in (bad, tmp_path / "missing.pem"):
        config = Config(data_dir=tmp_path, http=Http(tls=True, certificate=str(certificate), key=str(certificate)))
        with pytest.raises(TlsError, match=certificate.name):
            ServerTls(config, None, time.time())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[http]\ntls = true\ncertificate = '/c'", "one of them is missing"),
        ("[http]\ncertificate = '/c'\nkey = '/k'", "set http.tls = true"),
        ("[http]\nhost = '0.0.0.0'", "or http.tls = true"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        configuration.load(file, {})
    file.write_text("[http]\nhost = '0.0.0.0'\ntls = true\npublic_url = 'https://u.example'", encoding="utf-8")
    assert configuration.load(file, {}).needs_token  # HTTPS is no reason to trust everybody


def test_the_command_serves_https_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    port, broker = free_port(), free_port()
    config = tmp_path / "c.toml"
    text = f'data_dir = "{tmp_path / "data"}"\n[http]\nport = {port}\ntls = true\n[broker]\nport = {broker}\n'
    config.write_text(f"{text}[enrolment]\nenabled = true\n", encoding="utf-8")
    root = tmp_path / "data" / "pki" / "root.pem"
    program = [sys.executable, "-m", "wainwright_controller", "serve", "--config", str(config)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(program, stderr=log) as process:
        try:
            wait_until(lambda: f"serving https://127.0.0.1:{port}" in _read(tmp_path / "log"), what="the controller")
            url = f"https://127.0.0.1:{port}"
            assert requests.get(f"{url}/healthz", verify=str(root), timeout=PATIENCE_S).ok
            assert requests.get(f"{url}/.well-known/est/cacerts", verify=str(root), timeout=PATIENCE_S).ok
            with pytest.raises(requests.exceptions.SSLError):
                requests.get(f"{url}/healthz", timeout=PATIENCE_S)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE_S)
    assert code in {0, -signal.SIGTERM}  # uvicorn ends by the signal that it was ended with


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")
