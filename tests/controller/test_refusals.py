"""How much of what is refused is kept, and counted: nobody is to fill a log by being refused."""

from __future__ import annotations

import pytest

from wainwright_controller.refusals import EACH_BURST, EACH_REFILL_S, EnrolmentsRefused


def test_of_many_devices_that_are_refused_a_few_lines_of_each_address_are_logged_and_all_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = EnrolmentsRefused()
    for _ in range(EACH_BURST + 5):
        refused.note("token-invalid", "192.0.2.1", "press-07", "It was used up.", 0.0)
    assert len(caplog.records) == EACH_BURST

    refused.note("token-invalid", "192.0.2.2", "press-08", "It was used up.", 0.0)
    refused.note("token-invalid", "192.0.2.1", "press-07", "It was used up.", EACH_REFILL_S)

    assert [one.getMessage() for one in caplog.records[EACH_BURST:]] == [
        "enrolment of press-08 refused to 192.0.2.2: token-invalid: It was used up. (5 left out before)",
        "enrolment of press-07 refused to 192.0.2.1: token-invalid: It was used up.",
    ]
    assert refused.by_code == {"token-invalid": EACH_BURST + 7}


def test_devices_that_are_refused_again_and_again_for_what_is_known_are_counted_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = EnrolmentsRefused()
    for code in ("rejected", "decommissioned", "csr-unreadable", "too-many-pending"):
        refused.note(code, "192.0.2.1", "", "No.", 0.0)

    assert caplog.records == []
    assert refused.by_code == dict.fromkeys(("rejected", "decommissioned", "csr-unreadable", "too-many-pending"), 1)
