"""What a session's cookie proves, without a store and without a clock."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wainwright_controller.people import CONFIGURATION, NotAuthenticated, Session, digest
from wainwright_controller.sessions import AHEAD_MAX_S, LIFETIME_S, Sessions

KEY = bytes(range(32))
TOKEN_ID = "0123456789ab"
NOW = 1_800_000_000.75
SESSIONS = Sessions(KEY, digest("sesame"))


def refused(sessions: Sessions, cookie: str, now: float = NOW) -> bool:
    try:
        sessions.check(cookie, now)
    except NotAuthenticated:
        return True
    return False


def test_a_cookie_says_which_token_it_stands_for_and_when_it_ends() -> None:
    cookie = SESSIONS.make(TOKEN_ID, NOW)
    signature = cookie.rpartition(".")[2]
    assert SESSIONS.check(cookie, NOW) == Session(TOKEN_ID, int(NOW) + LIFETIME_S, signature)
    assert SESSIONS.check(SESSIONS.make(None, NOW), NOW).token_id == CONFIGURATION


def test_a_cookie_ends_after_its_lifetime_and_not_a_second_earlier() -> None:
    cookie = SESSIONS.make(TOKEN_ID, NOW)

    assert not refused(SESSIONS, cookie, int(NOW) + LIFETIME_S - 0.001)
    assert refused(SESSIONS, cookie, int(NOW) + LIFETIME_S)


def test_a_cookie_that_a_clock_ahead_has_made_ends_when_that_is_set_back() -> None:
    """It would last twelve hours, and for as long as the clock had been ahead: years, perhaps."""
    cookie = SESSIONS.make(TOKEN_ID, NOW)

    assert not refused(SESSIONS, cookie, NOW - AHEAD_MAX_S + 1)  # another controller's clock
    assert refused(SESSIONS, cookie, NOW - AHEAD_MAX_S - 1)


@given(position=st.integers(0, 112), character=st.characters(max_codepoint=0x2FFF))
def test_a_cookie_that_was_changed_anywhere_is_refused(position: int, character: str) -> None:
    cookie = SESSIONS.make(TOKEN_ID, NOW)
    changed = cookie[: position % len(cookie)] + character + cookie[position % len(cookie) + 1 :]

    assert refused(SESSIONS, changed) is (changed != cookie)


@given(st.text(max_size=120))
def test_what_is_no_cookie_is_refused_and_nothing_else_happens(text: str) -> None:
    assert refused(SESSIONS, text)


@pytest.mark.parametrize(
    "form",
    [
        "{0}",
        "{0}.{1}.{2}",
        "{0}.{1}.{3}",
        "{0}.{1}.{2}.",
        "{0}.{1}.{2}.{3}.",
        ".{0}.{1}.{2}.{3}",
        "{0}.0{1}.{2}.{3}",
        "{0}.+{1}.{2}.{3}",
        "{0}.{1}.{2}.{3}\n",
    ],
)
def test_a_cookie_has_one_form_only(form: str) -> None:
    assert refused(SESSIONS, form.format(*SESSIONS.make(TOKEN_ID, NOW).split(".")))


def test_digits_of_other_scripts_are_no_digits() -> None:
    token_id, expires, number, signature = SESSIONS.make(TOKEN_ID, NOW).split(".")
    arabic = expires.translate({ord("0") + n: 0x660 + n for n in range(10)})

    assert int(arabic) == int(expires)
    assert refused(SESSIONS, f"{token_id}.{arabic}.{number}.{signature}")


def test_a_signature_for_one_thing_is_none_for_another() -> None:
    """The parts that are signed cannot be moved against each other, nor taken for a page's value."""
    token_id, expires, number, signature = SESSIONS.make(TOKEN_ID, NOW).split(".")

    assert refused(SESSIONS, f"{CONFIGURATION}.{expires}.{number}.{signature}")
    assert refused(SESSIONS, f"{token_id[:-1]}c.{expires}.{number}.{signature}")
    assert refused(SESSIONS, f"{token_id}.{int(expires) + 1}.{number}.{signature}")
    assert refused(SESSIONS, f"{token_id}.{expires}.{number[::-1]}.{signature}")
    session = f"{TOKEN_ID}.{expires}.{number}"
    for text in (session, f"{session}.", f"{TOKEN_ID}\n{expires}\n{number}\n"):
        assert refused(SESSIONS, f"{session}.{SESSIONS.csrf(text)}")


def test_another_key_makes_and_takes_other_cookies() -> None:
    other = Sessions(secrets.token_bytes(32), digest("sesame"))

    assert refused(other, SESSIONS.make(TOKEN_ID, NOW))
    assert other.csrf("x") != SESSIONS.csrf("x")


def test_another_token_of_the_configuration_ends_its_sessions_and_no_other() -> None:
    changed, removed = Sessions(KEY, digest("another")), Sessions(KEY)
    mine, of_a_user = SESSIONS.make(None, NOW), SESSIONS.make(TOKEN_ID, NOW)

    assert refused(changed, mine)
    assert refused(removed, mine)
    assert not refused(changed, of_a_user)
    assert not refused(removed, of_a_user)


def test_a_pages_value_is_of_its_session_alone_and_is_not_the_cookie() -> None:
    one, two = SESSIONS.make(TOKEN_ID, NOW), SESSIONS.make(TOKEN_ID, NOW)

    assert len({SESSIONS.csrf(one), SESSIONS.csrf(two), SESSIONS.csrf("")}) == 3
    assert SESSIONS.csrf(one) == SESSIONS.csrf(one)
    assert one.rpartition(".")[2] not in SESSIONS.csrf(one)
    assert len(SESSIONS.csrf("\ud800\x00")) == 64
