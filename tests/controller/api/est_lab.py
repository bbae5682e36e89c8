"""What the tests of enrolment have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import requests
from sqlalchemy import update

from tests.controller.api.served import Served
from tests.support.est import EstDevice
from wainwright_controller.rows import CERTIFICATE

LIFETIME_S = 3600
NAMES = itertools.count(1)
Make = Callable[..., EstDevice]


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def keys_of(est: Served, name: str) -> dict[str, str]:
    return {key["digest"]: key["state"] for key in est.get(f"devices/{name}")["keys"]}


def accepted(est: Served, device: EstDevice) -> EstDevice:
    est.post("devices/preauthorize", {"keys": {device.name: device.digest}})
    assert device.enrol().status_code == 200
    return device


def token(est: Served, **order: object) -> str:
    body = {"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()} | order
    return str(est.post("enrolment/tokens", body)["token"])


def grown_old(est: Served, device: EstDevice) -> None:
    """Make a device's certificates half an hour old, as far as the controller knows."""
    with est.controller.store.write() as connection:
        earlier = CERTIFICATE.c.issued_at - LIFETIME_S / 2
        connection.execute(update(CERTIFICATE).where(CERTIFICATE.c.name == device.name).values(issued_at=earlier))
