"""docs/rollouts.md: which test holds which feature, generated from the table here.

To write it anew: python -m tests.support.rollouts_page
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "system" / "features"

# Each feature, and the tests that hold it: test_FILE.py and the name of the test, without its `test_`.
ROWS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "random unique id": (("targets", "a_deployment_has_a_random_id_that_no_other_has"),),
    "only accepted devices": (("targets", "only_accepted_devices_get_a_deployment"),),
    "a device finishes a deployment once": (("targets", "a_device_finishes_a_deployment_once"),),
    "oldest first": (("targets", "a_device_that_was_offline_gets_the_oldest_deployment_first"),),
    "static group frozen": (("targets", "a_static_group_is_frozen_when_the_deployment_is_made"),),
    "finished when all have finished": (
        ("targets", "a_static_deployment_is_finished_when_all_its_devices_have_finished"),
    ),
    "dynamic stays open": (("targets", "a_dynamic_deployment_stays_open_for_whoever_comes_to_match"),),
    "dynamic finished by a person, or by its largest number": (
        ("targets", "a_dynamic_deployment_is_finished_by_a_person"),
        ("targets", "a_dynamic_deployment_is_finished_by_its_largest_number_of_devices"),
    ),
    "one static group, many dynamic ones": (("targets", "a_device_is_in_one_static_group_and_in_many_dynamic_ones"),),
    "all ten statuses of a device": (("statuses", "a_real_device_reaches_all_ten_statuses"),),
    "artifact by compatibility": (
        ("statuses", "each_device_gets_the_artifact_that_is_compatible_with_it"),
        ("statuses", "a_release_reaches_devices_of_two_types_and_one_that_fails_rolls_back"),
    ),
    "`noartifact`": (("statuses", "a_device_that_no_artifact_fits_ends_as_noartifact_and_is_left_alone"),),
    "`already-installed`": (("statuses", "a_device_that_runs_the_release_ends_as_already_installed"),),
    "phases with and without an active one": (
        ("strategies", "with_an_active_phase_its_devices_are_updated_and_the_others_wait"),
        ("strategies", "without_an_active_phase_nobody_is_offered_anything_until_one_opens"),
    ),
    "retries, time limits": (
        ("statuses", "a_device_that_failed_waits_and_is_given_its_retries"),
        ("statuses", "a_device_that_dies_in_its_download_fails_by_the_time_limit"),
    ),
    "logs stored": (("history", "the_logs_of_a_success_and_of_a_failure_are_stored_and_read_by_an_operator"),),
    "canary, promoted by hand and by itself": (
        ("strategies", "a_canary_is_promoted_by_hand"),
        ("strategies", "a_canary_is_promoted_by_itself_after_a_delay"),
    ),
    "rolling, by hand and by itself": (
        ("strategies", "a_rolling_deployment_goes_on_batch_by_batch_by_hand"),
        ("strategies", "a_rolling_deployment_goes_on_batch_by_batch_by_itself"),
    ),
    "automatic rollback, by percent and by count": (
        ("strategies", "too_large_a_percentage_of_failures_rolls_a_deployment_back_by_itself"),
        ("strategies", "too_many_failures_roll_a_deployment_back_by_themselves"),
    ),
    "approval": (
        ("lifecycle", "a_deployment_that_asks_for_approval_goes_on_once_another_admin_approves_it"),
        ("lifecycle", "a_deployment_that_is_denied_ends_and_nobody_gets_it"),
    ),
    "pause and resume": (("lifecycle", "a_deployment_is_paused_and_resumed"),),
    "rollback with a reason": (("lifecycle", "a_deployment_is_rolled_back_with_a_reason"),),
    "download now, install later": (("statuses", "devices_that_are_to_download_only_install_when_a_person_lets_them"),),
    "abort": (
        ("lifecycle", "a_deployment_is_aborted_and_devices_under_way_stop"),
        ("statuses", "why_says_that_an_update_is_under_way_and_an_abort_leaves_the_device_as_it_was"),
    ),
    "delete once finished": (("lifecycle", "a_deployment_is_deleted_once_it_is_finished_and_not_before"),),
    "filters and sorts": (
        ("history", "deployments_are_found_by_filters"),
        ("history", "deployments_are_sorted_also_piece_by_piece"),
        ("history", "a_cursor_of_one_order_is_refused_by_another"),
    ),
    "timeline": (("history", "a_timeline_says_who_did_what_when_and_why"),),
    "`why`": (
        ("statuses", "why_says_that_a_device_is_not_accepted_and_then_that_no_deployment_concerns_it"),
        ("statuses", "why_says_that_a_phase_is_closed_until_a_person_opens_it"),
    ),
    "Margo states": (("lifecycle", "a_deployment_and_its_devices_go_through_all_margo_states"),),
}


def defined() -> set[tuple[str, str]]:
    """Return the tests that the folder has, in the form of ROWS."""
    found = set()
    for path in FOLDER.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add((path.stem.removeprefix("test_"), node.name.removeprefix("test_")))
    return found


def table() -> str:
    """Return the table: a row for each feature, its tests as sentences."""
    lines = ["| feature | is held by |", "|---|---|"]
    for feature, tests in ROWS.items():
        held = "; ".join(f"{name.replace('_', ' ')} ({_link(file)})" for file, name in tests)
        lines.append(f"| {feature} | {held} |")
    return "\n".join(lines)


def _link(file: str) -> str:
    return f"[{file}](../tests/system/features/test_{file}.py)"
