"""`wainwright simulate`: a simulated fleet on a broker, until Ctrl+C."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import click

from wainwright_common.brokers import BadBroker
from wainwright_common.codes import Code
from wainwright_common.errors import BadTopic
from wainwright_common.topics import PREFIX
from wainwright_controller.cli.settings import Command
from wainwright_controller.simulate.behaviour import DEVICES_MAX, Broker, FleetSpec
from wainwright_controller.simulate.fleet import Fleet, Standing

TOLD_EVERY_S = 2.0  # between two looks at the fleet; a line is printed only when something changed

PART = click.FloatRange(0, 100)


@click.command(
    "simulate", cls=Command, epilog="The devices exist until Ctrl+C; accept them with `wainwright device accept`."
)
@click.option("--devices", type=click.IntRange(1, DEVICES_MAX), required=True, help="Number of devices.")
@click.option("--broker", default="mqtt://127.0.0.1:1883", show_default=True, help="Broker's address.")
@click.option("--topic-prefix", default=PREFIX, show_default=True, help="First levels of all topics.")
@click.option("--id-prefix", default="sim-", show_default=True, help="Start of the devices' ids.")
@click.option("--type", "types", multiple=True, default=("simulated",), show_default=True, help="Device type; repeat.")
@click.option("--release", default="simulated-1.0", show_default=True, help="What every device runs at first.")
@click.option("--download-time", type=click.FloatRange(0), default=4.0, show_default=True, help="Mean, in seconds.")
@click.option("--install-time", type=click.FloatRange(0), default=2.0, show_default=True, help="Mean, in seconds.")
@click.option("--failing", type=PART, default=0.0, show_default=True, help="Percent that fail to install.")
@click.option(
    "--fail-code",
    "fail_codes",
    metavar="CODE",
    type=click.Choice([c.value for c in Code]),
    multiple=True,
    default=("install-failed",),
    show_default=True,
    help="Why they fail, in turns; repeat. docs/protocol.md lists the codes.",
)
@click.option("--silent", type=PART, default=0.0, show_default=True, help="Percent that fall silent in a download.")
@click.option("--faulty-attempts", type=click.IntRange(0), help="Attempts after which these do well; else never.")
@click.option("--duplicate", type=PART, default=0.0, show_default=True, help="Percent of reports sent twice.")
@click.option("--reorder", type=PART, default=0.0, show_default=True, help="Percent of reports sent out of order.")
@click.option("--late", type=PART, default=0.0, show_default=True, help="Percent that connect later than the others.")
@click.option("--late-by", type=click.FloatRange(0), default=60.0, show_default=True, help="At most so many seconds.")
@click.option(
    "--attribute",
    "attributes",
    metavar="NAME=VALUE[,VALUE]...",
    multiple=True,
    callback=lambda _context, _option, given: attributes_of(given),
    help="What the inventories say, the devices in turns; for filters such as 'inventory.site = \"north\"'. Repeat.",
)
@click.option(
    "--provides",
    metavar="NAME=VALUE[,VALUE]...",
    multiple=True,
    callback=lambda _context, _option, given: attributes_of(given),
    help="What the devices provide, in turns, for artifacts that depend on it. Repeat.",
)
@click.option("--check-in", type=click.FloatRange(1), default=60.0, show_default=True, help="Interval, in seconds.")
@click.option("--connect-rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Devices a second.")
@click.option("--download", is_flag=True, help="Fetch the offered artifacts, check them, and fail where they say so.")
@click.option("--seed", type=int, default=1, show_default=True, help="Equal seeds give equal fleets.")
def main(
    *,
    devices: int,
    broker: str,
    topic_prefix: str,
    id_prefix: str,
    types: tuple[str, ...],
    release: str,
    download_time: float,
    install_time: float,
    failing: float,
    fail_codes: tuple[str, ...],
    silent: float,
    faulty_attempts: int | None,
    duplicate: float,
    reorder: float,
    late: float,
    late_by: float,
    attributes: dict[str, tuple[str, ...]],
    provides: dict[str, tuple[str, ...]],
    check_in: float,
    connect_rate: float,
    download: bool,
    seed: int,
) -> None:
    """Simulate a fleet of devices on one broker.

    With --download an artifact may be built to fail: on devices that meet the filter WHERE, if its payload's meta-data
    (`artifact create -m FILE`) is {"fault": {"where": WHERE, "code": CODE, "text": TEXT}}.
    """
    try:
        address = Broker.at(broker, topic_prefix)
        spec = FleetSpec(
            devices=devices,
            id_prefix=id_prefix,
            device_types=types,
            artifact_name=release,
            download_s=download_time,
            install_s=install_time,
            failing=failing / 100,
            fail_codes=fail_codes,
            silent=silent / 100,
            faulty_attempts=faulty_attempts,
            duplicated=duplicate / 100,
            reordered=reorder / 100,
            late=late / 100,
            late_s=late_by,
            attributes=attributes,
            provides=provides,
            check_in_s=check_in,
            connects_per_s=connect_rate,
            real_download=download,
            seed=seed,
        )
    except (BadBroker, BadTopic, ValueError) as error:
        raise click.UsageError(str(error)) from error
    with suppress(KeyboardInterrupt):
        asyncio.run(_simulate(Fleet(spec, address)))


async def _simulate(fleet: Fleet) -> None:
    running = asyncio.create_task(fleet.run())
    last: Standing | None = None
    try:
        while not running.done():
            standing = fleet.standing()
            if standing != last:
                click.echo(sentence(fleet, standing), err=True)
                last = standing
            await asyncio.wait([running], timeout=TOLD_EVERY_S)
    finally:
        running.cancel()  # each device says that it goes
        with suppress(asyncio.CancelledError):
            await running


def attributes_of(given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the values of each attribute, of texts such as `site=north,south`; raises click.BadParameter."""
    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        name, _, values = text.partition("=")
        if not name or not all(chosen := tuple(values.split(","))):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, nor NAME=VALUE,VALUE.")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice: give all its values at once, with commas between them.")
        found[name] = chosen
    return found


def sentence(fleet: Fleet, standing: Standing) -> str:
    """Print a fleet's standing for a person."""
    ended = ", ".join(f"{n} {status}" for status, n in sorted(standing.outcomes.items())) or "none yet"
    trouble = f" No connection to {fleet.address}: {standing.trouble}." if standing.trouble else ""
    return (
        f"{standing.connected} of {fleet.spec.devices} devices are connected, {standing.under_way} are updating;"
        f" updates ended: {ended}; reports not yet acknowledged: {standing.unacknowledged}.{trouble}"
    )
