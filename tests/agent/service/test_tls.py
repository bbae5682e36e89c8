"""The link over TLS: with a certificate that the broker wants, and without."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.service.peers import Agent, new_device_id
from tests.support.authority import Authority
from tests.support.mosquitto import Mosquitto
from tests.support.wait import free_port, is_listening, wait_until

CONFIG = """
listener {port} 127.0.0.1
cafile {folder}/ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
acl_file {folder}/acl
user root
"""
ACL = """
pattern write wain/v1/%u/up/#
pattern read wain/v1/%u/down/#
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the broker and its devices."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls_port(authority: Authority) -> Iterator[int]:
    """The port of a broker that wants certificates and confines each device to its topics."""
    folder, port = authority.folder, free_port()
    authority.issue("broker", is_server=True)
    (folder / "acl").write_text(ACL, encoding="utf-8")
    (folder / "mosquitto.conf").write_text(CONFIG.format(port=port, folder=folder), encoding="utf-8")
    program = Mosquitto(folder).program
    with subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL) as broker:
        wait_until(lambda: is_listening(port), what="mosquitto to listen")
        yield port
        broker.terminate()


def test_an_agent_with_a_certificate_connects_and_says_goodbye(
    tmp_path: Path, authority: Authority, tls_port: int
) -> None:
    device_id = new_device_id()
    made = authority.issue(device_id)
    files = {"broker__certificate": str(made.certificate), "broker__key": str(made.key)}
    url = f"mqtts://127.0.0.1:{tls_port}"
    with Agent(tmp_path, url, device_id, broker__ca=str(authority.file), **files) as agent:
        agent.start()
        wait_until(lambda: f"connected to {url} as {device_id}" in agent.logged(), what="the connection")

        assert agent.status()["link"]["connected"] is True
        assert agent.wain("config", "check").returncode == 0
        assert agent.stop() == 0


def test_a_broker_whose_certificate_nobody_vouches_for_is_not_spoken_to(
    tmp_path: Path, authority: Authority, tls_port: int
) -> None:
    foreign = Authority(tmp_path / "foreign")
    device_id = new_device_id()
    made = authority.issue(device_id)
    files = {"broker__certificate": str(made.certificate), "broker__key": str(made.key)}
    url = f"mqtts://127.0.0.1:{tls_port}"
    with Agent(tmp_path, url, device_id, broker__ca=str(foreign.file), **files) as agent:
        agent.start()
        wait_until(lambda: "certificate verify failed" in agent.logged(), what="the refusal")
        assert " connected to " not in agent.logged()

        # The files are read anew for each attempt: putting the right one in place is enough.
        foreign.file.write_bytes(authority.file.read_bytes())
        wait_until(lambda: " connected to " in agent.logged(), what="the connection")


def test_certificate_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority, tls_port: int) -> None:
    url = f"mqtts://127.0.0.1:{tls_port}"
    certificate, key = tmp_path / "device.crt", tmp_path / "device.key"
    files = {"broker__certificate": str(certificate), "broker__key": str(key)}
    with Agent(tmp_path, url, new_device_id(), broker__ca=str(authority.file), **files) as agent:
        agent.start()
        wait_until(lambda: f"No such file or directory: '{certificate}'" in agent.logged(), what="the missing file")

        key.write_text("no key", encoding="utf-8")
        certificate.write_text("no certificate", encoding="utf-8")
        wait_until(lambda: f"{certificate} and {key} are not" in agent.logged(), what="the bad file")
