"""The web page with a large fleet: how long a page takes, how much it sends, how soon it shows what happens.

A real `wainwright serve` on a store of benchmarks/pages_store.py, by one connection as a browser has it:

1. Server time: from the request to the last byte of the answer, each page --asks times; and its bytes.
2. Live: from a device's report to the event that shows it on an open page.
3. Traffic: how fast, and with how much CPU time, reports are taken while no page is open, and while ten are: six on
   the deployment that they belong to, by six people, and four on lists. Both in turn, --rounds times; printed is the
   median of the ratios of neighbours. The controller works all the time then; a fleet usually leaves it idle.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlencode, urlsplit

import psutil
import requests

from benchmarks.figures import machine, milliseconds, percentile
from benchmarks.mqtt_load import publish_all, publish_packet
from benchmarks.pages_store import BIG, DEPLOYMENTS, DEVICES, SIZE, device_id, fill, release
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.serve import TOKEN, Serve
from tests.support.wait import wait_until
from wainwright_common.messages import Progress, Report, encode
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic
from wainwright_controller.cli.words import size
from wainwright_controller.rows import PART
from wainwright_controller.store import Store

PAGES: Sequence[str] = (
    "/deployments",
    "/deployments?sort=name",
    "/deployments?status=inprogress",
    "/deployments?q=hall-07",
    f"/deployments/{BIG}",
    f"/deployments/{BIG}?status=failure",
    f"/deployments/{BIG}?q=4711",
    f"/deployments/{BIG}?about=devices&lines=200",
    f"/deployments/{1:032x}",
    "/deployments/new",
    "/devices",
    "/devices?q=4711",
    "/devices?" + urlencode({"where": 'tags.site = "site-17" and mem_mb >= 2048'}),
    f"/devices/{device_id(4711)}",
    "/groups",
    "/groups/hall-07",
    "/groups/west",
    "/releases",
    f"/releases/{release(59)}",
    "/audit",
)
OPEN = (
    *[f"view=deployment&id={BIG}"] * 6,
    "view=deployments",
    "view=deployments&status=inprogress",
    "view=devices",
    "view=releases",
)
REPORTS_EACH = 10  # of each busy device, in a round
AIM_S, AIM_BYTES = 0.1, 100_000


class Spent(NamedTuple):
    """What a round of reports took: by the clock, and of the controller's CPU, in seconds."""

    wall_s: float
    cpu_s: float


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--deployments", type=int, default=DEPLOYMENTS)
    parser.add_argument("--asks", type=int, default=200, help="of each page")
    parser.add_argument("--reports", type=int, default=30, help="until each is seen on a page")
    parser.add_argument("--rounds", type=int, default=6, help="of traffic, each without and with pages")
    parser.add_argument("--page", action="append", help="only pages whose address has this in it")
    parser.add_argument("--folder", type=Path, help="keep the store here, or take the one that is there")
    arguments = parser.parse_args(argv)
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data_dir = folder / "data"
        print(f"pages: {arguments.devices:,} devices, {arguments.deployments:,} deployments; {machine()}")
        busy = prepare(data_dir, arguments.devices, arguments.deployments)
        broker = stack.enter_context(Mosquitto(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        serve = stack.enter_context(Serve(folder, broker.url, data_dir=data_dir))
        print("server time and size of pages:")
        for path in PAGES:
            if not arguments.page or any(one in path for one in arguments.page):
                ask(serve, path, arguments.asks)
        if arguments.reports:
            see(serve, broker, arguments.reports, busy)
        if arguments.rounds:
            slow(serve, broker, arguments.rounds, busy)


def prepare(data_dir: Path, devices: int, deployments: int) -> list[str]:
    """Make the store where there is none; returns the devices that are downloading, by phase and id."""
    data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(f"sqlite:///{data_dir / 'wainwright.db'}")
    store.upgrade()
    with store.read() as connection:
        is_new = connection.execute(PART.select().limit(1)).first() is None
    if is_new:
        began = time.perf_counter()
        fill(store, devices, deployments)
        print(f"  (the store was made in {time.perf_counter() - began:.0f} s)")
    query = PART.select().where(PART.c.deployment_id == BIG, PART.c.status == str(DeviceStatus.DOWNLOADING))
    with store.read() as connection:
        rows = connection.execute(query.order_by(PART.c.phase, PART.c.device_id)).all()
    store.close()
    return [row.device_id for row in rows]


# ---- pages --------------------------------------------------------------------------------------------------------


def sign_in(serve: Serve, token: str = TOKEN) -> str:
    """Sign in; returns the header that the browser sends from then on."""
    answer = requests.post(f"{serve.url}/sign-in", data={"token": token}, timeout=30, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["set-cookie"].split(";")[0]


def ask(serve: Serve, path: str, asks: int) -> None:
    """Ask for a page again and again; prints how long that took, the CPU time of it, and how many bytes came."""
    headers = {"Cookie": sign_in(serve), "Accept": "text/html"}
    connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=60)
    process = psutil.Process(serve.process.pid)
    took, sent, cpu = [], 0, 0.0
    for number in range(asks + 3):
        if number == 3:
            cpu = sum(process.cpu_times()[:2])
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if number >= 3:  # the first compile templates and warm caches
            took.append(time.perf_counter() - began)
        sent = len(body) + sum(len(name) + len(value) + 4 for name, value in answer.getheaders())
        if answer.status != 200:
            print(f"  {answer.status}: {path}")
            return
    connection.close()
    missed = " !" if percentile(took, 99) > AIM_S or sent > AIM_BYTES else ""
    cpu = 1000 * (sum(process.cpu_times()[:2]) - cpu) / asks
    print(f"  {milliseconds(took)}; CPU {cpu:.1f} ms; {sent / 1000:5.1f} kB: {path}{missed}")


# ---- live -----------------------------------------------------------------------------------------------------------


class Page:
    """An open page; use it with `with`. `heard` has when each event came, and its bytes."""

    def __init__(self, serve: Serve, query: str, cookie: str) -> None:
        self.heard: list[tuple[float, str]] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=60)
        self._connection.request("GET", f"/live?{query}", headers={"Cookie": cookie, "Accept": "text/event-stream"})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: len(self.heard) > 1, 60, "the first regions")
        return self

    def __exit__(self, *_: object) -> None:
        sock = self._connection.sock
        if sock is not None:
            sock.close()

    def _follow(self) -> None:
        try:
            while line := self._answer.readline():
                if line.startswith(b"data: "):
                    self.heard.append((time.perf_counter(), line.decode()))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # closed by us


def see(serve: Serve, broker: Mosquitto, reports: int, busy: Sequence[str]) -> None:
    """Report progress, and wait until an open page shows it; prints how long that took."""
    took, first = [], sequence()
    prefix = str(serve.settings["broker__prefix"])
    with Page(serve, f"view=deployment&id={BIG}&status=downloading", sign_in(serve)) as page:
        for number in range(reports):
            name = busy[number % 25]  # of those that the page shows
            done = SIZE // 2 + (first + number) % 200 * 100_000
            with Device(broker.port, name, prefix=prefix) as device:
                seen = len(page.heard)
                began = time.perf_counter()
                progress = Progress(done=done, total=SIZE)
                device.send_report(BIG, first + number, DeviceStatus.DOWNLOADING, progress=progress)
                wanted = size(done)

                def shows(seen: int = seen, name: str = name, wanted: str = wanted) -> float:
                    events = page.heard[seen:]
                    return next((at for at, text in events if f"p-{name}" in text and wanted in text), 0.0)

                took.append(wait_until(shows, 30, f"{name} at {wanted}") - began)
    print(f"live, from a report to the page: {milliseconds(took)}")


# ---- traffic ------------------------------------------------------------------------------------------------------


def slow(serve: Serve, broker: Mosquitto, rounds: int, busy: Sequence[str]) -> None:
    """Send rounds of reports, without and with ten open pages in turn; prints both and the ratio."""
    cookies = [sign_in(serve, serve.person(f"viewer-{sequence()}-{n}", "viewer")) for n in range(len(OPEN))]
    sequences = itertools.count(sequence())
    total = len(busy) * REPORTS_EACH
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(send(serve, broker, busy, sequences))
        with opened(serve, cookies) as pages:
            beside.append(send(serve, broker, busy, sequences))
            events = sum(len(page.heard) for page in pages)
            kilobytes = sum(len(text) for page in pages for _, text in page.heard) / 1000
    walls = [two.wall_s / one.wall_s for one, two in zip(alone, beside, strict=True)]
    cpus = [two.cpu_s / one.cpu_s for one, two in zip(alone, beside, strict=True)]
    for name, spent in (("no page open", alone), ("ten open", beside)):
        wall, cpu = statistics.median(s.wall_s for s in spent), statistics.median(s.cpu_s for s in spent)
        print(f"traffic, {name}: {total / wall:,.0f} reports/s, {1e6 * cpu / total:.0f} us of CPU each")
    print(
        f"  ten pages slow traffic by {statistics.median(walls) - 1:+.1%} (clock), {statistics.median(cpus) - 1:+.1%}"
        f" (CPU); in the last round they got {events} events, {kilobytes:,.0f} kB"
    )


@contextmanager
def opened(serve: Serve, cookies: Sequence[str]) -> Iterator[list[Page]]:
    """Have ten pages open."""
    with ExitStack() as stack:
        pairs = zip(OPEN, cookies, strict=True)
        yield [stack.enter_context(Page(serve, query, cookie)) for query, cookie in pairs]


def send(serve: Serve, broker: Mosquitto, busy: Sequence[str], sequences: Iterator[int]) -> Spent:
    """Publish reports of all busy devices, and wait until they are taken."""
    prefix = str(serve.settings["broker__prefix"])
    packets = []
    for _ in range(REPORTS_EACH):
        seq = next(sequences)
        report = Report(
            deployment_id=BIG,
            attempt=1,
            seq=seq,
            status=DeviceStatus.DOWNLOADING,
            boot_id="b" * 36,
            at=datetime.now(UTC),
            progress=Progress(done=SIZE // 2 + seq, total=SIZE),
        )
        payload = encode(report)
        packets += [publish_packet(Topic(n, Kind.REPORT).text(prefix), payload, i) for i, n in enumerate(busy)]
    process = psutil.Process(serve.process.pid)
    cpu, began = sum(process.cpu_times()[:2]), time.perf_counter()
    publish_all(urlsplit(broker.url).port or 1883, packets)
    wait_until(lambda: taken(Path(str(serve.settings["data_dir"])), seq) == len(busy), 300, "the reports to be taken")
    return Spent(time.perf_counter() - began, sum(process.cpu_times()[:2]) - cpu)


def sequence() -> int:
    """Return a number of a report that is above those of earlier runs on the same store."""
    return int(time.time()) - 1_700_000_000


def taken(data_dir: Path, seq: int) -> int:
    """Return from how many devices a report has been taken, past the controller: its metrics would cost its time."""
    time.sleep(0.05)
    with closing(sqlite3.connect(f"file:{data_dir / 'wainwright.db'}?mode=ro", uri=True)) as connection:
        query = (
            "SELECT count(*) FROM device_deployment WHERE deployment_id = ? AND status = 'downloading' AND last_seq = ?"
        )
        count: int = connection.execute(query, (BIG, seq)).fetchone()[0]
        return count


if __name__ == "__main__":
    main()
