"""/api/v1/deployments/ID/…: what a person may do with a deployment; rules/actions.py says when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import msgspec

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.deployments import found, shown
from wainwright_controller.api.models import DeploymentOut, PromotionIn, ReasonIn, RollbackPlanOut
from wainwright_controller.people import Actor
from wainwright_controller.records import Deployment

router = routing.router("deployments", "/deployments/{deployment_id}")
_NO_REASON = ReasonIn()
_THE_NEXT = PromotionIn()


@router.post("/start")
def start_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Start a deployment that waits for its start, or for its time."""
    return _act(context, actor, deployment_id, context.operations.start, body)


@router.post("/approve")
def approve_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Let a deployment go on that waits for an approval; for admins, and not for who made it."""
    return _act(context, actor, deployment_id, context.operations.approve, body)


@router.post("/deny")
def deny_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """End a deployment that waits for an approval; for admins."""
    return _act(context, actor, deployment_id, context.operations.deny, body)


@router.post("/promote")
def promote_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: PromotionIn = _THE_NEXT
) -> DeploymentOut:
    """Open the next phase, whether or not its turn has come."""
    return _act(context, actor, deployment_id, partial(context.operations.promote, phase=body.phase), body)


@router.post("/approve-batch")
def approve_batch(
    deployment_id: str, context: InContext, actor: InActor, body: PromotionIn = _THE_NEXT
) -> DeploymentOut:
    """Open the next batch: the same as `promote`."""
    return promote_deployment(deployment_id, context, actor, body)


@router.post("/pause")
def pause_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Make no more offers until it is resumed; devices under way go on."""
    return _act(context, actor, deployment_id, context.operations.pause, body)


@router.post("/resume")
def resume_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Go on with a paused deployment; what has failed by now is acknowledged, and counts for no limit again."""
    return _act(context, actor, deployment_id, context.operations.resume, body)


@router.post("/install")
def install_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Let devices install what they were told to download only."""
    return _act(context, actor, deployment_id, context.operations.install, body)


@router.post("/rollback")
def rollback_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Stop a deployment, and give its devices back what they ran before; `rollback` in the answer is how."""
    return _act(context, actor, deployment_id, context.operations.rollback, body)


@router.post("/finish")
def finish_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Let no more devices join a dynamic deployment, and let those go that wait; who waits to try again has failed."""
    return _act(context, actor, deployment_id, context.operations.finish, body)


@router.post("/abort")
def abort_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """End a deployment: devices under way stop, and roll back what they have not committed."""
    return _act(context, actor, deployment_id, context.operations.abort, body)


@router.post("/retry", status_code=HTTPStatus.CREATED)
def retry_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Make a deployment of the same release to the devices that failed; the answer is the new one."""
    return _act(context, actor, deployment_id, context.operations.retry, body)


@router.get("/rollback-plan")
def plan_rollback(deployment_id: str, context: InContext) -> RollbackPlanOut:
    """Say what a rollback would do, and do nothing: how many devices get which release back, and who cannot."""
    plan = context.operations.plan_rollback(found(context, deployment_id).id)
    return RollbackPlanOut(**msgspec.to_builtins(plan))


def _act(
    context: Context, actor: Actor, reference: str, act: Callable[[str, str, str], Deployment], body: ReasonIn
) -> DeploymentOut:
    deployment = act(found(context, reference).id, actor.name, body.reason)
    return shown(context, deployment.id)
