"""The controller's own connection to the embedded broker, by NATS's protocol: for limits, and for who is let in.

The broker has no settings for the limits of its queues. It makes them for the first client; once they are limited, they
stay so, on the disk.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from wainwright_common.errors import WainwrightError
from wainwright_controller.embedded.configuration import INBOX, KEEPER, streams
from wainwright_controller.embedded.doorman import Doorman
from wainwright_controller.mosquitto import Limits

LOG = logging.getLogger(__name__)

TIMEOUT_S = 5  # for an answer, which takes a millisecond
PAUSE_S = 0.2  # between two looks whether the first client has come
NOT_FOUND = 404


class QueueError(WainwrightError):
    """The broker does not take the limits of a queue."""


async def keep(url: str, secret: str, limits: Limits, doorman: Doorman | None, on_open: Callable[[], None]) -> None:
    """Let people in, if somebody has to, and limit the queues. With a doorman, returns when the connection is lost.

    `on_open` is called when the doorman is at work.

    Raises QueueError, and OSError and NatsError when there is no connection.
    """
    lost = asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    client = await nats.connect(
        url,
        user=KEEPER,
        password=secret,
        inbox_prefix=INBOX.encode(),
        allow_reconnect=False,
        max_reconnect_attempts=1,  # or it would try the first connection 60 times, to a process that is gone
        connect_timeout=TIMEOUT_S,
        error_cb=_ignore,
        closed_cb=on_lost,
    )
    try:
        if doorman is not None:
            await doorman.serve(client)
            await client.flush(TIMEOUT_S)
            on_open()
        for name, wanted in streams(limits).items():
            await _limit(client, name, wanted)
        if doorman is not None:
            await lost.wait()
    finally:
        await client.close()


async def _limit(client: Client, name: str, limits: Mapping[str, object]) -> None:
    while True:
        found = await _ask(client, f"$JS.API.STREAM.INFO.{name}")
        if found.get("error", {}).get("code") != NOT_FOUND:
            break
        await asyncio.sleep(PAUSE_S)
    present = found.get("config", {})
    if limits.items() <= present.items():
        return
    changed = await _ask(client, f"$JS.API.STREAM.UPDATE.{name}", present | dict(limits))
    if "error" in changed:
        raise QueueError(f"The embedded broker does not take limits of {name}: {changed['error']}.")
    LOG.debug("limited %s to %s", name, dict(limits))


async def _ask(client: Client, subject: str, question: object = None) -> dict[str, Any]:
    payload = b"" if question is None else json.dumps(question).encode()
    answer = await client.request(subject, payload, timeout=TIMEOUT_S)
    decoded: dict[str, Any] = json.loads(answer.data)
    return decoded


async def _ignore(_error: Exception) -> None:
    """Say nothing of errors that the caller is raised as well."""


__all__ = ["NatsError", "QueueError", "keep"]
