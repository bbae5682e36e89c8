"""Filters: whom one chooses among 100,000 devices, and which of 1,000 a device meets at a check-in.

The store's answer (SQLite) stands beside the least that there is to do without it: trying the filter on every device,
with all attributes in memory already. The index's answer stands beside trying all 1,000 filters.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, insert, select

from benchmarks.figures import machine
from wainwright_controller.attribute_store import sql_of
from wainwright_controller.records import Device, DeviceState
from wainwright_controller.rows import ATTRIBUTE, DEVICE, in_chunks, to_row
from wainwright_controller.rules.filters import Attributes, Filter, FilterIndex, Value, attributes_of, parse
from wainwright_controller.rules.filters.attributes import rows
from wainwright_controller.store import Store

R = TypeVar("R", int, str)
DEVICES, FILTERS, CHECK_INS = 100_000, 1_000, 500
REPEATED = 5
ASKED = [
    'tags.serial = "serial-004711"',
    'device_type = "pi4" and tags.site = "site-17" and mem_mb >= 2048',
    'device_type = "pi4" and mem_mb >= 512',
    'tags.site not in ("site-1", "site-2") and device_type != "pi5"',
    'kernel ~ "^6\\.1\\." and online = true',
    "load > 0.5 or not tags.site exists",
]
SYSTEM = ("device_id", "state", "online", "group")  # are not in the table of attributes


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--filters", type=int, default=FILTERS)
    arguments = parser.parse_args(argv)
    chance = random.Random(1)
    fleet = {device.id: (device, known) for device, known in (made(n, chance) for n in range(arguments.devices))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmark.db"
        store = Store(f"sqlite:///{file}")
        store.upgrade()
        values = fill(store, fleet)
        size = file.stat().st_size / 2**20
        print(f"filters: {arguments.devices:,} devices, {values:,} values, {size:,.0f} MiB in all; {machine()}")
        select_devices(store, {i: known for i, (_, known) in fleet.items()})
        store.close()
    check_in([known for _, known in fleet.values()], arguments.filters, chance)


def made(number: int, chance: random.Random) -> tuple[Device, dict[str, Value]]:
    """Return a device of a mixed fleet, and its attributes."""
    device = Device(
        id=f"device-{number:06}",
        state=DeviceState.ACCEPTED,
        online=chance.random() < 0.9,
        device_type=chance.choice(["pi3", "pi4", "pi5", "press"]),
        artifact_name=f"release-{chance.randrange(5)}",
        agent_version="1.0.0",
        provides={"rootfs-image.version": f"{chance.randrange(5)}"},
    )
    inventory: dict[str, Value] = {f"fact_{n}": f"value-{chance.randrange(50)}" for n in range(8)}
    inventory |= {
        "mem_mb": chance.choice([512, 1024, 2048, 4096]),
        "load": round(chance.random(), 3),
        "kernel": f"{chance.choice([5, 6])}.{chance.randrange(4)}.{chance.randrange(30)}",
        "mac": f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        "ip": [f"10.0.{number >> 8}.{number & 255}", f"fe80::{number:x}"],
    }
    tags = {"site": f"site-{chance.randrange(200)}", "serial": f"serial-{number:06}"}
    return device, attributes_of(device, inventory, tags, None)


def fill(store: Store, fleet: Mapping[str, tuple[Device, dict[str, Value]]]) -> int:
    """Store the fleet; returns how many values filters can ask for."""
    columns = ATTRIBUTE.c.keys()
    with store.write() as connection:
        for chunk in in_chunks(list(fleet)):
            connection.execute(insert(DEVICE), [to_row(fleet[i][0]) | {"attributes": "{}"} for i in chunk])
            found = [(i, *row) for i in chunk for row in rows(fleet[i][1]) if row[0] not in SYSTEM]
            connection.execute(insert(ATTRIBUTE), [dict(zip(columns, row, strict=True)) for row in found])
        return connection.execute(select(func.count()).select_from(ATTRIBUTE)).scalar_one()


def select_devices(store: Store, attributes: Mapping[str, Attributes]) -> None:
    """Ask the store, and every device in memory, in turn; prints medians."""
    for text in ASKED:
        wanted = parse(text)
        by_sql, by_scan = [], []
        found: list[str] = []
        for _ in range(REPEATED):
            seconds, found = timed(partial(in_store, store, wanted))
            by_sql.append(seconds)
            pairs = {i: (wanted, known) for i, known in attributes.items()}
            seconds, expected = timed(partial(met, pairs))
            by_scan.append(seconds)
            assert found == expected
        store_s, scan_s = statistics.median(by_sql), statistics.median(by_scan)
        print(f"  {1000 * store_s:7.1f} ms, scan {1000 * scan_s:6.1f} ms, ratio {store_s / scan_s:.2f}", end="")
        print(f"; {len(found):6,} devices: {text}")


def in_store(store: Store, wanted: Filter) -> list[str]:
    """Return the ids of the devices that meet a filter, as the store says."""
    with store.read() as connection:
        query = select(DEVICE.c.id).where(sql_of(wanted, connection)).order_by(DEVICE.c.id)
        return list(connection.execute(query).scalars())


def check_in(fleet: Sequence[Attributes], filters: int, chance: random.Random) -> None:
    """Find the filters that devices meet, by the index and by trying all."""
    known_filters = {n: parse(filter_text(chance)) for n in range(filters)}
    index = FilterIndex(known_filters)
    by_index, by_trying = [], []
    for known in chance.sample(list(fleet), CHECK_INS):
        seconds, found = timed(partial(index.matching, known))
        by_index.append(seconds)
        seconds, expected = timed(partial(met, {n: (one, known) for n, one in known_filters.items()}))
        by_trying.append(seconds)
        assert found == expected
    index_s, trying_s = statistics.median(by_index), statistics.median(by_trying)
    print(
        f"  a check-in and {filters:,} filters: {1e6 * index_s:,.0f} µs by the index, {1e6 * trying_s:,.0f} µs by",
        end="",
    )
    print(f" trying all, ratio {index_s / trying_s:.3f}")


def filter_text(chance: random.Random) -> str:
    """Return a filter as operators write them; one in twenty has no equality to go by."""
    if chance.random() < 0.05:
        return f"mem_mb >= {chance.choice([512, 1024])} and load < {chance.random():.2f}"
    kind = chance.choice(["pi3", "pi4", "pi5", "press"])
    return f'device_type = "{kind}" and tags.site in ("site-{chance.randrange(200)}", "site-{chance.randrange(200)}")'


def met(pairs: Mapping[R, tuple[Filter, Attributes]]) -> list[R]:
    """Return the keys whose filter their attributes meet: the least that there is to do."""
    return [key for key, (wanted, known) in pairs.items() if wanted.matches(known)]


def timed(work: Callable[[], list[R]]) -> tuple[float, list[R]]:
    """Return how many seconds something takes, and what it returns."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
