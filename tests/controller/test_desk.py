"""The desk under a crowd: budgets and names hold, however many ask at once and however many controllers answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.est import csr_of, new_key
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.desk import BadEnrolmentToken, Desk, EnrolmentRefused, Settings, Waiting
from wainwright_controller.operations import Operations
from wainwright_controller.pki import Folder
from wainwright_controller.pki.csr import Csr, read
from wainwright_controller.pki.keeper import Keeper
from wainwright_controller.records import Certificate, DeviceState, KeyState
from wainwright_controller.store import Store
from wainwright_controller.waker import Waker

CROWD = 12
DAY_S = 86_400.0
SETTINGS = Settings(lifetime_s=3600.0, auto_accept=False, pending_max=100)


@pytest.fixture
def desks(store: Store, store_url: str, tmp_path: Path) -> Iterator[list[Desk]]:
    """The desks of two controllers on one store and one authority."""
    other = Store(store_url)
    keepers = [Keeper(Folder(tmp_path / "pki"), "Test", time.time(), 86_400.0) for _ in range(2)]
    yield [Desk(one, keeper, SETTINGS) for one, keeper in zip((store, other), keepers, strict=True)]
    other.close()


@pytest.fixture
def operations(store: Store) -> Operations:
    return Operations(store, Bulletin(), Waker(lambda *_: None))


def request(name: str) -> Csr:
    return read(csr_of(name, new_key()))


def at_once(asks: list[Callable[[], object]]) -> list[object]:
    """Do all at once; returns what each came to, an exception for what it raised."""
    ends: list[object] = []
    gate = threading.Barrier(len(asks))

    def run(ask: Callable[[], object]) -> None:
        gate.wait()
        try:
            ends.append(ask())
        except Exception as error:  # noqa: BLE001  the test looks at it
            ends.append(error)

    threads = [threading.Thread(target=run, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ends


def kinds(ends: list[object]) -> dict[str, int]:
    return {name: sum(type(end).__name__ == name for end in ends) for name in {type(end).__name__ for end in ends}}


def test_a_token_is_used_as_often_as_its_budget_says_and_not_once_more(
    desks: list[Desk], operations: Operations
) -> None:
    made = operations.create_enrolment_token("anna", expires_at=time.time() + 600, budget=5)
    crowd = [request(f"press-{n}") for n in range(CROWD)]

    ends = at_once([lambda n=n, csr=csr: desks[n % 2].enrol(csr, "", made.text) for n, csr in enumerate(crowd)])  # type: ignore[misc]  # the defaults bind the loop's values

    assert kinds(ends) == {"Certificate": 5, "BadEnrolmentToken": CROWD - 5}
    with operations.store.read() as connection:
        token = shelf.load_token(connection, made.id)
    assert token is not None
    assert (token.used, token.budget) == (5, 5)


def test_of_many_who_race_for_a_name_one_has_it(desks: list[Desk], operations: Operations) -> None:
    made = operations.create_enrolment_token("anna", expires_at=time.time() + 600, budget=CROWD)
    crowd = [request("press-07") for _ in range(CROWD)]

    ends = at_once([lambda n=n, csr=csr: desks[n % 2].enrol(csr, "", made.text) for n, csr in enumerate(crowd)])  # type: ignore[misc]  # as above

    assert kinds(ends)["Certificate"] == 1
    assert all(isinstance(end, Certificate | Waiting | EnrolmentRefused) for end in ends), ends
    with operations.store.read() as connection:
        keys = shelf.load_keys(connection, ["press-07"])["press-07"]
        token = shelf.load_token(connection, made.id)
    assert [key.state for key in keys].count(KeyState.ACCEPTED) == 1
    assert token is not None
    assert token.used == 1


def test_one_device_that_asks_everywhere_at_once_gets_one_certificate(
    desks: list[Desk], operations: Operations
) -> None:
    csr = request("press-07")
    operations.preauthorize(["press-07"], "anna", {"press-07": csr.digest})

    ends = at_once([lambda n=n: desks[n % 2].enrol(csr, "") for n in range(CROWD)])  # type: ignore[misc]  # as above

    assert len({end.serial for end in ends if isinstance(end, Certificate)}) == 1
    assert kinds(ends) == {"Certificate": CROWD}


def test_a_device_may_wait_at_one_controller_and_be_accepted_at_the_other(
    desks: list[Desk], operations: Operations
) -> None:
    csr = request("press-07")
    assert isinstance(desks[0].enrol(csr, "192.0.2.1"), Waiting)

    assert operations.decide_devices(["press-07"], DeviceState.ACCEPTED, "anna") == ["press-07"]

    assert isinstance(desks[1].enrol(csr, "192.0.2.1"), Certificate)
    with pytest.raises(BadEnrolmentToken):
        desks[1].enrol(request("press-08"), "", "wwe_000000000000_" + "A" * 43)


def test_a_rotation_by_one_controller_is_seen_by_the_other(desks: list[Desk]) -> None:
    before = desks[1].keeper.authority().issuer.id

    desks[0].keeper.authority().rotate("Test", desks[0].keeper.authority().root.not_valid_before_utc)

    assert desks[1].keeper.authority().issuer.id != before
    assert desks[1].keeper.authority().issuer.id == desks[0].keeper.authority().issuer.id


def test_who_is_refused_and_who_waits_again_writes_nothing(desks: list[Desk], operations: Operations) -> None:
    """Questions of strangers must not take turns with the fleet's traffic."""
    waiting, refused = request("press-07"), request("press-08")
    desks[0].enrol(waiting, "")
    desks[0].enrol(refused, "")
    operations.decide_devices(["press-08"], DeviceState.REJECTED, "anna")

    with operations.store.write():  # whoever wants to write now, waits for ever
        ends = at_once([lambda: desks[1].enrol(waiting, ""), lambda: desks[1].enrol(refused, "")])

    assert kinds(ends) == {"Waiting": 1, "EnrolmentRefused": 1}


# ---- with the same key, a while later ---------------------------------------------------------------------------


@pytest.fixture
def given(store: Store, operations: Operations, tmp_path: Path) -> Callable[[float, float], Certificate]:
    """`given(day, days)` is what a device is given on a day by a controller whose certificates hold for so many."""
    csr, began = request("press-07"), time.time()
    keeper = Keeper(Folder(tmp_path / "pki"), "Test", began, DAY_S)
    operations.preauthorize(["press-07"], "anna", {"press-07": csr.digest})

    def given(day: float, days: float) -> Certificate:
        settings = SETTINGS._replace(lifetime_s=days * DAY_S)
        made = Desk(store, keeper, settings, clock=lambda: began + day * DAY_S).enrol(csr, "")
        assert isinstance(made, Certificate)
        assert made.begins_at <= began + day * DAY_S < made.ends_at
        return made

    return given


def test_a_certificate_is_given_again_for_a_tenth_of_its_own_life_whatever_the_next_one_is_to_have(
    given: Callable[[float, float], Certificate],
) -> None:
    first = given(0, 7)

    assert given(0.6, 90) == first
    renewed = given(5, 90)  # as it is renewed, after two thirds
    assert renewed.ends_at - renewed.issued_at == pytest.approx(90 * DAY_S, abs=1)
    assert given(8, 90) == renewed
    assert given(13, 7) == renewed
    assert given(14.5, 7) != renewed


def test_a_certificate_of_a_clock_that_was_ahead_is_given_to_nobody_again(
    given: Callable[[float, float], Certificate],
) -> None:
    ahead = given(730, 90)

    now = given(0, 90)

    assert now != ahead
    assert given(1, 90) == now
