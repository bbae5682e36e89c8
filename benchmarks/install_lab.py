"""Where installations are measured: one payload, as an artifact of each kind, on disk and on a web server.

The payload is made of this machine's programs and libraries, as an image of a root file system would be; each artifact
is written by its own peer's tool.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.wait import free_port, is_listening, wait_until

MIB = 1024 * 1024
DEVICE_TYPE = "labdev"
COMPRESSIONS = {"none": "", "gzip": ".gz"}

SLOT_MODULE = """#!/bin/sh
# Update module: the payload's only file into a slot, as it comes.
set -eu
case $1 in
NeedsArtifactReboot | SupportsRollback) echo No ;;
Download)
    dd if="$(cat stream-next)" of="$BENCHMARK_SLOT" bs=1M iflag=fullblock conv=notrunc,fsync 2>/dev/null
    [ -z "$(cat stream-next)" ]
    ;;
esac
"""

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log; {user}
events {{ }}
http {{
    access_log off; sendfile on; default_type application/octet-stream; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""

SW_DESCRIPTION = """software = {{ version = "1"; hardware-compatibility: ["1.0"]; images: ( {{
    filename = "image"; device = "{slot}"; type = "raw"; installed-directly = true; sha256 = "{sha256}"; {compressed}
}} ); }}
"""


class Lab:
    """One folder with everything for a payload of one size, in bytes, in some of COMPRESSIONS."""

    def __init__(self, folder: Path, size: int, compressions: Collection[str] = tuple(COMPRESSIONS)) -> None:
        self.folder = folder
        self.compressions = {name: COMPRESSIONS[name] for name in compressions}
        self.image = folder / "image"
        self.slot = folder / "slot"
        self.modules = folder / "modules"
        self.key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        self.port = free_port()
        folder.mkdir()
        self._write_image(size)
        self._write_settings()
        for compression, suffix in self.compressions.items():
            self._write_mender(compression, "slot", suffix)
            self._write_mender(compression, "single-file", suffix)
            self._write_swu(compression, suffix)

    def url(self, file: Path) -> str:
        """Return where the web server has a file of the folder."""
        return f"http://127.0.0.1:{self.port}/{file.relative_to(self.folder)}"

    def renew_slot(self) -> None:
        """Put something else into the slot, on the medium and out of the cache, as the slot that does not run is."""
        with self.slot.open("wb") as slot:
            block = bytes(MIB)
            for _ in range(0, self.image.stat().st_size, MIB):
                slot.write(block)
            slot.flush()
            os.fsync(slot.fileno())
            os.posix_fadvise(slot.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _write_image(self, size: int) -> None:
        with self.image.open("wb") as image:
            for piece in software(size):
                image.write(piece)
        if "gzip" in self.compressions:
            with Path(f"{self.image}.gz").open("wb") as compressed:
                subprocess.run(["gzip", "-6c", str(self.image)], stdout=compressed, check=True)

    def _write_settings(self) -> None:
        self.modules.mkdir()
        shutil.copy("/usr/share/mender/modules/v3/single-file", self.modules)
        (self.modules / "slot").write_text(SLOT_MODULE, encoding="utf-8")
        (self.modules / "slot").chmod(0o755)
        etc = self.folder / "etc"
        etc.mkdir()
        (etc / "artifact_info").write_text("artifact_name=before\n", encoding="utf-8")
        (self.folder / "dest_dir").write_text(str(self.folder / "app"), encoding="utf-8")
        (self.folder / "filename").write_text("image", encoding="utf-8")
        (self.folder / "permissions").write_text("0644", encoding="utf-8")
        names = ["-keyout", str(self.key), "-out", str(self.certificate)]
        more = ["-days", "2", "-subj", "/CN=lab", "-addext", "extendedKeyUsage=emailProtection"]
        _run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *more)

    def _write_mender(self, compression: str, kind: str, suffix: str) -> None:
        names = ["dest_dir", "filename", "permissions", "image"] if kind == "single-file" else ["image"]
        files = [word for name in names for word in ("-f", str(self.folder / name))]
        what = ["-T", kind, "-n", "after", "-t", DEVICE_TYPE, "-o", str(self.folder / f"{kind}{suffix}.mender")]
        _run("mender-artifact", "write", "module-image", "--compression", compression, *what, *files)

    def _write_swu(self, compression: str, suffix: str) -> None:
        parts = self.folder / f"swu{suffix}"
        parts.mkdir()
        stored = Path(f"{self.image}{suffix}")
        digest = hashlib.sha256()
        with stored.open("rb") as file:
            while piece := file.read(MIB):
                digest.update(piece)
        compressed = 'compressed = "zlib";' if compression == "gzip" else ""
        text = SW_DESCRIPTION.format(slot=self.slot, sha256=digest.hexdigest(), compressed=compressed)
        (parts / "sw-description").write_text(text, encoding="utf-8")
        (parts / "image").hardlink_to(stored)
        signer = ["-signer", str(self.certificate), "-inkey", str(self.key), "-nosmimecap", "-binary"]
        form = ["-outform", "DER"]
        files = ["-in", str(parts / "sw-description"), "-out", str(parts / "sw-description.sig")]
        _run("openssl", "cms", "-sign", *files, *form, *signer)
        with (self.folder / f"image{suffix}.swu").open("wb") as out:
            names = b"sw-description\nsw-description.sig\nimage\n"
            subprocess.run(["cpio", "--quiet", "-o", "-H", "crc"], cwd=parts, input=names, stdout=out, check=True)


def software(size: int) -> Iterator[bytes]:
    """Give `size` bytes of this machine's programs and libraries, again from the first when there are no more."""
    while True:
        for folder in ("/usr/lib", "/usr/bin"):
            for path in sorted(Path(folder).rglob("*")):
                if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
                    continue
                with path.open("rb") as file:
                    while piece := file.read(min(MIB, size)):
                        yield piece
                        size -= len(piece)
                if not size:
                    return


@contextmanager
def serving(lab: Lab) -> Iterator[None]:
    """Serve the lab's folder by nginx."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    config = lab.folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # another one could not read the folder
    config.write_text(NGINX.format(folder=lab.folder, port=lab.port, user=user), encoding="utf-8")
    server = subprocess.Popen([program, "-c", str(config), "-e", str(lab.folder / "nginx.log")])
    try:
        wait_until(lambda: is_listening(lab.port), what="nginx to listen")
        yield
    finally:
        server.terminate()
        server.wait(10)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
