"""Two controllers, as processes of their own, on one Mosquitto and one PostgreSQL; one of them is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine

from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql
from tests.support.system import PATIENCE_S, System
from tests.support.wait import free_port, wait_until
from wainwright_controller.demo.api import Api
from wainwright_controller.demo.stage import environment
from wainwright_controller.simulate import Fleet, FleetSpec
from wainwright_controller.store import parse_url

DEVICES = 100
ROLLOUT_S = 100.0  # for what takes some fifteen seconds: devices say again what the dead controller was given
FIRST, SECOND = "controller-1", "controller-2"


class Twins(System):
    """Use it with `with`: both controllers are up then; `api` is the second's."""

    def __init__(self, folder: Path, broker_url: str, store_url: str) -> None:
        super().__init__(folder, broker_url, auto_accept=True)
        self.store_url = store_url
        self._ports = {FIRST: free_port(), SECOND: self.stage.http_port}

    def start_controller(self) -> None:
        """Start both, and wait until they are ready."""
        for name in (FIRST, SECOND):
            self.start_one(name)

    def start_one(self, name: str) -> None:
        """Start one of them, and wait until it is ready."""
        own = {
            "DATA_DIR": str(self.stage.folder / name),
            "HTTP__PORT": str(self._ports[name]),
            "BROKER__CLIENT_ID": f"{self.stage.prefix}-{name}",
            "BROKER__SHARE": "fleet",
            "STORE__URL": self.store_url,
            "ARTIFACTS__FOLDER": str(self.stage.folder / "artifacts"),
        }
        env = environment() | {f"WAINWRIGHT_CONTROLLER_{key}": value for key, value in own.items()}
        self.processes.start(name, self.stage.controller_argv, env)
        api = Api(f"http://127.0.0.1:{self._ports[name]}")
        wait_until(api.is_ready, PATIENCE_S, f"{name} to be ready")

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401  what the database holds
        """Return what the database says, past the controllers."""
        engine = create_engine(parse_url(self.store_url), poolclass=NullPool)
        with engine.connect() as connection:
            found = connection.exec_driver_sql(query.replace("?", "%s"), values)
            return [tuple(row) for row in found]

    def leads(self, name: str) -> bool:
        """Say whether a controller has said that it leads."""
        return "this controller now leads in: clock" in self.processes.log(name).read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_controller_that_is_killed_is_replaced_by_the_other_and_nothing_is_lost_or_done_twice(
    mosquitto: Mosquitto, postgresql: Postgresql, tmp_path: Path
) -> None:
    spec = FleetSpec(
        devices=DEVICES,
        device_types=("press", "lathe"),
        download_s=3.0,
        install_s=0.5,
        duplicated=0.05,
        reordered=0.05,
        resend_s=1.0,
        check_in_s=3.0,
        connects_per_s=200,
    )
    with Twins(tmp_path, mosquitto.url, postgresql.database()) as system:
        system.release("next", size=2000)
        wait_until(lambda: system.leads(FIRST) or system.leads(SECOND), PATIENCE_S, "one to lead")
        assert (system.leads(FIRST), system.leads(SECOND)) == (True, False)
        with Fleet(spec, system.address) as fleet:
            wait_until(lambda: all(d.replies for d in fleet.devices.values()), PATIENCE_S, "all to check in")
            # The second phase opens by the clock, which the first controller leads in and does not live to see.
            phases = [{"count": DEVICES // 2}, {"opens": "after", "delay_s": 1.0}]
            deployment_id = system.deploy("next", phases=phases)
            wait_until(
                lambda: system.api.deployment(deployment_id)["counts"].get("downloading"), PATIENCE_S, "downloads"
            )

            system.processes.kill(FIRST)

            deployment = system.finished(deployment_id, ROLLOUT_S)
            assert system.leads(SECOND)
            assert deployment["counts"] == {"success": DEVICES}
            system.start_one(FIRST)  # and gets what the broker kept for it
            wait_until(lambda: not fleet.standing().unacknowledged, PATIENCE_S, "all to be acknowledged")
            system.assert_exact(deployment_id, fleet.ids)
            assert fleet.installed_more_than_once() == []
            assert [sum(m.installed.values()) for m in fleet.memories.values()] == [1] * DEVICES
