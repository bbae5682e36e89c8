"""Running a small program of the administrator's and reading the `key=value` lines that it prints."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from wainwright_common.errors import WainwrightError

OUTPUT_MAX = 64 * 1024  # bytes; a program that prints more is broken
POLL_S = 0.2  # how soon the end of a program is seen whose child still holds the output open

Values = dict[str, str | list[str]]


class ProgramError(WainwrightError):
    """A program could not be started, failed, took too long or printed too much."""


def run(program: Path, timeout_s: float) -> bytes:
    """Return what a program prints to standard output; raises ProgramError.

    Its standard error goes to ours. It runs in a process group of its own, which is ended with it.
    """
    try:
        process = subprocess.Popen(
            [str(program)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise ProgramError(f"{program} cannot be run: {error.strerror or error}.") from error
    try:
        output = _read(process, program, timeout_s)
    finally:
        _end(process)
    if process.returncode != 0:
        raise ProgramError(f"{program} failed: exit code {process.returncode}.")
    return output


def parse(output: bytes) -> Values:
    """Return the values of `key=value` lines; a key that is repeated has a list. Other lines are ignored."""
    values: Values = {}
    for line in output.decode("utf-8", errors="replace").splitlines():
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key:
            continue
        before = values.get(key)
        if before is None:
            values[key] = value
        else:
            values[key] = [*(before if isinstance(before, list) else [before]), value]
    return values


def _read(process: subprocess.Popen[bytes], program: Path, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    output = bytearray()
    assert process.stdout is not None  # noqa: S101  Popen was given PIPE
    descriptor = process.stdout.fileno()
    while (left_s := deadline - time.monotonic()) > 0:
        ended = process.poll() is not None
        if select.select([descriptor], [], [], 0 if ended else min(left_s, POLL_S))[0]:
            piece = os.read(descriptor, OUTPUT_MAX)
            output += piece
            if len(output) > OUTPUT_MAX:
                raise ProgramError(f"{program} printed more than {OUTPUT_MAX} bytes.")
            if piece:
                continue
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                break
            return bytes(output)
        if ended:
            return bytes(output)
    raise ProgramError(f"{program} took longer than {timeout_s:g} s and was ended.")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them have ended by themselves
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    process.wait()
