"""Two idle devices, each in a network namespace of its own, and the servers that they wait for, all over TLS.

here            broker (Mosquitto), controller, and what answers a Mender client as its server does
device-wain     wain run          over the link wain0, of which every byte is counted
device-mender   mender daemon     over the link mender0
"""

from __future__ import annotations

import getpass
import json
import shutil
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.costs import Command
from benchmarks.device import run_as_root, wain
from benchmarks.install_lab import DEVICE_TYPE
from tests.support.wait import is_listening, wait_until
from wainwright_controller.demo.stage import toml

BROKER_PORT, TLS_PORT, SERVER_PORT = 18830, 8883, 9443
NETWORKS = {"wain": "10.99.1", "mender": "10.99.2"}

MOSQUITTO = """
listener {plain} 127.0.0.1
allow_anonymous true
listener {tls} {address}
allow_anonymous true
certfile {folder}/certificate.pem
keyfile {folder}/key.pem
user {user}
max_queued_messages 0
set_tcp_nodelay true
log_dest file {folder}/mosquitto.log
"""
NEXT = "/api/devices/v2/deployments/device/deployments/next"


def make_networks() -> None:
    """Make the namespaces and their links; in a mount and network namespace of our own, with which they vanish."""
    run_as_root("mount", "-t", "tmpfs", "tmpfs", "/run")  # where `ip netns` keeps names
    run_as_root("ip", "link", "set", "lo", "up")
    for name, network in NETWORKS.items():
        inside = f"device-{name}"
        run_as_root("ip", "netns", "add", inside)
        run_as_root("ip", "-n", inside, "link", "set", "lo", "up")
        run_as_root("ip", "link", "add", f"{name}0", "type", "veth", "peer", "name", "eth0", "netns", inside)
        for where, device, host in (([], f"{name}0", 1), (["-n", inside], "eth0", 2)):
            # Without IPv6's own messages, which are nobody's.
            run_as_root("ip", *where, "link", "set", device, "addrgenmode", "none")
            run_as_root("ip", *where, "address", "add", f"{network}.{host}/24", "dev", device)
            run_as_root("ip", *where, "link", "set", device, "up")


def wire_bytes(name: str) -> int:
    """Return how many bytes a device's link has carried, both ways, with the headers of Ethernet, IP and TCP."""
    for line in Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines():
        device, _, figures = line.partition(":")
        if device.strip() == f"{name}0":
            fields = figures.split()
            return int(fields[0]) + int(fields[8])
    raise LookupError(f"there is no link {name}0")


def make_certificate(folder: Path) -> Path:
    """Make the servers' certificate, which the devices trust."""
    names = ",".join(f"IP:{network}.1" for network in NETWORKS.values())
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run_as_root("openssl", "req", "-x509", *kind, *files, "-subj", "/CN=servers", "-addext", f"subjectAltName={names}")
    return folder / "certificate.pem"


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run Mosquitto, for the controller without TLS and for the device with it; gives the controller's URL."""
    config, address = folder / "mosquitto.conf", f"{NETWORKS['wain']}.1"
    places = {"plain": BROKER_PORT, "tls": TLS_PORT, "address": address, "folder": folder, "user": getpass.getuser()}
    config.write_text(MOSQUITTO.format(**places), encoding="utf-8")
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([program, "-c", str(config)])
    try:
        wait_until(lambda: is_listening(BROKER_PORT), what="mosquitto to listen")
        yield f"mqtt://127.0.0.1:{BROKER_PORT}"
    finally:
        process.terminate()
        process.wait(10)


class MenderServer(ThreadingHTTPServer):
    """Accepts a Mender client and never has an update for it: the answers of its device API, versions 1 and 2.

    Each connection ends with its answer. So it would with an interval of half an hour: no server keeps one as long.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__((f"{NETWORKS['mender']}.1", SERVER_PORT), _Answers)
        self.counts: Counter[str] = Counter()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def check_ins(self) -> int:
        """How often the client has asked for an update."""
        return self.counts[NEXT]


class _Answers(BaseHTTPRequestHandler):
    server: MenderServer

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.counts[self.path] += 1
        body = b"token" if self.path.endswith("/auth_requests") else b""
        self.send_response(204 if self.path == NEXT else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815  the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Say nothing."""


@contextmanager
def mender_server(folder: Path) -> Iterator[MenderServer]:
    """Run the server."""
    with MenderServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def wain_command(folder: Path, prefix: str) -> Command:
    """Return the agent's command, with the defaults of everything but places; `prefix` begins the topics."""
    folder.mkdir()
    settings = {
        "device_id": "lab",
        "device_type": DEVICE_TYPE,
        "data_dir": str(folder / "data"),
        "control_socket": str(folder / "agent.sock"),
        "broker": {
            "url": f"mqtts://{NETWORKS['wain']}.1:{TLS_PORT}",
            "ca": str(folder.parent / "certificate.pem"),
            "prefix": prefix,
        },
    }
    (folder / "agent.toml").write_text(toml(settings), encoding="utf-8")
    return _in_namespace("wain", [wain(), "--config", str(folder / "agent.toml"), "run"], folder)


def mender_command(folder: Path) -> Command:
    """Return the daemon's command, with the defaults of everything but places; without D-Bus, which nobody asks."""
    folder.mkdir()
    (folder / "etc").mkdir()
    (folder / "etc" / "artifact_info").write_text("artifact_name=before\n", encoding="utf-8")
    share = shutil.copytree("/usr/share/mender", folder / "share")
    (share / "identity").mkdir(exist_ok=True)
    identity = share / "identity" / "mender-device-identity"
    identity.write_text("#!/bin/sh\necho id=lab\n", encoding="utf-8")
    identity.chmod(0o755)
    for source, place in ((folder / "etc", "/etc/mender"), (share, "/usr/share/mender")):
        run_as_root("mount", "--bind", str(source), place)  # until the namespace ends
    (folder / "data").mkdir()
    (folder / "data" / "device_type").write_text(f"device_type={DEVICE_TYPE}\n", encoding="utf-8")
    settings = {
        "ServerURL": f"https://{NETWORKS['mender']}.1:{SERVER_PORT}",
        "ServerCertificate": str(folder.parent / "certificate.pem"),
        "DBus": {"Enabled": False},
    }
    (folder / "mender.conf").write_text(json.dumps(settings), encoding="utf-8")
    places = ["--config", str(folder / "mender.conf"), "--fallback-config", "/nonexistent"]
    argv = ["mender", *places, "--data", str(folder / "data"), "--no-syslog", "daemon"]
    return _in_namespace("mender", argv, folder)


def _in_namespace(name: str, argv: list[str], folder: Path) -> Command:
    return Command(["ip", "netns", "exec", f"device-{name}", *argv], {}, folder, folder / "output")
