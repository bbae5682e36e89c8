"""When another issuing authority signs, by itself, and what is said where only a person can help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wainwright_controller.pki import Authority, Folder, PkiError, validity
from wainwright_controller.pki.keeper import Keeper
from wainwright_controller.pki.profiles import ISSUING_LIFETIME, ROOT_LIFETIME, new_key

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
LIST_S = 30 * DAY.total_seconds()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "pki")


@pytest.fixture
def authority(folder: Folder) -> Authority:
    return Authority.create(folder, "Test", NOW, 30 * DAY)


def keeper_of(folder: Folder, now: datetime) -> Keeper:
    """Return what a controller begins with, when it is started."""
    return Keeper(folder, "Test", now.timestamp(), LIST_S)


def test_another_issuing_authority_is_due_while_this_one_still_outlives_all_that_it_signs(authority: Authority) -> None:
    assert not validity.is_due(authority, NOW + ISSUING_LIFETIME * 3 / 5 - DAY)
    due = NOW + ISSUING_LIFETIME * 3 / 5 + DAY
    assert validity.is_due(authority, due)

    made = authority.issue_client(new_key().public_key(), "press-07", due, timedelta(days=397))
    assert made.not_valid_after_utc < authority.issuer.certificate.not_valid_after_utc


def test_near_the_end_of_the_root_no_issuing_authority_follows_another_that_ends_with_it(authority: Authority) -> None:
    last = authority.rotate("Test", NOW + ROOT_LIFETIME - ISSUING_LIFETIME + DAY)

    assert last.issuer.certificate.not_valid_after_utc == last.root.not_valid_after_utc
    for days in range(1, 1800, 30):
        assert not validity.is_due(last, last.root.not_valid_after_utc - days * DAY)


def test_a_controller_that_was_away_until_its_issuing_authority_had_ended_makes_another(
    folder: Folder, authority: Authority
) -> None:
    late = NOW + ISSUING_LIFETIME + 20 * DAY

    made = keeper_of(folder, late).authority()

    assert made.issuer.id != authority.issuer.id
    assert {one.id for one in made.issuers} == {made.issuer.id, authority.issuer.id}
    assert made.issue_client(new_key().public_key(), "press-07", late, 90 * DAY).not_valid_after_utc > late + 89 * DAY


def test_an_issuing_authority_that_was_made_by_a_clock_ahead_is_replaced_when_the_clock_is_right(
    folder: Folder, authority: Authority
) -> None:
    """Its certificates would be valid in some years."""
    keeper_of(folder, NOW + 4 * 365 * DAY)

    made = keeper_of(folder, NOW).authority()

    assert made.issuer.certificate.not_valid_before_utc < NOW
    assert len(made.issuers) == 3
    assert authority.issuer.id in {one.id for one in made.issuers}


def test_an_authority_of_which_nothing_is_valid_now_is_refused_with_what_to_do(
    folder: Folder, authority: Authority
) -> None:
    late = NOW + ISSUING_LIFETIME + 20 * DAY
    for clock in (datetime(1970, 1, 2, tzinfo=UTC), NOW + ROOT_LIFETIME + DAY):
        with pytest.raises(PkiError, match=r"The root .* set the clock .*wainwright ca init"):
            keeper_of(folder, clock)
    authority.folder.root_key.unlink()
    with pytest.raises(PkiError, match=r"ended at .* set the clock .* bring .*root.key back"):
        keeper_of(folder, late)
    with pytest.raises(PkiError, match=r"ended at .* and signs nothing more"):
        authority.issue_client(new_key().public_key(), "press-07", late, 90 * DAY)


def test_no_authority_is_made_by_a_machine_without_a_clock(folder: Folder) -> None:
    """It would have ended before the first device asked."""
    with pytest.raises(PkiError, match="clock says 1970-01-02"):
        keeper_of(folder, datetime(1970, 1, 2, tzinfo=UTC))
    assert not folder.root.exists()
    keeper_of(folder, NOW)
    assert folder.root.exists()


def test_a_person_is_told_in_time_what_only_a_person_can_do(authority: Authority) -> None:
    def said(after: timedelta) -> str:
        return " ".join(validity.warnings(authority, NOW + after))

    assert said(ISSUING_LIFETIME * 3 / 5 + DAY) == ""  # the controller makes another by itself
    authority.folder.root_key.unlink()
    assert said(ISSUING_LIFETIME * 3 / 5 - DAY) == ""
    assert "wainwright ca rotate --request" in said(ISSUING_LIFETIME * 3 / 5 + DAY)
    assert "bring" in said(ISSUING_LIFETIME + DAY)
    assert "The root" not in said(ROOT_LIFETIME - validity.ROOT_WARNED - DAY)
    assert "The root" in said(ROOT_LIFETIME - validity.ROOT_WARNED + DAY)
