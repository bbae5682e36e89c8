"""`wainwright demo`."""

from __future__ import annotations

import click

from wainwright_controller.cli.settings import Command
from wainwright_controller.demo.play import DEVICES, DEVICES_MAX, DEVICES_MIN
from wainwright_controller.demo.play import main as play


@click.command("demo", cls=Command, short_help="Run a whole system on this machine, and watch it.")
@click.option(
    "--devices",
    metavar="N",
    type=click.IntRange(DEVICES_MIN, DEVICES_MAX),
    default=DEVICES,
    show_default=True,
    help="Devices, each a process of its own.",
)
@click.option("--keep", is_flag=True, help="Leave it all running until Ctrl+C, to play with.")
@click.option("--broker", metavar="URL", help="A broker that runs already, on this machine. [an embedded one]")
@click.option(
    "--secure", is_flag=True, help="With TLS, an authority, certificates for the devices, signatures asked for."
)
def main(devices: int, broker: str | None, *, keep: bool, secure: bool) -> int:
    """Run a whole system on this machine: a controller, a broker and a fleet, live; then say what came of it.

    A release is rolled out to canaries and then to the rest. One device cannot start it and goes back by itself;
    another is killed in the middle of its download and comes back. Nothing stays behind. The exit code is 0 only if
    everything ended as it should.
    """
    if secure and broker is not None:
        raise click.UsageError("--secure is for the embedded broker: leave --broker out.")
    return play(devices=devices, keep=keep, broker=broker, secure=secure)
