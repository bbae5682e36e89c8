"""Damaged artifacts, each with the rule that refuses it: one table for the reader, the controller's upload and the
agent.

`damaged()` yields (name, bytes, rule, keys_needed). Where `keys_needed` is true the reader must be configured with the
public key `build.public_pem()` for the rule to apply; the other rows are refused with and without keys, unless
`unsigned` comes first.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.common.artifact.build import (
    SCRIPT,
    Recipe,
    compress,
    header_info,
    sign_raw,
    tar,
    type_info,
)

Row = tuple[str, bytes, str, bool]

GOOD = Recipe()
TWO_FILES = replace(GOOD, files=(("one", b"first"), ("two", b"second")))
_FILE = GOOD.files[0]


def damaged() -> Iterator[Row]:
    """Yield every damaged artifact, in the order of an artifact's parts."""
    for table in (
        _archive,
        _order,
        _version,
        _manifest,
        _signature,
        _header,
        _documents,
        _scripts,
        _compression,
        _payload,
    ):
        yield from table()


def _plain(rows: dict[str, tuple[bytes, str]]) -> Iterator[Row]:
    return ((name, blob, rule, False) for name, (blob, rule) in rows.items())


def _archive() -> Iterator[Row]:
    blob = GOOD.blob()
    flipped = bytearray(blob)
    flipped[100] ^= 1  # the mode of the first member
    later = bytearray(blob)
    later[1024 + 100] ^= 1  # of the second
    no_end = blob[:-1024]
    return _plain(
        {
            "empty": (b"", "truncated"),
            "text": (b"this is not an artifact\n" * 100, "not-an-artifact"),
            "zeros only": (bytes(4096), "member-order"),
            "first checksum wrong": (bytes(flipped), "not-an-artifact"),
            "second checksum wrong": (bytes(later), "tar-header"),
            "no end of archive": (no_end, "truncated"),
            "one zero block at the end": (blob[:-512], "truncated"),
            "text after the end": (blob + b"text", "trailing-data"),
            "artifact after the end": (blob + blob, "trailing-data"),
            "megabytes of zeros after the end": (blob + bytes(3 << 20), "trailing-data"),
            "half of the payload": (blob[: len(blob) - 1024 - 300], "truncated"),
        }
    )


def _order() -> Iterator[Row]:
    version, manifest, header, data = GOOD.members()
    other = ("README", b"hello")
    augment = ("manifest-augment", b"")
    link = tarfile.TarInfo("version")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return _plain(
        {
            "version missing": (tar([manifest, header, data]), "member-order"),
            "version second": (tar([manifest, version, header, data]), "member-order"),
            "version a link": (tar([link, manifest, header, data]), "tar-entry"),
            "signature before manifest": (
                tar([version, ("manifest.sig", b"eA=="), manifest, header, data]),
                "member-order",
            ),
            "manifest missing": (tar([version, header, data]), "member-order"),
            "header missing": (tar([version, manifest, data]), "member-order"),
            "header twice": (tar([version, manifest, header, header, data]), "member-order"),
            "data missing": (tar([version, manifest, header]), "undelivered"),
            "data before header": (tar([version, manifest, data, header]), "member-order"),
            "data twice": (tar([version, manifest, header, data, data]), "member-order"),
            "unknown member first": (tar([other, version, manifest, header, data]), "member-unknown"),
            "unknown member last": (tar([version, manifest, header, data, other]), "member-unknown"),
            "header after data": (tar([version, manifest, header, data, header]), "member-order"),
            "second payload": (tar([version, manifest, header, data, ("data/0001.tar", b"")]), "index"),
            "payload numbered 1": (tar([version, manifest, header, ("data/0001.tar.gz", data[1])]), "index"),
            "bzip2 header": (tar([version, manifest, ("header.tar.bz2", header[1]), data]), "member-unknown"),
            "manifest-augment": (tar([version, manifest, augment, header, data]), "augmented"),
            "header-augment": (
                tar([version, manifest, header, ("header-augment.tar.gz", header[1]), data]),
                "augmented",
            ),
            "manifest too large": (
                tar([version, ("manifest", manifest[1] * 10_000), header, data]),
                "too-large",
            ),
        }
    )


def _version() -> Iterator[Row]:
    def version(content: bytes) -> bytes:
        return replace(GOOD, version=content).blob()

    members = GOOD.members()
    return _plain(
        {
            "version not JSON": (version(b"three"), "version-syntax"),
            "version empty": (version(b""), "version-syntax"),
            "version nested too deep": (version(b"[" * 4000), "version-syntax"),
            "version with another key": (version(b'{"format":"mender","version":3,"x":1}'), "version-syntax"),
            "version a string": (version(b'{"format":"mender","version":"3"}'), "version-syntax"),
            "version 2": (version(b'{"format":"mender","version":2}'), "version-unsupported"),
            "version 4": (version(b'{"format":"mender","version":4}'), "version-unsupported"),
            "format other": (version(b'{"format":"rauc","version":3}'), "version-unsupported"),
            "version digest wrong": (
                tar([("version", b'{"format": "mender", "version": 3}'), *members[1:]]),
                "version-digest",
            ),
        }
    )


def _manifest() -> Iterator[Row]:
    good = GOOD.manifest()
    lines = good.decode().splitlines()
    file_line, header_line, version_line = lines

    def manifest(*rows: str, end: str = "\n") -> bytes:
        return replace(GOOD, manifest_bytes=("\n".join(rows) + end).encode()).blob()

    sha = "0" * 64
    return _plain(
        {
            "manifest empty": (replace(GOOD, manifest_bytes=b"").blob(), "manifest-syntax"),
            "manifest short digest": (manifest(file_line[1:], header_line, version_line), "manifest-syntax"),
            "manifest upper-case digest": (manifest(file_line.upper(), header_line, version_line), "manifest-syntax"),
            "manifest name missing": (manifest(f"{sha}  ", header_line, version_line), "manifest-syntax"),
            "manifest one space": (
                manifest(file_line.replace("  ", " "), header_line, version_line),
                "manifest-syntax",
            ),
            "manifest three spaces": (
                manifest(file_line.replace("  ", "   "), header_line, version_line),
                "manifest-syntax",
            ),
            "manifest on one line": (manifest(" ".join(lines)), "manifest-syntax"),
            "manifest without line ends": (manifest("".join(lines), end=""), "manifest-syntax"),
            "manifest with CRLF": (
                replace(GOOD, manifest_bytes=good.replace(b"\n", b"\r\n")).blob(),
                "manifest-syntax",
            ),
            "manifest without last newline": (manifest(*lines, end=""), "manifest-syntax"),
            "manifest with an empty line": (manifest(file_line, "", header_line, version_line), "manifest-syntax"),
            "manifest with a duplicate": (
                manifest(file_line, file_line, header_line, version_line),
                "manifest-duplicate",
            ),
            "manifest with a very long name": (manifest(f"{sha}  data/0000/{'n' * 300}", *lines), "manifest-name"),
            "manifest with a strange name": (manifest(f"{sha}  etc/passwd", *lines), "manifest-name"),
            "manifest with a second payload": (manifest(f"{sha}  data/0001/app.bin", *lines), "index"),
            "manifest with a name that leaves the folder": (
                manifest(f"{sha}  data/0000/../../x", *lines),
                "payload-name",
            ),
            "manifest without version": (manifest(file_line, header_line), "version-unlisted"),
            "manifest without header": (manifest(file_line, version_line), "header-unlisted"),
            "manifest lists the header without suffix": (
                manifest(file_line, header_line.removesuffix(".gz"), version_line),
                "header-unlisted",
            ),
            "manifest lists two headers": (manifest(*lines, header_line.replace(".gz", ".xz")), "undelivered"),
        }
    )


def _signature() -> Iterator[Row]:
    signed = replace(GOOD, signed=True)
    raw = sign_raw(signed.manifest())
    other = ec.generate_private_key(ec.SECP256R1()).sign(signed.manifest(), ec.ECDSA(hashes.SHA256()))
    forged = bytearray(raw)
    forged[40] ^= 1

    def signature(content: bytes) -> bytes:
        return replace(GOOD, signature=content).blob()

    b64 = base64.b64encode
    resigned = replace(signed, signature=b64(raw), files=(("app.bin", b"something else"),))
    rows = {
        "unsigned": (GOOD.blob(), "unsigned"),
        "signature empty": (signature(b""), "signature-encoding"),
        "signature not base64": (signature(b"*" * 88), "signature-encoding"),
        "signature raw bytes": (signature(raw), "signature-encoding"),
        "signature of 63 bytes": (signature(b64(b"\x01" * 63)), "signature-length"),
        "signature of 65 bytes": (signature(b64(b"\x01" * 65)), "signature-length"),
        "signature of zeros": (signature(b64(bytes(64))), "signature-mismatch"),
        "signature by another key": (signature(b64(other)), "signature-mismatch"),
        "signature with a flipped bit": (signature(b64(bytes(forged))), "signature-mismatch"),
        "signature of another manifest": (resigned.blob(), "signature-mismatch"),
        "signature too large": (signature(b64(bytes(20_000))), "too-large"),
        "signed manifest kept, header replaced": (
            replace(signed, header_bytes=replace(signed, scripts=()).header()).blob(),
            "header-digest",
        ),
        "signed manifest kept, payload replaced": (
            replace(signed, promised=signed.files, files=(("app.bin", b"evil"),)).blob(),
            "payload-digest",
        ),
    }
    return ((name, blob, rule, True) for name, (blob, rule) in rows.items())


def with_header(members: list[tuple[str, bytes] | tarfile.TarInfo]) -> bytes:
    """A good artifact, whose manifest is right, with another header tar."""
    stored = compress(tar(members), GOOD.compression)
    return replace(GOOD, header_bytes=stored, manifest_bytes=GOOD.lines(stored)).blob()


def _header() -> Iterator[Row]:
    info, script, types, meta = GOOD.header_members()
    folder = tarfile.TarInfo("scripts")
    folder.type = tarfile.DIRTYPE
    swapped = replace(GOOD, header_bytes=replace(GOOD, scripts=()).header()).blob()
    return _plain(
        {
            "header digest wrong": (swapped, "header-digest"),
            "header empty": (with_header([]), "header-order"),
            "header-info not first": (with_header([script, info, types, meta]), "header-order"),
            "header-info twice": (with_header([info, info, script, types, meta]), "header-order"),
            "script after type-info": (with_header([info, types, script, meta]), "header-order"),
            "meta-data before type-info": (with_header([info, script, meta, types]), "header-order"),
            "meta-data twice": (with_header([info, types, meta, meta]), "header-order"),
            "type-info missing": (with_header([info, script]), "type-info"),
            "type-info twice": (with_header([info, types, types]), "header-order"),
            "type-info of a second payload": (
                with_header([info, types, ("headers/0001/type-info", types[1])]),
                "index",
            ),
            "unknown header file": (with_header([info, types, ("headers/0000/files", b"")]), "header-order"),
            "folder in the header": (with_header([info, folder, types]), "tar-entry"),
        }
    )


def _documents() -> Iterator[Row]:
    def info(**changes: object) -> bytes:
        return replace(GOOD, header_info=header_info(**changes)).blob()

    def types(**changes: object) -> bytes:
        return replace(GOOD, type_info=type_info(**changes)).blob()

    def payload(payload_type: object) -> bytes:
        return replace(
            GOOD, header_info=header_info(payloads=[{"type": payload_type}]), type_info=type_info(type=payload_type)
        ).blob()

    def meta(content: bytes) -> bytes:
        return replace(GOOD, meta_data=content).blob()

    empty = replace(
        GOOD, header_info=header_info(payloads=[{"type": None}]), type_info=b'{"type":null}', meta_data=None
    )
    rows = {
        "header-info not JSON": (replace(GOOD, header_info=b"{").blob(), "header-info"),
        "header-info a list": (replace(GOOD, header_info=b"[]").blob(), "header-info"),
        "header-info not UTF-8": (replace(GOOD, header_info=b'{"payloads":"\xff"}').blob(), "header-info"),
        "header-info nested too deep": (replace(GOOD, header_info=b'{"x":' * 20_000).blob(), "header-info"),
        "header-info without payloads": (replace(GOOD, header_info=b'{"artifact_provides":{}}').blob(), "header-info"),
        "no payloads": (info(payloads=[]), "payload-count"),
        "two payloads": (info(payloads=[{"type": "single-file"}] * 2), "payload-count"),
        "no artifact name": (info(artifact_provides={}), "artifact-name"),
        "artifact name empty": (info(artifact_provides={"artifact_name": ""}), "artifact-name"),
        "artifact name too long": (info(artifact_provides={"artifact_name": "n" * 257}), "text"),
        "artifact name with a newline": (info(artifact_provides={"artifact_name": "a\nb"}), "text"),
        "no device type": (info(artifact_depends={}), "device-type"),
        "device type list empty": (info(artifact_depends={"device_type": []}), "device-type"),
        "device type empty": (info(artifact_depends={"device_type": [""]}), "text"),
        "device type a string": (info(artifact_depends={"device_type": "press"}), "header-info"),
        "type-info not JSON": (replace(GOOD, type_info=b"type").blob(), "type-info"),
        "type-info empty": (replace(GOOD, type_info=b"").blob(), "type-info"),
        "type-info with files of version 2": (types(files=["app.bin"]), "type-info"),
        "type-info provides a number": (types(artifact_provides={"a": 1}), "type-info"),
        "type-info of another type": (types(type="docker"), "type-mismatch"),
        "type-info without type": (types(type=None), "type-mismatch"),
        "too many provides": (types(artifact_provides={f"k{i}": "v" for i in range(257)}), "too-large"),
        "provides too long": (types(artifact_provides={f"k{i}": "v" * 4096 for i in range(33)}), "too-large"),
        "too many device types": (info(artifact_depends={"device_type": [f"t{i}" for i in range(1001)]}), "too-large"),
        "too many values of a depend": (types(artifact_depends={"x": [f"v{i}" for i in range(1001)]}), "too-large"),
        "provides artifact_name": (types(artifact_provides={"artifact_name": "x"}), "provides-conflict"),
        "depends on device_type": (types(artifact_depends={"device_type": "x"}), "provides-conflict"),
        "payload type with a slash": (payload("../../bin/sh"), "payload-type"),
        "payload type dot dot": (payload(".."), "payload-type"),
        "payload type like an option": (payload("--help"), "payload-type"),
        "payload type empty": (payload(""), "payload-type"),
        "meta-data cut": (meta(b"{"), "meta-data"),
        "meta-data a space": (meta(b" "), "meta-data"),
        "meta-data a list": (meta(json.dumps([{"a": 1}]).encode()), "meta-data"),
        "bootstrap with meta-data": (replace(empty, files=(), meta_data=b"{}").blob(), "empty-payload"),
        "bootstrap with a file": (empty.blob(), "empty-payload"),
        "bootstrap with an unlisted file": (
            replace(empty, promised=()).blob(),
            "empty-payload",
        ),
    }
    return _plain(rows)


def _scripts() -> Iterator[Row]:
    def script(*names: str) -> bytes:
        return replace(GOOD, scripts=tuple((f"scripts/{name}", SCRIPT) for name in names)).blob()

    return _plain(
        {
            "script that leaves the folder": (script("../../etc/cron.d/x"), "script-name"),
            "script with a slash in its text": (script("ArtifactInstall_Enter_00_/../../x"), "script-name"),
            "script of the root file system": (script("Download_Enter_00"), "script-name"),
            "script without number": (script("ArtifactInstall_Enter"), "script-name"),
            "script with a space": (script("ArtifactInstall_Enter_00_a b"), "script-name"),
            "script without a name": (script(""), "script-name"),
            "script twice": (script("ArtifactCommit_Leave_01", "ArtifactCommit_Leave_01"), "script-duplicate"),
        }
    )


def _compression() -> Iterator[Row]:
    version, manifest, header, data = GOOD.members()
    plain = tar(GOOD.files)

    def stored(content: bytes, suffix: str = ".gz") -> bytes:
        return tar([version, manifest, header, ("data/0000.tar" + suffix, content)])

    broken = bytearray(data[1])
    broken[-6] ^= 1  # in gzip's checksum
    bomb = tar([("app.bin", bytes(40 << 20))])
    return _plain(
        {
            "suffix gz, content xz": (stored(compress(plain, "lzma")), "compression"),
            "suffix gz, content plain": (stored(plain), "compression"),
            "suffix xz, content gzip": (stored(data[1], ".xz"), "compression"),
            "suffix zst, content gzip": (stored(data[1], ".zst"), "compression"),
            "no suffix, content gzip": (stored(data[1] * 10, ""), "tar-header"),
            "compressed stream cut": (stored(data[1][:-20]), "truncated"),
            "compressed stream with a wrong checksum": (stored(bytes(broken)), "compression"),
            "text after the compressed stream": (stored(data[1] + b"text"), "compression-trailing"),
            "second compressed stream": (stored(data[1] + data[1]), "compression-trailing"),
            "text after the archive, compressed": (stored(compress(plain + b"text", "gzip")), "trailing-data"),
            "archive without end, compressed": (stored(compress(plain[:-1024], "gzip")), "truncated"),
            "header that expands to 40 MiB": (
                with_header([*GOOD.header_members()[:1], ("scripts/ArtifactInstall_Enter_00", bytes(40 << 20))]),
                "too-large",
            ),
            "payload that expands 30,000 times": (stored(_bomb(), ".zst"), "expansion"),
            "payload of 40 MiB of zeros instead of the file": (stored(compress(bomb, "gzip")), "payload-digest"),
        }
    )


def _bomb() -> bytes:
    """256 MiB of zeros as a payload file, in a few KiB: zstd stores a block of 128 KiB of one byte in 4 bytes."""
    from backports import zstd

    info = tarfile.TarInfo("app.bin")
    info.size = 256 << 20
    encoder = zstd.ZstdCompressor()
    out = encoder.compress(info.tobuf())
    for _ in range(256):
        out += encoder.compress(bytes(1 << 20))
    return out + encoder.compress(bytes(1024)) + encoder.flush()


def _payload() -> Iterator[Row]:
    one, two = TWO_FILES.files
    extra = ("extra", b"extra")

    def delivered(*files: tuple[str, bytes]) -> bytes:
        return replace(TWO_FILES, promised=(one, two), files=files).blob()

    alias = (("f", b"first"), ("f.gz", b"second"))
    link = tarfile.TarInfo("two")
    link.type, link.linkname = tarfile.LNKTYPE, "one"
    return _plain(
        {
            "payload file swapped": (delivered(("one", b"other"), two), "payload-digest"),
            "payload file one byte short": (delivered(("one", b"firs"), two), "payload-digest"),
            "first payload file missing": (delivered(two), "undelivered"),
            "last payload file missing": (delivered(one), "undelivered"),
            "all payload files missing": (delivered(), "undelivered"),
            "unlisted payload file first": (delivered(extra, one, two), "payload-unlisted"),
            "unlisted payload file last": (delivered(one, two, extra), "payload-unlisted"),
            "only payload file unlisted": (replace(GOOD, promised=()).blob(), "payload-unlisted"),
            "payload file twice": (delivered(one, one, two), "payload-duplicate"),
            "contents of f and f.gz swapped": (
                replace(GOOD, promised=alias, files=(("f", b"second"), ("f.gz", b"first"))).blob(),
                "payload-digest",
            ),
            "f listed, f.gz delivered": (
                replace(GOOD, promised=alias[:1], files=(("f.gz", b"first"),)).blob(),
                "payload-unlisted",
            ),
            "payload file that leaves the folder": (delivered(("../one", b"first"), two), "payload-name"),
            "payload file with an absolute path": (delivered(("/etc/passwd", b"x"), two), "payload-name"),
            "payload file dot dot": (delivered(("..", b"x"), two), "payload-name"),
            "payload file a hard link": (replace(TWO_FILES, data_bytes=tar([one, link])).blob(), "tar-entry"),
            "payload with a long GNU name": (
                replace(GOOD, data_bytes=tar([("n" * 120, b"x")], tarfile.GNU_FORMAT)).blob(),
                "tar-entry",
            ),
            "payload in a sparse entry": (replace(GOOD, data_bytes=_sparse()).blob(), "tar-entry"),
        }
    )


def _sparse() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("app.bin")
        info.size = len(_FILE[1])
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000"}
        archive.addfile(info, io.BytesIO(_FILE[1]))
    return out.getvalue()
