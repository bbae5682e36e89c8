"""`wainwright artifact sign`: signs a file that is there, or lets somebody sign it who keeps the key to himself."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from wainwright_common.artifact import (
    ArtifactReader,
    VerifyKey,
    find_manifest,
    load_signing_key,
    load_verify_keys,
    signature_of,
    write_signed,
)
from wainwright_common.errors import WainwrightError
from wainwright_controller.cli.files import failures, replacing

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)
_SIGNATURE_MAX = 64 * 1024  # bytes: far more than any signature, so that a wrong path is not read into memory


@click.command("sign", short_help="Sign a local file, or attach a signature made elsewhere.")
@click.argument("file", metavar="FILE", type=_FILE)
@click.option("-k", "--key", type=_FILE, help="Private key (PEM) to sign with: RSA, ECDSA P-256 or Ed25519.")
@click.option(
    "--export",
    metavar="OUT",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the bytes that are to be signed; - is stdout.",
)
@click.option("--attach", metavar="SIGNATURE", type=_FILE, help="Attach a signature of those bytes: raw or base64.")
@click.option("--verify-key", type=_FILE, help="Public key (PEM) that the signature must be by.")
@click.option("-o", "--output-path", type=_OUT, help="The file to write. [FILE itself]")
def sign(
    file: Path,
    key: Path | None,
    export: Path | None,
    attach: Path | None,
    verify_key: Path | None,
    output_path: Path | None,
) -> None:
    """Sign a local file, in place of any signature that it has.

    With a key in a file: -k. With a key that never leaves an HSM or a KMS: --export gives the bytes to sign, --attach
    takes the signature. See docs/artifacts.md. FILE is examined whole, and stays as it is if anything is wrong.
    """
    if sum(way is not None for way in (key, export, attach)) != 1:
        raise click.UsageError("Say how: one of --key, --export and --attach.")
    if verify_key is not None and attach is None:
        raise click.UsageError("--verify-key is for --attach: what -k signs needs no check.")
    if output_path is not None and export is not None:
        raise click.UsageError("--output-path is for --key and --attach: --export names its own file.")
    with failures():
        if export is not None:
            _export(file, export)
        elif attach is not None:
            _attach(file, _signature_in(attach), _only_key(verify_key), output_path or file)
        elif key is not None:
            _sign(file, key, output_path or file)


def _sign(file: Path, key_file: Path, target: Path) -> None:
    key = load_signing_key(key_file)
    with file.open("rb") as source:
        _write(
            source_path=file, signature=key.sign(find_manifest(source).manifest), key=key.verify_key(), target=target
        )
    click.echo(f"{target}: signed with {key.label}.", err=True)


def _export(file: Path, target: Path) -> None:
    with file.open("rb") as source:
        manifest = find_manifest(source).manifest
        source.seek(0)
        _examine(source, None)
    with click.open_file(str(target), "wb") as out:
        out.write(manifest)
    if str(target) != "-":
        click.echo(f"{target}: {len(manifest)} bytes to sign, the manifest of {file}.", err=True)


def _attach(file: Path, given: bytes, key: VerifyKey | None, target: Path) -> None:
    with file.open("rb") as source:
        signature = signature_of(given, find_manifest(source).manifest, key)
    _write(source_path=file, signature=signature, key=key, target=target)
    how = f"by {key.label}" if key else "not checked. To have it checked, give --verify-key"
    click.echo(f"{target}: signature attached, {how}.", err=True)


def _write(*, source_path: Path, signature: bytes, key: VerifyKey | None, target: Path) -> None:
    """Write the file with another signature, and read all of that before it takes its name."""
    with source_path.open("rb") as source, replacing(target, like=source_path) as out:
        write_signed(source, out, find_manifest(source), signature)
        out.seek(0)
        _examine(out, key)


def _examine(stream: BinaryIO, key: VerifyKey | None) -> None:
    """Read an artifact to its end: a damaged one is not to be signed."""
    for _ in ArtifactReader(stream, verify_keys=[key] if key else []).files():
        pass


def _signature_in(file: Path) -> bytes:
    with file.open("rb") as stream:
        given = stream.read(_SIGNATURE_MAX + 1)
    if len(given) > _SIGNATURE_MAX:
        raise WainwrightError(f"{file} has more than {_SIGNATURE_MAX} bytes. Is it a signature?")
    return given


def _only_key(file: Path | None) -> VerifyKey | None:
    if file is None:
        return None
    keys = load_verify_keys([file])
    if len(keys) > 1:
        raise WainwrightError(f"{file} has {len(keys)} keys. Give the one that has signed.")
    return keys[0]
