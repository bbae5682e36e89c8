"""What the store promises, on both databases: snapshots, one writer at a time, and a server that goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import DataError, OperationalError
from sqlmodel import SQLModel

from tests.support.postgresql import Postgresql
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_controller import migrations
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.hearing import Hearing
from wainwright_controller.lead import Lead
from wainwright_controller.ledger import Ledger
from wainwright_controller.links import Links
from wainwright_controller.news import News
from wainwright_controller.records import Device
from wainwright_controller.rows import DEVICE, EVENT, GROUP, SETTING
from wainwright_controller.store import STALLED_MS, Store, StoreError, is_refusal, parse_url
from wainwright_controller.ticker import Ticker
from wainwright_controller.timeline import Keep
from wainwright_controller.waker import Waker


@pytest.fixture
def other(store_url: str) -> Iterator[Store]:
    """The same database, as a second controller has it open."""
    opened = Store(store_url)
    yield opened
    opened.close()


def number(connection: Connection) -> int:
    return int(connection.execute(select(SETTING.c.value).where(SETTING.c.key == "number")).scalar_one())


def put_number(store: Store, value: int) -> None:
    with store.write() as connection:
        connection.execute(delete(SETTING).where(SETTING.c.key == "number"))
        connection.execute(insert(SETTING), {"key": "number", "value": str(value)})


def test_a_database_that_cannot_be_used_is_named() -> None:
    with pytest.raises(StoreError, match="/nowhere/at/all"):
        Store("sqlite:////nowhere/at/all/x.db").upgrade()
    with pytest.raises(StoreError, match=r"ann:\*\*\*@127.0.0.1:1/x: connection failed"):
        Store("postgresql://ann:secret@127.0.0.1:1/x").upgrade()


@pytest.mark.parametrize(
    ("url", "words"), [("mysql://h/x", "mysql is not supported"), ("not a url", "not a URL"), ("", "not a URL")]
)
def test_an_address_that_is_of_no_use_is_refused(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        Store(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_the_driver_of_postgresql_is_chosen(scheme: str) -> None:
    assert parse_url(f"{scheme}://ann@h:1/x").drivername == "postgresql+psycopg"


def test_a_database_whose_driver_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)

    with pytest.raises(StoreError, match=r"pip install 'wainwright\[postgresql\]'"):
        Store("postgresql://127.0.0.1/x")


def test_a_store_that_is_up_to_date_is_left_alone(store: Store) -> None:
    newest = ScriptDirectory(migrations.__path__[0]).get_current_head()
    store.upgrade()
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [(newest,)]


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(store: Store) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_database_of_a_newer_version_is_left_alone_and_says_so(store_url: str) -> None:
    store = Store(store_url)
    store.upgrade()
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match=r"newer version of Wainwright .*9999.* restore the backup"):
        store.upgrade()
    store.close()


def test_controllers_that_start_at_once_make_the_tables_once(store_url: str) -> None:
    stores = [Store(store_url) for _ in range(4)]
    errors: list[Exception] = []
    keys: set[bytes] = set()

    def start(store: Store) -> None:
        try:
            store.upgrade()
            keys.add(Links.of_store(store)._key)
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            errors.append(error)

    run_together([threading.Thread(target=start, args=(store,)) for store in stores])

    assert errors == []
    assert len(keys) == 1
    for store in stores:
        store.close()


def test_a_commit_is_on_the_disk_when_it_returns(store: Store) -> None:
    with store.write() as connection:
        if store.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW fsync").scalar() == "on"


def test_a_row_that_others_belong_to_is_not_removed_alone(store: Store) -> None:
    with store.write() as connection:
        connection.execute(insert(GROUP), {"name": "north", "created_at": 1.0})
        connection.exec_driver_sql("INSERT INTO group_member (device_id, group_name) VALUES ('d', 'north')")
    with pytest.raises(Exception, match=r"(?i)foreign key"), store.write() as connection:
        connection.execute(delete(GROUP))


def test_a_read_sees_one_snapshot(store: Store, other: Store) -> None:
    put_number(store, 1)
    with store.read() as connection:
        assert number(connection) == 1
        put_number(other, 2)
        assert number(connection) == 1
    with store.read() as connection:
        assert number(connection) == 2


def test_what_a_writer_has_read_does_not_change_until_it_has_written(store: Store, other: Store) -> None:
    put_number(store, 0)

    def count(which: Store) -> None:
        for _ in range(25):
            with which.write() as connection:
                value = {"value": str(number(connection) + 1)}
                connection.execute(update(SETTING).where(SETTING.c.key == "number").values(value))

    run_together([threading.Thread(target=count, args=(which,)) for which in (store, store, other, other)])

    with store.read() as connection:
        assert number(connection) == 100


def test_timeline_lines_become_visible_in_the_order_of_their_numbers(store: Store, other: Store) -> None:
    """Or a live stream, which asks for what is after the last line it has, would miss one."""
    with store.write() as connection:
        Ledger(connection, 1.0).flush()
        connection.execute(insert(EVENT), {"at": 1.0, "kind": "k", "text": "first", "actor": "test"})
        later = threading.Thread(target=add_line, args=(other, "second"))
        later.start()
        later.join(0.3)  # long enough to be written now, were it not waiting
        assert later.is_alive()
    later.join(PATIENCE_S)
    with store.read() as connection:
        assert connection.execute(select(EVENT.c.text).order_by(EVENT.c.id)).scalars().all() == ["first", "second"]


def add_line(store: Store, said: str) -> None:
    with store.write() as connection:
        connection.execute(insert(EVENT), {"at": 1.0, "kind": "k", "text": said, "actor": "test"})


def test_a_text_with_nul_is_found_or_not_found_and_breaks_nothing(store: Store) -> None:
    with store.write() as connection:
        ledger = Ledger(connection, 1.0)
        ledger.put_device(Device(id="d", created_at=1.0, provides={"a\0": "b\0\ud7ff\U0001f600"}))
        ledger.flush()
    with store.read() as connection:
        assert connection.execute(select(DEVICE.c.id).where(DEVICE.c.id == "d\0")).all() == []
        ledger = Ledger(connection, 1.0)
        ledger.load_devices(["d", "d\0"])
        assert ledger.devices["d"].provides == {"a\0": "b\0\ud7ff\U0001f600"}


def run_together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


# ---- PostgreSQL alone -------------------------------------------------------------------------------------------


@pytest.fixture
def two(postgresql: Postgresql) -> Iterator[tuple[Store, Store]]:
    """One PostgreSQL database, open in two controllers."""
    url = postgresql.database()
    stores = Store(url), Store(url)
    stores[0].upgrade()
    yield stores
    for store in stores:
        store.close()


def test_one_controller_leads_until_its_session_ends_and_then_another(two: tuple[Store, Store]) -> None:
    first, second = Lead(two[0], "t"), Lead(two[1], "t")
    another = Lead(two[1], "another")
    assert [first.is_ours(), second.is_ours(), first.is_ours(), another.is_ours()] == [True, False, True, True]
    with two[1].write() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid ="
            " (SELECT hashtext('t')::bigint & 4294967295)::oid"
        )

    wait_until(second.is_ours, PATIENCE_S, "the second to lead")

    with pytest.raises(OperationalError):
        first.is_ours()
    assert [first.is_ours(), second.is_ours()] == [False, True]
    second.give_up()
    wait_until(first.is_ours, PATIENCE_S, "the first to lead again, when the server has ended the other's session")
    first.give_up()
    another.give_up()


def test_who_takes_the_clock_over_begins_to_count_silence_anew(two: tuple[Store, Store]) -> None:
    now = [1000.0]
    keep, waker = Keep(age_s=1e9, lines_max=1), Waker(lambda _topic, _command: None)
    hearings = [Hearing(clock=lambda: now[0]) for _ in two]
    first, second = (
        Ticker(store, waker, Bulletin(), keep, lambda: now[0], hearing)
        for store, hearing in zip(two, hearings, strict=True)
    )
    for now[0] in (1001.0, 1002.0):
        assert [first._is_ours(), second._is_ours()] == [True, False]
    assert [one.since for one in hearings] == [1000.0, 1000.0]
    first._lead.give_up()
    now[0] = 1003.0

    wait_until(second._is_ours, PATIENCE_S, "the second to lead")

    assert [one.since for one in hearings] == [1000.0, 1003.0]
    second._lead.give_up()


def test_a_controller_that_stands_still_is_cut_off(two: tuple[Store, Store]) -> None:
    still, second = Lead(two[0], "t"), Lead(two[1], "t")
    assert still.is_ours()
    assert still._connection is not None
    assert still._connection.execute(text("SHOW idle_session_timeout")).scalar_one() == f"{STALLED_MS // 1000}s"

    # Only now, and only for this one: a test that is kept waiting would be cut off in between itself.
    still._connection.execute(text("SET idle_session_timeout = 200"))
    wait_until(second.is_ours, PATIENCE_S, "the second to lead")

    with pytest.raises(OperationalError):
        still.is_ours()
    second.give_up()


def test_a_server_that_was_killed_is_found_again_without_a_lost_commit(own_postgresql: Postgresql) -> None:
    store = Store(own_postgresql.database())
    store.upgrade()
    for value in range(5):
        put_number(store, value)
        own_postgresql.kill()
        with pytest.raises(OperationalError) as caught, store.read():
            pass
        assert is_refusal(caught.value)
        own_postgresql.start()
        with store.read() as connection:
            assert number(connection) == value
    store.close()


def test_a_store_without_rights_is_a_refusal_and_not_a_bad_message(two: tuple[Store, Store]) -> None:
    store, _ = two
    with pytest.raises(Exception, match="permission denied") as caught, store.write() as connection:  # noqa: PT012
        connection.exec_driver_sql("SET LOCAL ROLE pg_monitor")
        connection.execute(select(SETTING))
    assert is_refusal(caught.value)
    with pytest.raises(Exception, match="read-only") as caught, store.read() as connection:
        connection.execute(delete(SETTING))
    assert is_refusal(caught.value)


def test_a_value_that_a_column_cannot_hold_is_the_messages_fault_and_not_the_stores(two: tuple[Store, Store]) -> None:
    store, _ = two
    with pytest.raises(DataError) as caught, store.write() as connection:
        connection.execute(insert(SETTING), {"key": "k" * 65, "value": ""})
    assert not is_refusal(caught.value)


def test_a_controller_hears_what_another_has_committed_and_not_its_own_news_twice(two: tuple[Store, Store]) -> None:
    bulletins = Bulletin(), Bulletin()
    news = [News(store, bulletin) for store, bulletin in zip(two, bulletins, strict=True)]
    for each in news:
        each.start()
        assert each.listening.wait(PATIENCE_S)
    wait_until(lambda: all(b.number for b in bulletins), PATIENCE_S, "both to have caught up")
    here, there = (b.number for b in bulletins)

    bulletins[0].post(["d1"])
    wait_until(lambda: bulletins[1].number > there, PATIENCE_S, "the other to hear it")
    assert bulletins[0].number == here + 1

    heard = [bulletin.number for bulletin in bulletins]
    with two[0].write() as connection:  # both connections are lost, and made again
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    # The loss itself may be over before anybody looks; what each looks for when it listens again stays counted.
    wait_until(
        lambda: all(bulletin.number > before for bulletin, before in zip(bulletins, heard, strict=True)),
        PATIENCE_S,
        "what was missed to be looked for",
    )
    wait_until(lambda: all(each.listening.is_set() for each in news), PATIENCE_S, "the connections")
    for each in news:
        each.stop()
