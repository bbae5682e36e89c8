"""`wainwright ca …`: the controller's own certificate authority, over the API."""

from __future__ import annotations

from pathlib import Path

import click

from wainwright_controller.cli.ca_files import (
    init,
    issue_controller,
    issue_server,
    requested,
    rotated,
    sign,
    with_config,
)
from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.enrolment import CERTIFICATES, REASONS
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.output import Json, fields, put_done, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago, api_stamp, count

MACHINES = ("server", "controller")


@click.group(cls=Group)
def ca() -> None:
    """The controller's own certificate authority.

    `init`, `issue-server`, `issue-controller`, `sign` and `rotate --files` work on files, on the machine where these
    are, and need no running controller.
    """


for _command in (init, issue_server, issue_controller, sign):
    ca.add_command(_command)


@ca.command()
@in_settings
def show(settings: Settings) -> None:
    """Show the root, the issuing authorities and the revocation list."""
    found = settings.client.get("ca")
    put_object(settings, found, _about(found))


def _about(authority: Json) -> list[str]:
    key = "on the controller" if authority["has_root_key"] else "kept elsewhere"
    ends = authority.get("crl_ends_at")
    revoked = f"{count(authority['revoked'], 'certificate')}, ends {ago(ends)}" if ends else "none"
    known = [
        ("root", authority["subject"]),
        ("fingerprint", authority["fingerprint"]),
        ("ends", api_stamp(authority["ends_at"])),
        ("its key", key),
        ("revoked", revoked),
    ]
    lines = [*fields(known), "issuing authorities:"]
    about = [(one["id"], _issuer(one)) for one in sorted(authority["issuers"], key=lambda one: str(one["begins_at"]))]
    return lines + [f"  {line}" for line in fields(about)]


def _issuer(one: Json) -> str:
    role = "signs now" if one["signs_now"] else "former"
    return f"{role}, {count(one['certificates'], 'valid certificate')}, ends {api_stamp(one['ends_at'])}"


@ca.command()
@click.option("--chain", is_flag=True, help="The root, and after it the issuing authorities.")
@in_settings
def export(settings: Settings, chain: bool) -> None:  # noqa: FBT001  click passes options by name
    """Print the root's certificate (PEM): what devices, and whoever else talks to the controller, are to trust."""
    found = settings.client.get("ca")
    issuers = [one["pem"] for one in found["issuers"]] if chain else []
    click.echo("".join([found["pem"], *issuers]), nl=False)


@ca.command()
@click.option("--request", is_flag=True, help="Only print a request (PEM), to be signed where the root's key is.")
@click.option(
    "--certificate",
    metavar="F",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The certificate (PEM) that answers the request.",
)
@click.option("--files", is_flag=True, help="Work on the files, where they are: the controller need not run.")
@with_config
@in_settings
def rotate(settings: Settings, request: bool, certificate: Path | None, files: bool, path: Path | None) -> int:  # noqa: FBT001  click passes options by name
    """Have a new issuing authority sign from now on; devices notice nothing."""
    if request and certificate is not None:
        raise click.UsageError("--request is the first step, --certificate the last: give one.")
    if path is not None and not files:
        raise click.UsageError("--config is for --files alone: a controller that runs has its own.")
    if request:
        made = {"request": requested(path)} if files else settings.client.post("ca/request")
        settings.say("Sign this with `wainwright ca sign` where the root's key is, then give back the certificate:")
        put_object(settings, made, made["request"].splitlines())
        return ExitCode.DONE
    given = _text_of(certificate) if certificate else None
    answer: Json
    if files:
        answer = {"issuers": [{"id": rotated(path, given), "signs_now": True}]}
    else:
        answer = settings.client.post("ca/rotate", {"certificate": given} if given else {})
    signs = next(one for one in answer["issuers"] if one["signs_now"])
    put_done(settings, answer, f"{signs['id']} signs from now on; former ones are trusted as long as they are listed.")
    return ExitCode.DONE


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not PEM"
        raise CliError(ExitCode.USAGE, f"Cannot read {path}: {said}.") from error


@ca.command()
@click.argument("issuer", metavar="ID")
@in_settings
def retire(settings: Settings, issuer: str) -> None:
    """Trust a former issuing authority no more: all its certificates are refused.

    For one whose key was stolen. Rotate first; the devices that it had certified ask for new ones by themselves.
    """
    found = settings.client.get("ca")
    one = next((one for one in found["issuers"] if one["id"] == issuer), None)
    if one is None:
        raise CliError(ExitCode.FAILED, f"No such issuing authority: {issuer}. `wainwright ca show` has all.")
    text = f"This makes {count(one['certificates'], 'valid certificate')} unusable."
    confirm(settings, issuer, "retire", text)
    put_done(settings, settings.client.post("ca/retire", {"issuer": issuer}), f"{issuer} is not trusted any more.")


@ca.command()
@click.option("--kind", type=click.Choice(("device", *MACHINES)), help="Only these.")
@click.option("--limit", type=click.IntRange(1), help="At most so many. [all]")
@in_settings
def certificates(settings: Settings, kind: str | None, limit: int | None) -> None:
    """List the certificates that were issued, newest first."""
    found = settings.client.items("certificates", limit=limit, kind=kind)
    put_list(settings, found, CERTIFICATES, "No certificates.")


@ca.command()
@click.argument("serial", metavar="SERIAL")
@click.option(
    "--reason", type=click.Choice(REASONS), default="unspecified", show_default=True, help="What the list says."
)
@in_settings
def revoke(settings: Settings, serial: str, reason: str) -> None:
    """Revoke one certificate, such as a controller's that was lost; who is connected with it is disconnected.

    What is in the authority's folder on the controller is replaced at once. A server's goes on being believed by
    devices: they read no revocation list.
    """
    text = f"This revokes the certificate {serial}, for good."
    servers = settings.client.items("certificates", kind="server")
    if one := next((one for one in servers if _number(one["serial"]) == _number(serial)), None):
        text += (
            f" It is a server's, and devices read no revocation list: until it ends, {api_stamp(one['ends_at'])}, they"
            " believe whoever has its key and can divert their traffic."
        )
    confirm(settings, serial, "revoke", text)
    answer = settings.client.post(f"certificates/{seg(serial)}/revoke", {"reason": reason})
    put_done(settings, answer, f"Certificate {serial} revoked.")


def _number(serial: str) -> str:
    return serial.replace(":", "").lower().lstrip("0")
