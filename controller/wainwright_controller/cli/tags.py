"""`wainwright device label` and `unlabel`."""

from __future__ import annotations

import click

from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.output import Json, put_done
from wainwright_controller.cli.settings import Command, Settings, in_settings
from wainwright_controller.cli.words import count

_WHERE = click.option("--where", metavar="FILTER", help="All devices that meet this filter.")


@click.command(cls=Command)
@click.argument("words", metavar="[DEVICE...] NAME=VALUE...", nargs=-1, required=True)
@_WHERE
@in_settings
def label(settings: Settings, words: tuple[str, ...], where: str | None) -> int:
    """Give tags to devices, which are asked to check in.

    What has a = is a tag, everything else a device.
    """
    ids = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if not given:
        raise click.UsageError("Give at least one tag, as NAME=VALUE.")
    return _change(settings, ids, where, {"given": given})


@click.command(cls=Command)
@click.argument("words", metavar="[DEVICE] NAME...", nargs=-1, required=True)
@_WHERE
@in_settings
def unlabel(settings: Settings, words: tuple[str, ...], where: str | None) -> int:
    """Remove tags from a device, or from all that meet a filter; they are asked to check in."""
    ids, names = (list(words[:1]), list(words[1:])) if where is None else ([], list(words))
    if not names:
        raise click.UsageError("Name the tags to remove.")
    return _change(settings, ids, where, {"removed": names})


def _change(settings: Settings, ids: list[str], where: str | None, change: Json) -> int:
    if bool(ids) == (where is not None):
        raise click.UsageError("Name the devices, or give --where.")
    answer = settings.client.post("devices/tags", change | ({"where": where} if where is not None else {"ids": ids}))
    if not answer["changed"]:
        put_done(settings, answer, "Nothing to change: no device has other tags than that.")
        return ExitCode.NOTHING_TO_DO
    put_done(settings, answer, f"Tags of {count(len(answer['changed']), 'device')} changed.")
    return ExitCode.DONE
