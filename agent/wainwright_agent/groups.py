"""Process groups on record, so that an agent can find and end what the one before it left running.

A record is a file named like the group, with the boot and the start of its leader: a number alone may be another's.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from wainwright_agent.boot import boot_id

KILL_GRACE_S = 10.0  # between SIGTERM and SIGKILL, as the Mender client has it
REAP_LIMIT_S = 10.0  # a killed program that is not gone by then hangs in the kernel; waiting longer helps nobody
POLL_S = 0.01  # for other people's children, whose end cannot be waited for

log = logging.getLogger(__name__)


def end_leftovers(records: Path, grace_s: float = KILL_GRACE_S) -> None:
    """End the groups that an agent left running when it died, and clear their records."""
    if not records.is_dir():
        return
    for record in records.iterdir():
        group = _recorded_group(record)
        if group is not None:
            log.warning("Ending process group %d, which the agent before this one left running.", group)
            signal_group(group, signal.SIGTERM)
            if not await_empty(group, time.monotonic() + grace_s):
                signal_group(group, signal.SIGKILL)
                await_empty(group, time.monotonic() + REAP_LIMIT_S)
        remove_record(record)


def write_record(record: Path, pid: int) -> None:
    """Put the group of a process on record.

    Not synced: after a power cut there is no group to find. Not insisted upon: a rollback must run on a full disk.
    """
    try:
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        record.touch(mode=0o600)
        record.write_text(f"{boot_id()} {_start_time(pid)}\n", encoding="ascii")
    except OSError as error:
        log.warning(
            "%s: cannot be written (%s); should the agent die now, this program is left running.", record, error
        )


def remove_record(record: Path) -> None:
    """Take a group that has ended off record. On a read-only medium it stays, which is no failure of what has ended."""
    try:
        record.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: cannot be removed: %s.", record, error.strerror)


def _recorded_group(record: Path) -> int | None:
    """Return the group of a record if it still runs and is the very one, not another with its recycled number."""
    try:
        group = int(record.name)
        boot, started = record.read_text(encoding="ascii").split()
    except (ValueError, OSError):
        return None
    if boot != boot_id():
        return None
    leader = _start_time(group)
    if leader is None:  # The leader has gone, but as long as members live the kernel does not give its number away.
        return group if any(members(group)) else None
    return group if str(leader) == started else None


def _start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since the boot: with its pid, what identifies it (proc(5), field 22)."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (state) on; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def members(group: int) -> Iterator[int]:
    """Return the processes of a group that are not just waiting to be reaped."""
    for entry in Path("/proc").iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None and int(fields[2]) == group and fields[0] not in "ZX":
            yield int(entry.name)


def signal_group(group: int, number: int) -> None:
    """Send a signal to a group; to none when it has gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        log.warning("Process group %d cannot be ended: it runs as another user.", group)


def await_empty(group: int, deadline: float) -> bool:
    """Wait until a group has no members; False at `deadline` (monotonic seconds). They may be nobody's children."""
    while any(members(group)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
