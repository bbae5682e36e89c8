"""The controller's service under a real systemd, in a booted Debian: it works in its sandbox, and cannot leave it."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.controller.api.served import artifact
from tests.support.authority import Credentials
from tests.support.container import BOOT_S, Container
from tests.support.debian import authority_steps, guides_configuration, install_controller, require_machine, unpack
from tests.support.device import Device
from tests.support.est import EstDevice
from tests.support.wait import free_port, wait_until
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.config import Http
from wainwright_controller.first_admin import FILE
from wainwright_controller.http_server import FILES_EACH, FILES_ELSE

pytestmark = pytest.mark.long

UNIT = "wainwright-controller"
DATA = "/var/lib/wainwright-controller"
PKI = "/var/lib/wainwright-pki"
CONFIG = """
[http]
port = {http}
require_token = true
[broker]
port = {broker}
"""
# What each of these says must be an error: it is run by Python, in the place of the service, as its user.
FORBIDDEN = {
    "write to /etc": "open('/etc/forged', 'w')",
    "write to /usr": "open('/usr/bin/forged', 'w')",
    "write to its own program": "open('/opt/wainwright/bin/wainwright', 'a')",
    "write to /var/lib": "open('/var/lib/forged', 'w')",
    "read the passwords": "open('/etc/shadow').read()",
    "read the agent's settings": "open('/etc/wainwright/agent.toml').read()",
    "see homes": "os.listdir('/root')",
    "see another process": "os.stat('/proc/1')",
    "see the kernel's settings": "open('/proc/sys/kernel/hostname').read()",
    "end another process": "os.kill(1, 15)",
    "become root": "os.setuid(0)",
    "have memory of both kinds": "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "hear the network": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "talk to the kernel": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "make a namespace": "libc(libc_.unshare(0x10000000))",
    "mount": "libc(libc_.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "trace": "libc(libc_.ptrace(16, os.getppid(), 0, 0))",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, 1)",
    "reboot": "libc(libc_.reboot(0x1234567))",
    "load a module": "libc(libc_.syscall(313, 0, b'', 0))",
    "give a file the rights of its owner": "(open('x', 'w'), os.chmod('x', 0o4755))",
    "read the disk": "open('/dev/sda', 'rb')",
    "read memory": "open('/dev/mem', 'rb')",
    "take another priority": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
}
TRY = """
import ctypes, json, mmap, os, socket, sys, time
os.chdir({folder!r})
libc_ = ctypes.CDLL(None, use_errno=True)
def libc(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
said = {{}}
for name, attempt in {attempts!r}.items():
    try:
        eval(attempt)
        said[name] = "possible"
    except OSError as error:
        said[name] = error.strerror
json.dump(said, open("tried.json", "w"))
"""


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """The ports of the host that the container, which shares them, may have."""
    return {name: free_port() for name in ("http", "broker", "mosquitto", "mqtts")}


@pytest.fixture(scope="module")
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]
) -> Iterator[Container]:
    """A booted Debian with a controller that was installed by the guide."""
    require_machine()
    assert request.config.cache is not None
    folder = tmp_path_factory.mktemp("controller")
    root = unpack(folder, request.config.cache.mkdir("nspawn"), "mosquitto", "sudo")
    install_controller(root)
    (root / "etc/systemd/system/multi-user.target.wants/mosquitto.service").unlink()  # its port may be taken here
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/wainwright").mkdir()
    (root / "etc/wainwright/controller.toml").write_text(CONFIG.format(**ports))
    (root / "etc/wainwright/agent.toml").touch(mode=0o600)
    try:
        with Container(root, "wain-controller") as container:
            wait_until(lambda: is_ready(ports["http"]), BOOT_S, "the controller to be ready")
            yield container
    finally:
        shutil.rmtree(folder)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Api:
    """The controller's API, for its first admin."""

    def __init__(self, machine: Container, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = machine.do("cat", f"{DATA}/{FILE}").strip()

    def call(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        """Send a request that must be answered well."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.request(method, f"{self.url}/api/v1/{path}", headers=headers, timeout=60, **options)
        assert answer.ok, answer.text
        return answer


def show(machine: Container, *names: str) -> dict[str, str]:
    """Return properties of the service."""
    shown = machine.do("systemctl", "show", UNIT, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_it_updates_a_device_in_its_sandbox(machine: Container, ports: dict[str, int]) -> None:
    """With its first admin's token, its own broker, its store, an upload and a download."""
    api = Api(machine, ports["http"])
    assert api.token not in machine.do("journalctl", f"--unit={UNIT}", "--no-pager")

    blob = artifact("sandboxed-1")
    api.call("POST", "artifacts", data=blob)
    api.call("POST", "devices/preauthorize", json={"ids": ["d1"]})
    deployment = api.call("POST", "deployments", json={"release": "sandboxed-1", "devices": ["d1"]}).json()["id"]
    with Device(ports["broker"], "d1") as device:
        offer = device.check_in().offer
        assert offer
        assert requests.get(offer.artifact.uri, timeout=60).content == blob
        device.report(deployment, 1, DeviceStatus.INSTALLING)
        device.report(deployment, 2, DeviceStatus.SUCCESS)
    assert api.call("GET", f"deployments/{deployment}").json()["outcome"] == "success"


def test_it_can_do_nothing_else_to_the_machine(machine: Container, ports: dict[str, int]) -> None:
    """Before it is started again, its own sandbox tries what it should not be able to do."""
    script = TRY.format(folder=DATA, attempts=FORBIDDEN)
    machine.do("sh", "-euc", 'mkdir -p /run/try; cat >/run/try/try.py <<"END"\n' + script + "\nEND\n")
    folder = f"/run/systemd/system/{UNIT}.service.d"
    line = "[Service]\nExecStartPre=/opt/wainwright/bin/python /run/try/try.py\n"
    machine.do("sh", "-euc", f'mkdir -p {folder}; printf "$1" >{folder}/try.conf', "sh", line)
    machine.do("systemctl", "daemon-reload")
    machine.do("systemctl", "restart", UNIT)
    wait_until(lambda: is_ready(ports["http"]), BOOT_S, "the controller to be ready")
    machine.do("rm", "-r", folder)
    machine.do("systemctl", "daemon-reload")

    said = json.loads(machine.do("cat", f"{DATA}/tried.json"))

    assert said.keys() == FORBIDDEN.keys()
    assert {name: error for name, error in said.items() if error == "possible"} == {}
    assert not set(said.values()) & {"Bad address", "Invalid argument", "Function not implemented"}, said


def test_what_the_kernel_says_of_it(machine: Container) -> None:
    process = show(machine, "MainPID")["MainPID"]
    status = dict(
        line.split(":\t", 1) for line in machine.do("cat", f"/proc/{process}/status").splitlines() if ":\t" in line
    )
    assert {
        name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    } == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split()
    assert re.search(r"^\S+ / \S+ ro[, ]", machine.do("cat", f"/proc/{process}/mounts"), re.MULTILINE)
    limits = machine.do("cat", f"/proc/{process}/limits")
    files = re.search(r"^Max open files +(\d+) ", limits, re.MULTILINE)
    assert files
    # What the unit asks for, as far as this machine lets containers have it.
    assert int(files[1]) >= Http().connections_max * FILES_EACH + FILES_ELSE
    assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)


def test_what_it_stores_is_for_its_user_alone(machine: Container) -> None:
    found = machine.do("find", DATA, "-printf", "%m %U %p\\n").splitlines()
    user = machine.do("id", "-u", "wainwright-controller").strip()
    assert len(found) > 8
    assert [line for line in found if not re.fullmatch(rf"[67]00 {user} .*", line)] == []


def test_it_comes_back_after_a_kill_and_ends_in_good_order(machine: Container, ports: dict[str, int]) -> None:
    before = show(machine, "MainPID")["MainPID"]
    machine.do("systemctl", "kill", "--signal=KILL", UNIT)
    wait_until(lambda: show(machine, "MainPID")["MainPID"] not in {"0", before}, BOOT_S, "another process")
    wait_until(lambda: is_ready(ports["http"]), BOOT_S, "the controller to be ready")

    machine.do("systemctl", "stop", UNIT)

    assert show(machine, "ActiveState", "Result") == {"Result": "success", "ActiveState": "inactive"}
    assert machine.run("pgrep", "nats-server").returncode != 0
    log = machine.do("journalctl", f"--unit={UNIT}", "--no-pager", "--lines=20")
    assert "Traceback" not in log
    assert "Main process exited" not in log.rpartition("Stopping")[2]


def test_with_mosquitto_and_an_authority_by_the_guide_it_lets_in_and_takes_back(
    machine: Container, ports: dict[str, int], tmp_path: Path
) -> None:
    """The guide's own configuration and commands, but for the ports: the service writes the authority's folder."""
    set_up_by_the_guide(machine, ports)
    api = Api(machine, ports["http"])
    (tmp_path / "root.pem").write_text(api.call("GET", "ca").json()["pem"])

    def enrolled(name: str) -> Device:
        device = EstDevice(api.url, tmp_path / "root.pem", tmp_path, name)
        api.call("POST", "devices/preauthorize", json={"keys": {name: device.digest}})
        assert device.enrol().status_code == 200
        credentials = Credentials(device.ca, device.certificate_file, device.key_file)
        return Device(ports["mqtts"], name, credentials=credentials)

    with enrolled("d2") as device:
        assert device.check_in().why
        api.call("POST", "devices/d2/revoke", json={})
        wait_until(lambda: is_over(api, "d2"), BOOT_S, "the session to have been ended")
        before = device.connections
        wait_until(lambda: "certificate verify failed" in broker_log(machine), BOOT_S, "it to be refused")
        assert (device.is_connected, device.connections) == (False, before)
    api.call("POST", "ca/rotate", json={})
    with enrolled("d3") as device:
        assert device.check_in().why

    found = dict(
        line.split() for line in machine.do("find", PKI, "-type", "f", "-printf", "%P %m:%u:%g\\n").splitlines()
    )
    keys = {name: mode for name, mode in found.items() if name.endswith(".key")}
    assert keys.pop("broker.key") == "640:wainwright-controller:mosquitto"
    assert len(keys) == 3  # the root's, and those of two issuing authorities
    assert {mode.rpartition(":")[0] for mode in keys.values()} == {"600:wainwright-controller"}
    assert found["crl.pem"].startswith("644:wainwright-controller:")


def is_over(api: Api, name: str) -> bool:
    return all(
        "session_ended_at" in one for one in api.call("GET", "certificates", params={"name": name}).json()["items"]
    )


def broker_log(machine: Container) -> str:
    return machine.do("journalctl", "--unit=mosquitto", "--no-pager")


def set_up_by_the_guide(machine: Container, ports: dict[str, int]) -> None:
    local = f"http://127.0.0.1:{ports['http']}"
    text = guides_configuration().replace('"https://updates.example"', f'"{local}"\nport = {ports["http"]}')
    text = text.replace(":1883", f":{ports['mosquitto']}").replace("e8f4…", "f" * 64)
    file = "/etc/wainwright/controller.toml"
    script = f"cat >{file} <<'END'\n{text}\nEND\nchown root:wainwright-controller {file}; chmod 640 {file}"
    machine.do("sh", "-euc", script)
    steps = authority_steps().replace("broker.example", "127.0.0.1")
    steps = steps.replace("--to", f"--host 127.0.0.1 --port {ports['mqtts']} --to")
    machine.do("sh", "-euc", steps)
    machine.do("systemctl", "restart", UNIT)
    wait_until(lambda: is_ready(ports["http"]), BOOT_S, "the controller to be ready")
