"""Whether the controller lives, can work, and what it has done: for people, load balancers and Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from cryptography import x509
from fastapi import Response
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from wainwright_common import __version__
from wainwright_common.statuses import DeploymentStatus
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.api import routing
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import Connected, Liveness, Readiness, Status
from wainwright_controller.pki import PkiError
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, DEVICE

machines = routing.open_router("health")
operators = routing.router("health")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus text exposition format


@machines.get("/healthz")
def healthz() -> Liveness:
    """Say that the process answers."""
    return Liveness(alive=True)


@machines.get("/readyz")
def readyz(context: InContext, response: Response) -> Readiness:
    """Say whether store and broker can be reached; 503 when one cannot."""
    try:
        with context.store.read() as connection:
            connection.execute(select(1))
        store = True
    except SQLAlchemyError:
        store = False
    broker = context.broker_is_connected()
    if not (store and broker):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(ready=store and broker, store=store, broker=broker)


@operators.get("/status")
def status(context: InContext) -> Status:
    """Show the controller at a glance."""
    return _status(context)


@machines.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(context: InContext) -> Response:
    """Give the metrics in Prometheus' text format."""
    now = _status(context)
    taken = {kind.rpartition("/")[2]: n for kind, n in dict(context.counts.taken).items()}  # without "up/"
    lines = [
        *_metric("messages_total", "counter", "Messages taken, by kind.", "kind", taken),
        *_metric("messages_refused_total", "counter", "Messages refused, by reason.", "reason", context.counts.refused),
        *_metric(
            "messages_throttled_total",
            "counter",
            "Messages put off or dropped because their device sent too many, by kind.",
            "kind",
            context.counts.throttled,
        ),
        *_metric("batches_total", "counter", "Transactions of device traffic.", "", {"": context.counts.batches}),
        *_metric("broker_connected", "gauge", "Whether the broker is connected.", "", {"": int(now.broker.connected)}),
        *_metric("connections", "gauge", "HTTP connections.", "", {"": context.crowd.connections.inside}),
        *_metric(
            "connections_turned_away_total",
            "counter",
            "HTTP connections that were refused or ended, by reason.",
            "reason",
            context.crowd.turned_away,
        ),
        *_metric("devices", "gauge", "Devices, by state.", "state", now.devices),
        *_metric("devices_online", "gauge", "Devices that are connected.", "", {"": now.devices_online}),
        *_metric("deployments", "gauge", "Deployments, by status.", "status", now.deployments),
        *_metric("artifacts", "gauge", "Stored artifacts.", "", {"": now.artifacts}),
        *_enrolment(context),
    ]
    return Response("\n".join(lines) + "\n", media_type=METRICS_TYPE)


def _enrolment(context: Context) -> Iterable[str]:
    """Yield what an administrator has to know of the authority: a list that ends stops the fleet."""
    if context.keeper is None:
        return
    with context.store.read() as connection:
        waiting = shelf.count_pending(connection)
        unfinished = shelf.count_unfinished(connection, context.clock())
    yield from _metric("keys_pending", "gauge", "Keys that wait for somebody to decide.", "", {"": waiting})
    text, refused = "Requests for certificates that were refused, by code.", context.enrolments_refused.by_code
    yield from _metric("enrolments_refused_total", "counter", text, "code", refused)
    text = "Revoked certificates whose sessions are not known to have ended."
    yield from _metric("revocations_unfinished", "gauge", text, "", {"": unfinished})
    try:
        authority = context.keeper.authority()
    except PkiError:
        return
    ends = {"issuer": authority.issuer.certificate, "root": authority.root}
    for what, text in (("issuer", "the issuing authority ends"), ("root", "the root ends")):
        left_s = round(ends[what].not_valid_after_utc.timestamp() - context.clock())
        yield from _metric(f"{what}_ends_seconds", "gauge", f"Until {text}, and all that it signed.", "", {"": left_s})
    try:
        crl = x509.load_pem_x509_crl(context.keeper.folder.crl.read_bytes())
    except (OSError, ValueError):
        return
    if crl.next_update_utc is not None:
        left_s = round(crl.next_update_utc.timestamp() - context.clock())
        text = "Until the revocation list ends, and the broker refuses everybody."
        yield from _metric("revocation_list_ends_seconds", "gauge", text, "", {"": left_s})


def _metric(name: str, kind: str, text: str, label: str, values: Mapping[Any, int]) -> Iterable[str]:
    yield f"# HELP wainwright_{name} {text}"
    yield f"# TYPE wainwright_{name} {kind}"
    for value, n in sorted(dict(values).items()):
        labels = f'{{{label}="{value}"}}' if label else ""
        yield f"wainwright_{name}{labels} {n}"


def _status(context: Context) -> Status:
    by_state = select(DEVICE.c.state, func.count()).group_by(DEVICE.c.state)
    by_status = select(DEPLOYMENT.c.status, func.count()).group_by(DEPLOYMENT.c.status)
    online = select(func.count()).select_from(DEVICE).where(DEVICE.c.online.is_(True))
    artifacts = select(func.count(), func.count(ARTIFACT.c.name.distinct())).select_from(ARTIFACT)
    with context.store.read() as connection:
        devices = {row[0]: row[1] for row in connection.execute(by_state)}
        deployments = {row[0]: row[1] for row in connection.execute(by_status)}
        devices_online = connection.execute(online).scalar_one()
        artifact_count, release_count = connection.execute(artifacts).one()
    return Status(
        version=__version__,
        broker=Connected(connected=context.broker_is_connected()),
        devices={state: devices.get(state, 0) for state in DeviceState},
        devices_online=devices_online,
        deployments={standing: deployments.get(standing, 0) for standing in DeploymentStatus},
        releases=release_count,
        artifacts=artifact_count,
    )
