"""The few calls of the controller's HTTP API that the demo needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from wainwright_common.errors import WainwrightError

TIMEOUT_S = 30.0  # for one answer of a controller on this machine, however busy
PAGE = 500  # items; a demo has fewer

Json = dict[str, Any]


class ApiError(WainwrightError):
    """The controller refused, or does not answer."""


class Api:
    """The controller's HTTP API at `url`, trusted by the authority `ca` if it is HTTPS. All calls raise ApiError."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        self.url = url
        self._session = requests.Session()
        if ca is not None:
            self._session.verify = str(ca)
        self._session.trust_env = False  # a proxy cannot reach this machine's loopback

    def is_ready(self) -> bool:
        """Whether the controller answers and can work."""
        try:
            return bool(self._session.get(f"{self.url}/readyz", timeout=TIMEOUT_S).ok)
        except OSError:  # requests' own errors are; and so is that there is no authority yet
            return False

    def devices(self) -> dict[str, Json]:
        """Return all devices by id."""
        items: list[Json] = self.call("GET", "/devices", params={"limit": PAGE})["items"]
        return {item["id"]: item for item in items}

    def accept_all(self) -> None:
        """Accept every device that asks to join."""
        self.call("POST", "/devices/accept", json={"ids": [], "all_pending": True})

    def enrolment_token(self, devices: int) -> str:
        """Make a token by which so many devices get a certificate without being asked about, within the hour."""
        until = datetime.now(UTC) + timedelta(hours=1)
        made = self.call("POST", "/enrolment/tokens", json={"budget": devices, "expires_at": until.isoformat()})
        return str(made["token"])

    def upload(self, path: Path) -> Json:
        """Upload an artifact."""
        with path.open("rb") as file:
            return self.call("POST", "/artifacts", data=file, headers={"Content-Type": "application/octet-stream"})

    def deploy(self, **order: object) -> Json:
        """Create a deployment."""
        return self.call("POST", "/deployments", json=order)

    def deployment(self, deployment_id: str) -> Json:
        """Return a deployment as it stands."""
        return self.call("GET", f"/deployments/{deployment_id}")

    def promote(self, deployment_id: str, reason: str) -> Json:
        """Open the next phase."""
        return self.call("POST", f"/deployments/{deployment_id}/promote", json={"reason": reason})

    def parts(self, deployment_id: str) -> dict[str, Json]:
        """Return the devices of a deployment, by id, in the order of the phases."""
        items: list[Json] = self.call("GET", f"/deployments/{deployment_id}/devices", params={"limit": PAGE})["items"]
        return {item["device_id"]: item for item in items}

    def timeline(self, deployment_id: str) -> list[Json]:
        """Return what happened in a deployment so far, oldest first."""
        items: list[Json] = []
        page: Json = {"next": None}
        while "next" in page:
            params = {"limit": PAGE, "cursor": page["next"]}
            page = self.call("GET", f"/deployments/{deployment_id}/timeline", params=params)
            items += page["items"]
        return items

    def call(self, method: str, path: str, **how: Any) -> Json:  # noqa: ANN401  what requests takes
        """Return the answer to a request; `path` begins below /api/v1, `how` is what requests takes."""
        try:
            response = self._session.request(method, f"{self.url}/api/v1{path}", timeout=TIMEOUT_S, **how)
        except requests.RequestException as error:
            raise ApiError(f"The controller at {self.url} does not answer: {error}.") from error
        if not response.ok:
            raise ApiError(f"The controller refused {method} {path}: {response.status_code} {response.text[:500]}")
        answer: Json = response.json()
        return answer
