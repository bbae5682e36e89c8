"""A deployment as `deployment show` prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wainwright_common.statuses import GOOD
from wainwright_controller.cli.device import error_of
from wainwright_controller.cli.narration import WITHOUT, needs_a_person, next_step, opening, progress, standing
from wainwright_controller.cli.output import Columns, Json, fields, table
from wainwright_controller.cli.words import ago, count, short, size, span

UNDER_WAY = ("downloading", "installing", "rebooting")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

PHASES: Columns = {
    "PHASE": lambda p: p["number"],
    "DEVICES": lambda p: p["size"],
    "WAITING": lambda p: p["counts"].get("pending", 0),
    "WORKING": lambda p: sum(p["counts"].get(status, 0) for status in UNDER_WAY),
    "SUCCEEDED": lambda p: sum(p["counts"].get(status, 0) for status in GOOD),
    "FAILED": lambda p: p["counts"].get("failure", 0),
}
FAILURES: Columns = {
    "FAILED": lambda f: f["devices"],
    "AGAIN": lambda f: f["again"],
    "ERROR": lambda f: f["code"],
    "FIRST": lambda f: f["first"][0],
    "TEXT": lambda f: f["text"],
}
PARTS: Columns = {
    "DEVICE": lambda p: p["device_id"],
    "PHASE": lambda p: p["phase"],
    "STATUS": lambda p: p["status"],
    "ATTEMPT": lambda p: p["attempt"],
    "CHANGED": lambda p: ago(p["updated_at"]),
    "DETAIL": lambda p: detail_of(p),  # noqa: PLW0108  defined below
}


def about(deployment: Json, failures: Json) -> Iterable[str]:
    """Yield what is to be said of a deployment, with a page of its failures."""
    yield from fields(
        [
            ("name", deployment["name"]),
            ("id", deployment["id"]),
            ("release", deployment["artifact_name"]),
            ("to", _target(deployment)),
            ("strategy", deployment["strategy"]),
            ("filter", deployment.get("where")),
            ("at most", count(deployment["max_devices"], "device") if "max_devices" in deployment else None),
            ("status", f"{standing(deployment)}, {progress(deployment)}"),
            ("held", deployment.get("hold_reason")),
            ("regressed", count(deployment["regressed"], "device") if deployment["regressed"] else None),
            ("rollback", _rollback(deployment)),
            ("undoes", short(deployment.get("rolls_back"))),
            ("retry of", short(deployment.get("retry_of"))),
            ("possible", deployment["allowed"]),
            *conditions(deployment),
            ("retries", deployment["retries"] or None),
            ("created", f"{ago(deployment['created_at'])} by {deployment['created_by']}"),
            ("approved by", deployment.get("approved_by")),
            ("started", ago(deployment.get("started_at"))),
            ("finished", ago(deployment.get("finished_at"))),
        ]
    )
    yield from table(deployment["phases"], _phase_columns(deployment))
    yield from _failed(deployment, failures)
    if needs_a_person(deployment) and (step := next_step(deployment)):
        yield step


def _failed(deployment: Json, failures: Json) -> Iterable[str]:
    """Yield the errors, each once with its devices, and how to see more of them."""
    if not failures["items"]:
        return
    name = short(deployment["id"])
    again = any(failure["again"] for failure in failures["items"])
    yield "errors:"
    columns = {name: show for name, show in FAILURES.items() if again or name != "AGAIN"}
    yield from table(failures["items"], columns, indent=2)
    if (more := failures["total"] - len(failures["items"])) > 0:
        yield f"  and {count(more, 'other error')}"
    if deployment["counts"].get("failure"):
        yield f"All that failed: wainwright deployment show {name} --devices --status failure"
    yield f"A log of one:    wainwright device logs {failures['items'][0]['first'][0]} {name}"


def detail_of(part: Json) -> str:
    """Return what a person has to know of one device beyond its status."""
    said = [error_of(part) or part.get("substate") or ""]
    if "regressed_at" in part:
        said.append(f"fell back {ago(part['regressed_at'])}")
    if "restore_name" in part:
        said.append(f"gets {part['restore_name']} back")
    return "; ".join(filter(None, said))


def _target(deployment: Json) -> str:
    devices = count(deployment["device_count"], "device")
    return devices if deployment["target"] == devices else f"{deployment['target']}, {devices}"


def _phase_columns(deployment: Json) -> Columns:
    """Return the columns of a deployment's phases; the rare ones where there is something in them."""
    is_over = deployment["status"] == "finished"
    rare: Columns = {
        word.upper(): lambda p, status=status: p["counts"].get(status, 0)  # type: ignore[misc]  # bound for the loop
        for status, word in WITHOUT.items()
        if status != "failure" and deployment["counts"].get(status)
    }
    return {**PHASES, **rare, "": lambda p: opening(p, is_over=is_over)}


def _rollback(deployment: Json) -> str | None:
    rollback = deployment.get("rollback")
    return f"{standing(rollback)}, {rollback['summary']} ({short(rollback['id'])})" if rollback else None


def conditions(deployment: Json) -> Iterator[tuple[str, str]]:
    """Yield name and words of each condition that a deployment, or an order, has."""
    for limit in deployment.get("limits", []):
        yield "limit", limit_told(limit)
    if told := pace_told(deployment.get("pace", {})):
        yield "pace", told
    for name, seconds in deployment.get("time_limits", {}).items():
        yield f"{name.removesuffix('_s')} at most", span(seconds)
    policy = deployment.get("policy", {})
    for window in policy.get("windows", []):
        days = ",".join(DAYS[day - 1] for day in window.get("days", []))
        yield "window", f"{days + ' ' if days else ''}{window['start']}-{window['end']}, by the device's clock"
    if "bytes_per_second" in policy:
        yield "bandwidth", f"{size(policy['bytes_per_second'])}/s for each device"
    if policy.get("download_only"):
        yield "devices", "download, and do not install before `deployment install`"


def limit_told(limit: Json) -> str:
    """Return a limit on failures in words."""
    most = f"{limit['count']}" if "count" in limit else f"{limit['percent']:g}%"
    tried = "" if "count" in limit else " of those tried"
    sample = f", once {limit['min_sample']} were tried" if limit.get("min_sample", 1) > 1 else ""
    codes = f" with {' or '.join(limit['codes'])}" if limit.get("codes") else ""
    return f"{limit.get('action', 'pause')} when more than {most}{tried} have failed{codes}{sample}"


def pace_told(pace: Json) -> str:
    """Return a pace in words, empty without one."""
    said = []
    if "per_minute" in pace:
        said.append(f"{pace['per_minute']:g} offers a minute")
    if pace.get("factor", 1) > 1 and "every" in pace:
        top = f", up to {pace['max_per_minute']:g} a minute" if "max_per_minute" in pace else ""
        said.append(f"times {pace['factor']:g} after every {pace['every']}{top}")
    if "concurrency" in pace:
        said.append(f"at most {count(pace['concurrency'], 'device')} at once")
    return ", ".join(said)
